"""A search's comparison in Optuna's dashboard: the figures and the note of the search's summary study."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from dashboards.figures.rates import DISPENSABLE, comparison_figure
from dashboards.figures.trainings import curves_figure, has_curves, landscape_figure
from dashboards.style import attempt, failed_figure, rounded
from dashboards.tables.comparison import markdown
from oracle.cycles import Cycle
from oracle.ledger import Ledger
from oracle.ledger.database import reason
from oracle.measure import Measure
from oracle.observers import Observer
from oracle.results import Results
from oracle.session import Session
from silo.landscape import CycleBelief
from trials.tasks import Trial

LARGEST_FIGURE_BYTES = 60_000
"""Optuna keeps a figure in rows of 2,045 characters: what makes one larger is left out, or all of it."""

_ALWAYS_OUT = 2  # parts that take long to compute

_HEIGHT = 460  # of a figure on its page: what is beyond is cut off

_NOTE, _PLOTS = "dashboard:note_str:", "dashboard:plot_data:"
"""Beginnings of the names under which Optuna's dashboard keeps a study's note and figures."""

_PIECE = 2045
"""Characters of a note or figure that it keeps in one attribute."""


_EACH = 25
"""Cycles: up to twice as many all is written anew at each, and then the rarer the more there are."""

_REST = 30.0
"""How many times as long as the last writing took nothing is drawn anew: workers wait for this process."""


class SummaryStudy(Observer):
    """Rewrites the summary study of the search when it starts, when a cycle is decided, and when it ends.

    Where cycles take moments, what is decided is shown some seconds later.

    The studies of decided cycles are told what was decided. What looks at every cycle, as figures do, is
    written anew when there are a few percent more of them: so a cycle costs as much in a search of a
    thousand as in one of dozens. This is decoration: if it fails, the search goes on, and one line in the log
    says why.
    """

    def __init__(self) -> None:
        self._written: tuple[str, int] | None = None
        self._described = 0
        self._warned = self._late = False
        self._rested = -math.inf

    def started(self, session: Session) -> None:
        """Shows what the ledger holds already."""
        self._rewrite(session, "running")
        self._rested = -math.inf  # the first cycle is shown as soon as it is decided

    def decided(self, session: Session, decision: Cycle) -> None:
        """Adds the cycle."""
        decided = len(session.search.decisions)
        self._late = decided - self._described >= decided // _EACH
        if self._late and time.monotonic() >= self._rested:
            self._rewrite(session, "running")
        else:
            self._attempt(lambda: add_cycle(session, decision))

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        """Adds what was decided while nothing was drawn."""
        if self._late and time.monotonic() >= self._rested:
            self._rewrite(session, "running")

    def ended(self, session: Session, state: str) -> None:
        """Shows how the search ended, unless another driver goes on with it."""
        if state != "taken over":
            self._rewrite(session, state)

    def _rewrite(self, session: Session, state: str) -> None:
        now, begin = (state, len(session.search.decisions)), time.monotonic()
        self._late = False
        if now != self._written and self._attempt(lambda: self._write(session, state)):
            self._written = now
        self._rested = time.monotonic() + _REST * (time.monotonic() - begin)

    def _attempt(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:
            if not self._warned:
                logging.getLogger("oracle").warning("the summary study can't be written: %s", reason(error))
            self._warned = True
            return False
        return True

    def _write(self, session: Session, state: str) -> None:
        results = Results.of(session.spec, session.search, record=session.record, draws=0)
        write_all(session.ledger, results, state=state, described=self._described)
        self._described = len(results.decided)


def write_all(ledger: Ledger, results: Results, *, state: str, described: int = 0) -> None:
    """Writes what a search's summary study and those of its cycles show.

    Waits for a database that is away, as everything does that is written into the ledger.

    Args:
        ledger: The ledger.
        results: The search.
        state: As :func:`write_summary` takes it.
        described: How many cycles were written already.
    """
    name, log = results.name, results.span.scale == "log"
    told = [cycle_attributes(each, searched=results.searched) for each in results.decided]
    new = slice(0 if results.done else described, None)  # what is known of a cycle grows with the later ones
    trials = [cycle_trial(*each, log=log) for each in zip(results.decided[new], told[new], strict=True)]
    if results.searched:
        told = [{**each, **_known(belief)} for each, belief in zip(told, results.beliefs, strict=True)]
    drawn = {each.cycle: _curves(results, each) for each in results.decided[described:]}

    ledger.add_summary_rows(name, trials)
    for attributes in told[new]:
        study = ledger.cycle_study(name, attributes["cycle"])
        curves = drawn.get(attributes["cycle"], {})
        system = {**_noted(attributes, results.measure), **curves}
        replaced = (_NOTE, _PLOTS) if curves else (_NOTE,)
        ledger.describe(study, attributes, system=system, replacing=replaced)
    write_summary(ledger, results, state=state)


def add_cycle(session: Session, decision: Cycle) -> None:
    """Writes what a cycle alone tells, as long as nothing that looks at every cycle is written anew.

    Args:
        session: The search, which runs.
        decision: The cycle that was decided last.
    """
    ledger, name, policy = session.ledger, session.spec.name, session.search.rules.policy
    attributes = cycle_attributes(decision, searched=policy.searches)
    log = policy.span(session.spec.cycles).scale == "log"
    counts = _counts("running", len(session.search.decisions), session.spec.cycles, session.search.finished())

    ledger.add_summary_rows(name, [cycle_trial(decision, attributes, log=log)])
    study, noted = ledger.cycle_study(name, decision.cycle), _noted(attributes, decision.measure)
    ledger.describe(study, attributes, system=noted, replacing=(_NOTE,))
    ledger.describe(ledger.summary_study(name), {**counts, **_as_of()})


def write_summary(ledger: Ledger, results: Results, *, state: str) -> None:
    """Writes a search's figures, note and attributes into its summary study, in place of earlier ones.

    All of it is there at once: nobody sees one half of it.

    Args:
        ledger: The ledger.
        results: The search.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
    """
    study = ledger.summary_study(results.name)
    known = ledger.retries.call(lambda _: ledger.storage.get_study_system_attrs(study._study_id))
    texts = {_NOTE: _note(results, state, study._study_id)}
    texts |= {f"{_PLOTS}{name}:": drawn.to_json() for name, drawn in _figures(results).items()}
    ledger.describe(
        study,
        summary_attributes(results, state),
        system={"dashboard:note_ver": known.get("dashboard:note_ver", 0) + 1, **_cut(texts)},
        replacing=(_NOTE, _PLOTS),
    )


def summary_attributes(results: Results, state: str) -> dict[str, Any]:
    """The attributes of a search that the dashboard lists; it shows five of them.

    Args:
        results: The search.
        state: How the search is doing.
    """
    decided = len(results.decided)
    found = _counts(state, decided, results.search_spec.cycles, len(results.outcomes))
    if results.predicted is not None:
        judged = results.judged(results.predicted.max_lr)
        inside, outside = (len(judged.cycles(each)) if judged else 0 for each in ("inside", "outside"))
        told = inside + outside
        found["SILO's curve inside"] = f"{inside} of {decided} cycles, can't be told in {decided - told}"
    return {**found, **_as_of()}


def _counts(state: str, decided: int, cycles: int, trials: int) -> dict[str, Any]:
    return {"state": state, "cycles decided": f"{decided} of {cycles}", "trials finished": trials}


def _as_of() -> dict[str, str]:
    return {"as of": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def _known(belief: CycleBelief) -> dict[str, Any]:
    """What the trainings tell of a cycle's rates, listed in its own study."""
    runs = (("surely inside", belief.core()), ("maybe inside", belief.reach()))
    return {name: "none" if run is None else [rounded(end) for end in run] for name, run in runs}


def cycle_attributes(cycle: Cycle, *, searched: bool) -> dict[str, Any]:
    """The attributes of a decided cycle, listed in its own study (five at first) and in the summary's trials.

    Args:
        cycle: The cycle.
        searched: Whether its rate was searched: else there is no interval.
    """
    found: dict[str, Any] = {
        f"decided {cycle.measure.searched}": rounded(cycle.chosen),
        "density": rounded(cycle.density),
    }
    if searched:
        low, high = cycle.interval.low, cycle.interval.high
        found["interval"] = [rounded(low), rounded(high)]
    found |= {
        cycle.measure.label("validation"): rounded(cycle.selected.score),
        cycle.measure.label("test"): _or_nothing(cycle.selected.test_score),
        "cycle": cycle.cycle,
    }
    if searched:
        found["optimum"] = rounded(cycle.interval.optimum)
        cut = (("low", cycle.interval.low_cut), ("high", cycle.interval.high_cut))
        found["interval cut off at"] = " and ".join(end for end, is_cut in cut if is_cut) or "no end"
    return found


def _or_nothing(score: float) -> float | None:
    """A score, of which one that is missing is null: JSON knows no NaN."""
    return None if math.isnan(score) else rounded(score)


def cycle_trial(cycle: Cycle, attributes: dict[str, Any], *, log: bool) -> FrozenTrial:
    """A decided cycle as a trial of the summary study: the rate that goes on, and its mean score.

    Args:
        cycle: The cycle.
        attributes: What is listed of it.
        log: Whether the axis of the rates is logarithmic.
    """
    rates, name = [candidate.max_lr for candidate in cycle.candidates], cycle.measure.searched
    found = create_trial(
        value=cycle.selected.score,
        params={name: cycle.chosen},
        distributions={name: FloatDistribution(rates[0], rates[-1], log=log)},
        user_attrs={**attributes, "key": f"cycle {cycle.cycle}"},
    )
    last = max(trial.ended for trial in cycle.trials)
    found.datetime_start = datetime.fromtimestamp(min(trial.ended - trial.lasted for trial in cycle.trials))
    found.datetime_complete = datetime.fromtimestamp(last)
    return found


def _noted(attributes: dict[str, Any], measure: Measure) -> dict[str, Any]:
    """A cycle's note: Optuna calls its luckiest training the best."""
    reached = measure.label("validation")
    text = (
        f"Decided at cycle {attributes['cycle']}: **{measure.searched} "
        f"{attributes[f'decided {measure.searched}']:g}**, mean "
        f"{reached} {attributes[reached]:g}. The best trial of this study is "
        "one training, and may be another rate: what is decided rests on all replicates.\n"
    )
    return {"dashboard:note_ver": 1, **_cut({_NOTE: text})}


def _curves(results: Results, cycle: Cycle) -> dict[str, Any]:
    """The figure of a cycle's training curves, for its own study; nothing where there is none, or no room."""
    if not has_curves(cycle):
        return {}
    figure = attempt("the curves", lambda: curves_figure(results, cycle=cycle.cycle), failed_figure)
    if figure is None or not _fits(figure):
        return {}
    return _cut({f"{_PLOTS}training-curves:": figure.update_layout(height=_HEIGHT).to_json()})


def _note(results: Results, state: str, study: int) -> str:
    cycles = f"`{results.name}/cycle-00` and on"
    return (
        f"State: **{state}**. [Figures](/dashboard/studies/{study})\n\n"
        f"{attempt('the table', lambda: markdown(results), str)}\n"
        f"Each trial of this study is a decided cycle. The trainings are in the studies {cycles}.\n"
    )


def _cut(texts: dict[str, str]) -> dict[str, str]:
    """Texts in the pieces that Optuna's dashboard puts together again, by their names."""
    return {
        f"{name}{start // _PIECE}": text[start : start + _PIECE]
        for name, text in texts.items()
        for start in range(0, len(text), _PIECE)
    }


def _figures(results: Results) -> dict[str, go.Figure]:
    """Those that fit; the first one goes without parts of it before it goes altogether."""
    drawn = (
        comparison_figure(results, without=DISPENSABLE[:count])
        for count in range(_ALWAYS_OUT, len(DISPENSABLE) + 1)
    )
    figures = {
        "oracle-and-silo": attempt("the comparison", lambda: next(filter(_fits, drawn), None), failed_figure)
    }
    if results.decided and results.searched:
        landscape = attempt("the landscape", lambda: landscape_figure(results), failed_figure)
        figures[f"validation-{results.measure.key.replace('_', '-')}"] = (
            landscape if _fits(landscape) else None
        )
    return {
        name: figure.update_layout(height=_HEIGHT) for name, figure in figures.items() if figure is not None
    }


def _fits(figure: go.Figure) -> bool:
    return len(figure.to_json().encode()) <= LARGEST_FIGURE_BYTES
