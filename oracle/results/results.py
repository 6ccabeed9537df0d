"""A search's results, for notebooks and for all that is shown: each part computed when it is first looked at.

import oracle
results = oracle.load("digits")
results.candidates.query("inside")
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from oracle.cycles import Cycle
from oracle.errors import Refused
from oracle.ledger import Ledger, Run, SearchRecord
from oracle.measure import Chance, Floor, Measure, chance_of
from oracle.policies import AdaptivePolicy, Policy, Span, restated
from oracle.results import frames
from oracle.results.costs import PolicyCost, policy_costs
from oracle.results.networks import (
    CycleDistributions,
    TrainedNetwork,
    cycle_distributions,
    diagnosed_rates,
    trained_network,
)
from oracle.results.verdict import Recommendation, point_verdict, recommend, verdict
from oracle.search import Search
from oracle.session import Recorded, search_rules
from oracle.spec import DEFAULT_LEDGER, Spec, recorded_rule
from oracle.spec_file import is_spec_file, load_spec
from oracle.spec_parts import RECORDED
from silo.curve import SiloCurve, unlike
from silo.errors import InvalidInput
from silo.fit import CurveFit, fit_curve
from silo.fit.regions import drawn_fits
from silo.fit.rivals import RivalTable, compare_rivals
from silo.landscape import Advice, CycleBelief, JudgedCurve, Loss, advise, best_constant, judge, learn
from silo.measured import CycleInterval, cycles_in_words
from trials.secrets import without_secrets
from trials.tasks import Execution, PrunedNetwork, Trial

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from trials.runner import Runner


def recorded_spec(record: SearchRecord) -> Spec:
    """The spec that a search was last run with.

    Raises:
        Refused: It is not one that this version reads.
    """
    try:
        given = {**record.spec, "decide": recorded_rule(record.spec)}
        return Spec.model_validate(given, context=RECORDED)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(
            f"search {record.name!r}: its recorded spec was written by another version of this program "
            f"(field {field!r}: {error.errors()[0]['msg']}); use that version"
        ) from error


def spec_to_build(record: SearchRecord, own: Spec | None, *, trust: bool) -> Spec:
    """The spec by which a recorded search's network and data set may be built here: see :func:`may_build`."""
    recorded = recorded_spec(record)
    may_build(recorded, own, trust=trust)
    return recorded if own is None else own.model_copy(update={"storage": recorded.storage})


def may_build(recorded: Spec, own: Spec | None, *, trust: bool) -> None:
    """Makes sure that a recorded search's network and data set may be built here.

    Whoever can write the ledger chooses what the recorded spec names, and to build that runs it: so it is the
    user's own spec, or names nothing but what this project has, or the user trusts all who write there.

    Args:
        recorded: Its spec as the ledger has it.
        own: The user's own spec of it; None where a name was given.
        trust: Whether the recorded spec may run whatever it names.

    Raises:
        InvalidInput: ``trust`` is neither True nor False.
        Refused: It names other code, or the user's own spec is another one.
    """
    if not isinstance(trust, bool):
        raise InvalidInput(f"trust: must be True or False, got {trust!r}")
    if own is not None:
        # As the ledger has it: in Python a list may be a tuple.
        given, known = (without_secrets(each.model_dump(mode="json")) for each in (own, recorded))
        for field in ("network", "dataset", "pruning"):
            if given[field] != known[field]:
                raise Refused(
                    f"search {recorded.name!r} was run with another {field} than this spec has; give the "
                    "spec that it was run with, or its name"
                )
        return
    parts = {"network": recorded.network, "dataset": recorded.dataset}
    foreign = [f"{field} {each.name!r}" for field, each in parts.items() if ":" in each.name]
    if recorded.dataset.arguments.get("download"):
        foreign.append(f"a download of data set {recorded.dataset.name!r}")
    if foreign and not trust:
        raise Refused(
            f"search {recorded.name!r}: the ledger names {' and '.join(foreign)}, which would run here, and "
            "whoever can write the ledger chooses it; give your own spec file of the search in place of its "
            "name, or --trust (in Python, trust=True) if you trust all who can write there"
        )


def load_search(ledger: Ledger, record: SearchRecord) -> Search:
    """The state of a search, from what its ledger holds.

    Raises:
        Refused: The recorded spec is not one that this version reads, or a row does not belong to the search.
    """
    recorded = Recorded.read(ledger, record.name)
    search = recorded.search(search_rules(recorded_spec(record), record), record)
    if undone := recorded.undone(search):
        logging.getLogger("oracle").warning(
            "search %r: %s decided, and rows of what was trained are missing; run it again, which trains "
            "them anew",
            *(record.name, f"{cycles_in_words(undone)} {'was' if len(undone) == 1 else 'were'}"),
        )
    return search


DRAWS = 300
"""Draws of what the trainings tell that a curve is fitted to."""


def load(name: str | Path | Spec, ledger: str | None = None) -> Results:
    """Loads what a search has found so far; load it again to see what has been found since.

    Args:
        name: The search's name (of a spec with variants ``NAME.VARIANT``), its spec, or the spec's file.
        ledger: Database URL; by default the spec's, of a name $ORACLE_LEDGER, then that of a spec that names
            none.

    Raises:
        InvalidInput: The URL is none, the spec is wrong, or it has variants.
        Refused: There is no such ledger, no such search in it, or its spec is another version's.
    """
    own = None if isinstance(name, str) and not is_spec_file(name) else load_spec(name)
    place = os.environ.get("ORACLE_LEDGER") or DEFAULT_LEDGER if own is None else own.ledger
    opened, record = Ledger.open_search(str(name) if own is None else own.name, ledger or place)
    try:
        return Results.read(opened, record, own=own)
    finally:
        opened.close()


class Passed(NamedTuple):
    """A curve at one cycle.

    Attributes:
        rate: Its rate; None without a curve.
        inside: Whether that lies in the interval as stated, the point estimate.
        loss: What it loses there against the best rate, with its range and verdict.
    """

    rate: float | None
    inside: bool | None
    loss: Loss | None


def _frame(name: str) -> cached_property[pd.DataFrame]:
    """An attribute of results: one of the frames, made when it is first looked at."""
    return cached_property(lambda results: frames.frame(name, results))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Results:
    """A search as it stood when it was read. :data:`oracle.results.frames.COLUMNS` documents its frames.

    Attributes:
        search_spec: Its spec, passwords included: :attr:`spec` is without.
        decided: The decided cycles, ascending.
        outcomes: All finished trials, those of the cycle under way included.
        prunings: All pruned networks.
        chance: Chance level of the data set; None if it is not known.
        execution: How its trainings were computed; None if that is not known.
        recorded_runs: Its runs, oldest first.
        draws: Of what the trainings tell, each with a fit of its own; 0 for none.
        identity: What determined its outcomes, as the ledger has it; empty if that is not known.
        own: The user's own spec of it, whose code may run here; None where the search was named.
    """

    search_spec: Spec
    decided: tuple[Cycle, ...]
    outcomes: tuple[Trial, ...]
    prunings: tuple[PrunedNetwork, ...] = ()
    chance: Chance | Floor | None = None
    execution: Execution | None = None
    recorded_runs: tuple[Run, ...] = ()
    draws: int = DRAWS
    identity: Mapping[str, Any] = field(default_factory=dict)
    own: Spec | None = None

    @classmethod
    def of(
        cls,
        spec: Spec,
        search: Search,
        *,
        record: SearchRecord | None = None,
        runs: Sequence[Run] = (),
        draws: int = DRAWS,
    ) -> Results:
        """The results of a search's state as it is now; what the ledger knows of it comes with the record."""
        measure, decided = spec.measure(), tuple(search.decisions)
        chance = chance_of(record.identity, measure) if record else None
        if search.rules.policy.selective:
            decided = restated(decided, measure.within, chance.highest if chance else None)
        return cls(
            search_spec=spec,
            decided=decided,
            outcomes=search.outcomes(),
            prunings=tuple(p for cycle in range(spec.cycles) for p in search.prunings(cycle)),
            chance=chance,
            execution=record.execution if record else None,
            recorded_runs=tuple(runs),
            draws=draws,
            identity=record.identity if record else {},
        )

    @classmethod
    def read(
        cls, ledger: Ledger, record: SearchRecord, *, draws: int = DRAWS, own: Spec | None = None
    ) -> Results:
        """Reads all that the ledger holds of a search; the ledger is not needed any more then.

        Args:
            ledger: The ledger.
            record: The search.
            draws: See the attribute.
            own: See the attribute.

        Raises:
            Refused: The recorded spec is not one that this version reads.
        """
        found = cls.of(
            recorded_spec(record),
            load_search(ledger, record),
            record=record,
            runs=ledger.runs(record.name),
            draws=draws,
        )
        return replace(found, own=own)

    def __repr__(self) -> str:
        cycles = f"{len(self.decided)}/{self.search_spec.cycles} cycles"
        return f"Results({self.name!r}: {cycles}, {len(self.outcomes):,} trials)"

    @property
    def name(self) -> str:
        """The search's name."""
        return self.search_spec.name

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as JSON-able data, without the passwords that its URLs may hold."""
        shown: dict[str, Any] = without_secrets(self.search_spec.model_dump(mode="json"))
        return shown

    @cached_property
    def measure(self) -> Measure:
        """How its scores are compared."""
        return self.search_spec.measure()

    @property
    def done(self) -> bool:
        """Whether every cycle is decided."""
        return len(self.decided) == self.search_spec.cycles

    @property
    def searched(self) -> bool:
        """Whether rates were searched, so that there are intervals and a fit; else one rate was followed."""
        return self.policy.searches

    @property
    def rates_searched(self) -> bool:
        """Whether what was searched are peak learning rates: of others SILO says nothing."""
        return self.searched and self.search_spec.over is None

    @cached_property
    def policy(self) -> Policy:
        """The policy that sets the rates."""
        return self.search_spec.policy_of_rates()

    @property
    def span(self) -> Span:
        """The range of the rates, as it was planned."""
        return self.policy.span(self.search_spec.cycles)

    @property
    def intervals_found(self) -> tuple[CycleInterval, ...]:
        """Optimum and interval of each decided cycle."""
        return tuple(each.interval for each in self.decided)

    @property
    def intervals_fitted(self) -> tuple[CycleInterval, ...]:
        """Those that curves are fitted to: of the cycles in which something was learned, if there are any."""
        told = tuple(each for each in self.intervals_found if each.cycle not in self.at_chance)
        return told or self.intervals_found

    @cached_property
    def at_chance(self) -> tuple[int, ...]:
        """The decided cycles in which nothing was learned; none where the chance level is not known."""
        if self.chance is None:
            return ()
        highest = self.chance.highest
        found = ((each.cycle, self.measure.comparable(each.best.score)) for each in self.decided)
        return tuple(cycle for cycle, best in found if best <= highest)

    @cached_property
    def predicted(self) -> SiloCurve | None:
        """SILO's curve with the spec's numbers; None without them, or where nothing was searched."""
        curve = self.search_spec.silo_curve() if self.rates_searched else None
        return curve and replace(curve, densities=self.densities)

    @cached_property
    def densities(self) -> tuple[float, ...]:
        """The shares of the weights left by cycle, where SILO's curves go by them; none where they are p's.

        Those of the decided cycles are as they were, those to come follow from ``pruning.rate``.
        """
        pruning, known = self.search_spec.pruning, tuple(each.density for each in self.decided)
        if isinstance(pruning.rate, float) and not unlike(known, pruning.rate):
            return ()
        return pruning.densities(self.search_spec.cycles, known or (1.0,))

    @property
    def pruned(self) -> dict[str, Any]:
        """What was pruned, as the arguments of a fit."""
        return {"pruning_rate": self.search_spec.pruning.share(), "densities": self.densities}

    @cached_property
    def point_fit(self) -> CurveFit | None:
        """The fitted curve; None where nothing was searched or no cycle is decided."""
        if not (self.decided and self.rates_searched):
            return None
        return fit_curve(self.intervals_fitted, **self.pruned)

    @cached_property
    def fit(self) -> CurveFit | None:
        """The same with its confidence: a fit to each of many draws of what the trainings tell."""
        if self.point_fit is None or not self.draws:
            return self.point_fit
        drawn = drawn_fits(self.beliefs, **self.pruned, draws=self.draws)
        return replace(self.point_fit, drawn=drawn)

    @property
    def fitted(self) -> SiloCurve | None:
        """The least-squares curve; None without a fit."""
        return None if self.point_fit is None else self.point_fit.curve

    @cached_property
    def rival_curves(self) -> RivalTable | None:
        """Other curves fitted to the same intervals; None where there is no fit."""
        if not (self.decided and self.rates_searched):
            return None
        return compare_rivals(self.intervals_fitted, **self.pruned)

    @cached_property
    def policy_costs(self) -> tuple[PolicyCost, ...]:
        """Costs of the Oracle, SILO and a hill climb; empty before the first decided cycle."""
        return policy_costs(
            self.decided,
            policy=self.search_spec.policy.name,
            grid=self.policy.rates if self.searched else None,
            known=self.predicted,
            fitted=self.fitted,
        )

    @property
    def wall_seconds(self) -> float | None:
        """How long its runs lasted; None where they are not known.

        One whose end is not recorded, as it was killed or still runs, lasted until its last training.
        """
        if not self.recorded_runs:
            return None
        begins = [run.started for run in self.recorded_runs] + [math.inf]
        lasted = 0.0
        for run, following in zip(self.recorded_runs, begins[1:], strict=True):
            ended = run.ended
            if ended is None:
                own = (t.ended for t in self.outcomes if run.started <= t.started < following)
                ended = max(own, default=run.started)
            lasted += max(ended - run.started, 0.0)
        return lasted

    @cached_property
    def distributions(self) -> tuple[CycleDistributions, ...]:
        """One per decided cycle whose statistics were asked for, ascending; else empty."""
        return cycle_distributions(self.decided, self.search_spec.storage_root())

    @cached_property
    def diagnosed(self) -> tuple[float, ...]:
        """Rate per cycle of ``distributions`` that their statistics predict."""
        return diagnosed_rates(self.distributions)

    @cached_property
    def beliefs(self) -> tuple[CycleBelief, ...]:
        """What all trainings together tell of each decided cycle; empty where nothing was searched."""
        if not (self.decided and self.searched):
            return ()
        return learn(
            [each.scores for each in self.decided],
            tolerance=self.measure.within,
            chance=self.chance.highest if self.chance else None,
        )

    def judged(self, curve: Callable[[int], float]) -> JudgedCurve | None:
        """A curve against what the trainings tell; None where they tell nothing.

        Args:
            curve: Cycle to max_lr.
        """
        return judge(self.beliefs, curve)

    @cached_property
    def constant(self) -> JudgedCurve | None:
        """The constant rate that loses least on average; None where the trainings tell nothing."""
        return best_constant(self.beliefs)

    @cached_property
    def advice(self) -> Advice | None:
        """More trainings that would tell what can't be told of SILO's predicted curve, or without one, of the
        intervals' ends; None where there is nothing to advise, and for a policy that leaves trainings out: it
        has a budget for that."""
        if self.policy.selective or all(belief.silent for belief in self.beliefs) or not self.measure.within:
            return None
        found = advise(self.beliefs, self.predicted.max_lr if self.predicted else None)
        return found if found.cycles else None

    def advice_text(self) -> str:
        """The advice in a sentence or two, with the time that it takes here; empty without one."""
        if isinstance(self.policy, AdaptivePolicy):
            return self._larger_budget(self.policy)
        if self.advice is None:
            return ""
        seconds = 3600 * self.policy_costs[0].worker_hours / max(self.policy_costs[0].trainings, 1)
        about = "what SILO's curve loses" if self.advice.about == "verdict" else "the intervals' ends"
        return f"To know {about} in {cycles_in_words(self.advice.cycles)}: {self.advice.sentence(seconds)}"

    def _larger_budget(self, policy: AdaptivePolicy) -> str:
        """What to do about the cycles where an adaptive search can't tell; how much would do isn't known."""
        judged = self.judged(self.predicted.max_lr) if self.predicted else None
        replicates = self.search_spec.replicates
        now = policy.expected(replicates)
        more = min(2.0, policy.candidates * replicates / now)
        if judged is None or not (cycles := judged.cycles("unknown")) or more <= 1:
            return ""
        counted = policy.trainings is not None
        before = policy.trainings if counted else policy.share
        assert before is not None
        return (
            f"To know more of what SILO's curve loses in {cycles_in_words(cycles)}: with a larger budget, "
            f"such as {'trainings' if counted else 'share'}: {more * before:g} in place of {before:g}, the "
            f"same search goes on, with about {(more - 1) * now * len(self.decided):.0f} more trainings "
            "where they tell most."
        )

    def gpus_text(self) -> str:
        """That candidates of a cycle are compared across kinds of GPU, in a sentence; empty if none are."""
        kinds: dict[int, set[str]] = {}
        for trial in self.outcomes:
            kinds.setdefault(trial.cycle, set()).update({trial.gpu} - {""})
        several = sorted(cycle for cycle, found in kinds.items() if len(found) > 1)
        if not several:
            return ""
        names = ", ".join(sorted(set().union(*(kinds[cycle] for cycle in several))))
        return (
            f"In {cycles_in_words(several)} candidates are compared that different kinds of GPU trained "
            f"({names}): they differ by rounding, too."
        )

    def along(self, curve: SiloCurve | None) -> tuple[Passed, ...]:
        """A curve's place at each decided cycle."""
        if curve is None:
            return (Passed(None, None, None),) * len(self.decided)
        rates = [float(curve.max_lr(each.cycle)) for each in self.decided]
        return tuple(
            Passed(rate, interval.contains(rate), belief.loss(rate))
            for rate, interval, belief in zip(rates, self.intervals_found, self.beliefs, strict=True)
        )

    def missed(self, curve: SiloCurve) -> tuple[int, ...]:
        """The decided cycles whose interval, as the point estimate states it, a curve is outside of."""
        rates = [float(curve.max_lr(each.cycle)) for each in self.decided]
        pairs = zip(rates, self.intervals_found, strict=True)
        return tuple(interval.cycle for rate, interval in pairs if not interval.contains(rate))

    @property
    def rates(self) -> tuple[float, ...]:
        """The chosen rate of each decided cycle, from cycle 0 on: what :class:`silo.scheduler.RateTableLR`
        takes."""
        return tuple(each.chosen for each in self.decided)

    @cached_property
    def _runner(self) -> Runner:
        """A worker for this process, on the CPU, whose data set is loaded when it is first needed."""
        import torch

        from oracle.preflight import open_runner

        threads = torch.get_num_threads()
        try:
            return open_runner(self.search_spec)
        finally:
            torch.set_num_threads(threads)  # workers' are the spec's

    def trained_network(
        self, cycle: int | None = None, replicate: int | None = None, *, trust: bool = False
    ) -> TrainedNetwork:
        """A trained network of the rate that was chosen at a cycle, with its masks and what it is.

        Args:
            cycle: A decided cycle; by default the last one.
            replicate: By default that with the best validation score at this rate.
            trust: Whether code that only the ledger names may run here, as the network's or the data set's.

        Raises:
            InvalidInput: There is no such cycle or replicate, or the network or data set can't be built.
            Refused: Its file is missing or damaged, the network's code builds another one by now, or it isn't
                to be trusted: see :func:`oracle.results.results.may_build`.
        """
        may_build(self.search_spec, self.own, trust=trust)
        return trained_network(self, self._runner, cycle, replicate)

    def network(
        self, cycle: int | None = None, replicate: int | None = None, *, trust: bool = False
    ) -> nn.Module:
        """The module alone of :meth:`trained_network`: on the CPU, in evaluation mode, pruned weights 0."""
        return self.trained_network(cycle, replicate, trust=trust).module

    def masks(
        self, cycle: int | None = None, replicate: int | None = None, *, trust: bool = False
    ) -> dict[str, Tensor]:
        """The masks alone of :meth:`trained_network`: name of each prunable weight to bool, True where it
        is left."""
        return self.trained_network(cycle, replicate, trust=trust).masks

    @cached_property
    def recommendation(self) -> Recommendation | None:
        """What to train with from now on, and what it costs; None where nothing can be compared."""
        return recommend(self)

    def verdict(self) -> str:
        """The comparison in a few sentences, no surer than the trainings are."""
        return verdict(self)

    def point_verdict(self) -> str:
        """A sentence by the point estimates alone, which takes no time, and says little."""
        return point_verdict(self)

    trials = _frame("trials")
    """One row per finished training, those that diverged included; what failed has no outcome."""

    curves = _frame("curves")
    """One row per validation of each training that has noted them: its curve."""

    candidates = _frame("candidates")
    """One row per candidate of each decided cycle."""

    intervals = _frame("intervals")
    """One row per decided cycle."""

    fits = _frame("fits")
    """One row per SILO curve: predicted, least squares, and the one that keeps to the intervals best."""

    rivals = _frame("rivals")
    """One row per kind of curve that was fitted to the optima."""

    rules = _frame("rules")
    """One row per rule that sets the rates by less than a search of every cycle."""

    costs = _frame("costs")
    """One row per way to set the rates."""

    diagnostics = _frame("diagnostics")
    """One row per decided cycle whose selected networks have statistics."""

    runs = _frame("runs")
    """One row per run, oldest first."""

    def frames(self) -> dict[str, pd.DataFrame]:
        """All of them by name."""
        return {name: getattr(self, name) for name in frames.FRAMES}
