"""A search's comparison in Optuna's dashboard: the figures and the note of the search's summary study."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from dashboards._rates import DISPENSABLE
from dashboards.figures import comparison_figure, landscape_figure
from dashboards.style import rounded
from dashboards.tables import markdown
from oracle.analysis import Analysis
from oracle.chance_level import chance_of
from oracle.comparison import Comparison, CycleRow, compare
from oracle.decision import Decision
from oracle.ledger import Ledger
from oracle.ledger.retrying import reason
from oracle.observers.protocol import Observer
from oracle.session import Session

LARGEST_FIGURE_BYTES = 60_000
"""Optuna keeps a figure in rows of 2,045 characters: what makes one larger is left out, or all of it."""

_HEIGHT = 460  # of a figure on its page: what is beyond is cut off

_NOTE, _PLOTS = "dashboard:note_str:", "dashboard:plot_data:"
"""How the names begin under which Optuna's dashboard keeps a study's note and figures."""

_PIECE = 2045
"""Characters of a note or figure that it keeps in one attribute."""


class SummaryStudy(Observer):
    """Rewrites the summary study of the search when it starts, when a cycle is decided, and when it ends.

    The studies of decided cycles are told what was decided. This is decoration: if it fails, the search goes
    on, and one line in the log says why.
    """

    def __init__(self) -> None:
        self._written: tuple[str, int] | None = None
        self._described = 0
        self._warned = False

    def started(self, session: Session) -> None:
        """Shows what the ledger holds already."""
        self._rewrite(session, "running")

    def decided(self, session: Session, decision: Decision) -> None:
        """Adds the cycle."""
        self._rewrite(session, "running")

    def ended(self, session: Session, state: str) -> None:
        """Shows how the search ended, unless another driver goes on with it."""
        if state != "taken over":
            self._rewrite(session, state)

    def _rewrite(self, session: Session, state: str) -> None:
        now = (state, len(session.search.decisions))
        if now == self._written:
            return
        try:
            self._write(session, state)
            self._written = now
        except Exception as error:
            if not self._warned:
                logging.getLogger("oracle").warning("the summary study can't be written: %s", reason(error))
            self._warned = True

    def _write(self, session: Session, state: str) -> None:
        """Waits for a database that is away, as everything does that is written into the ledger."""
        chance = chance_of(session.record.identity)
        comparison = compare(session.spec, session.search, chance=chance)
        ledger, name = session.ledger, comparison.name
        rows, decisions = comparison.rows[self._described :], session.search.decisions[self._described :]
        log, searched = (
            session.search.rules.policy.span(comparison.cycles).scale == "log",
            comparison.spec.searched,
        )
        told = [cycle_attributes(row, searched=searched) for row in rows]
        trials = [cycle_trial(*each, log=log) for each in zip(decisions, told, strict=True)]

        def write(_again: bool) -> None:
            ledger.add_summary_rows(name, trials)
            for attributes in told:
                ledger.describe(ledger.cycle_study(name, attributes["cycle"]), attributes)
            write_summary(ledger, comparison, state=state)

        ledger.retries.call(write)
        self._described = len(comparison.rows)


def write_summary(ledger: Ledger, comparison: Comparison, *, state: str) -> None:
    """Writes a comparison's figures, note and attributes into its summary study, in place of earlier ones.

    All of it is there at once: nobody sees one half of it.

    Args:
        ledger: The ledger.
        comparison: The comparison.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
    """
    study = ledger.summary_study(comparison.name)
    version = ledger.storage.get_study_system_attrs(study._study_id).get("dashboard:note_ver", 0)
    texts = {_NOTE: _note(comparison, state)}
    texts |= {f"{_PLOTS}{name}:": drawn.to_json() for name, drawn in _figures(comparison).items()}
    ledger.describe(
        study,
        summary_attributes(comparison, state),
        system={"dashboard:note_ver": version + 1, **_cut(texts)},
        replacing=(_NOTE, _PLOTS),
    )


def summary_attributes(comparison: Comparison, state: str) -> dict[str, Any]:
    """What the dashboard lists of a search; it shows five of them.

    Args:
        comparison: The comparison.
        state: How the search is doing.
    """
    decided = len(comparison.rows)
    found: dict[str, Any] = {
        "state": state,
        "cycles decided": f"{decided} of {comparison.cycles}",
        "trials finished": comparison.trials,
    }
    if comparison.predicted is not None:
        inside = sum(bool(row.predicted_inside) for row in comparison.rows)
        found["SILO's curve inside"] = f"{inside} of {decided} intervals"
    return {**found, "as of": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def cycle_attributes(row: CycleRow, *, searched: bool) -> dict[str, Any]:
    """What the dashboard lists of a decided cycle, in its own study and with its trial in the summary.

    Args:
        row: The cycle.
        searched: Whether its rate was searched: else there is no interval.
    """
    found: dict[str, Any] = {"density": rounded(row.density)}
    if searched:
        low, high = row.interval.low, row.interval.high
        found |= {"optimum": rounded(row.interval.optimum), "interval": [rounded(low), rounded(high)]}
    found |= {
        "validation accuracy": rounded(row.best.accuracy),
        "test accuracy": rounded(row.best.test_accuracy),
        "cycle": row.interval.cycle,
    }
    if searched:
        cut = (("low", row.interval.low_cut), ("high", row.interval.high_cut))
        found["interval cut off at"] = " and ".join(end for end, is_cut in cut if is_cut) or "no end"
    return found


def cycle_trial(decision: Decision, attributes: dict[str, Any], *, log: bool) -> FrozenTrial:
    """A decided cycle as a trial of the summary study: its optimum, and the mean accuracy there.

    Args:
        decision: How it was decided.
        attributes: What is listed of it.
        log: Whether the axis of ``max_lr`` is logarithmic.
    """
    rates = {candidate.max_lr: candidate for candidate in decision.candidates}
    trials = [trial for candidate in decision.candidates for trial in candidate.trials]
    optimum = decision.interval.optimum
    found = create_trial(
        value=rates[optimum].accuracy,
        params={"max_lr": optimum},
        distributions={"max_lr": FloatDistribution(min(rates), max(rates), log=log)},
        user_attrs={**attributes, "key": f"cycle {decision.interval.cycle}"},
    )
    found.datetime_start = datetime.fromtimestamp(min(trial.started for trial in trials))
    found.datetime_complete = datetime.fromtimestamp(max(trial.ended for trial in trials))
    return found


def _note(comparison: Comparison, state: str) -> str:
    cycles = f"`{comparison.name}/cycle-00` and on"
    return (
        f"State: **{state}**\n\n{markdown(comparison)}\n"
        f"Each trial of this study is a decided cycle. The trainings are in the studies {cycles}.\n"
    )


def _cut(texts: dict[str, str]) -> dict[str, str]:
    """Texts in the pieces that Optuna's dashboard puts together again, by their names."""
    return {
        f"{name}{start // _PIECE}": text[start : start + _PIECE]
        for name, text in texts.items()
        for start in range(0, len(text), _PIECE)
    }


def _figures(comparison: Comparison) -> dict[str, go.Figure]:
    """Those that fit; the first one goes without parts of it before it goes altogether."""
    analysis = Analysis(comparison=comparison)
    drawn = (
        comparison_figure(analysis, without=DISPENSABLE[:count]) for count in range(len(DISPENSABLE) + 1)
    )
    figures = {"oracle-and-silo": next(filter(_fits, drawn), None)}
    if comparison.rows and comparison.spec.searched:
        landscape = landscape_figure(comparison)
        figures["validation-accuracy"] = landscape if _fits(landscape) else None
    return {
        name: figure.update_layout(height=_HEIGHT) for name, figure in figures.items() if figure is not None
    }


def _fits(figure: go.Figure) -> bool:
    return len(figure.to_json().encode()) <= LARGEST_FIGURE_BYTES
