"""The comparison: the Oracle's optimum and interval per cycle beside SILO's curve, predicted and fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from oracle.chance_level import Chance, chance_of
from oracle.decision import Candidate, Decision
from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.search import Search
from oracle.session import search_rules
from oracle.spec import Spec
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.fit import CurveFit, fit_curve
from silo.intervals import CycleInterval
from trials.recipe import Execution
from trials.tasks import PrunedNetwork


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """One candidate of one cycle.

    Attributes:
        max_lr: Peak learning rate.
        accuracy: Mean validation accuracy over the replicates, in [0, 1].
        accuracy_std: Its sample standard deviation; None with one replicate.
        test_accuracy: Mean test accuracy, in [0, 1].
        test_accuracy_std: Its sample standard deviation; None with one replicate.
        diverged: Replicates that diverged.
    """

    max_lr: float
    accuracy: float
    accuracy_std: float | None
    test_accuracy: float
    test_accuracy_std: float | None
    diverged: int


@dataclass(frozen=True, kw_only=True)
class CycleRow:
    """One cycle of the comparison. Rates are peak learning rates.

    Attributes:
        interval: Optimum and optimized interval; ends that the grid's edge cut off are marked.
        density: Share of the prunable weights that are left, in (0, 1], mean over the replicates.
        density_all: The same share of all parameters, biases and normalisation included.
        detached: Rates within the tolerance that lie beyond a worse one.
        best: The optimum's outcomes.
        candidates: All candidates, ascending.
        predicted: SILO's rate with the spec's numbers; None without them.
        predicted_inside: Whether it lies in the interval as stated.
        fitted: The fitted curve's rate; None without a fit.
        fitted_inside: Whether it lies in the interval as stated.
    """

    interval: CycleInterval
    density: float
    density_all: float
    detached: tuple[float, ...]
    best: CandidateRow
    candidates: tuple[CandidateRow, ...]
    predicted: float | None
    predicted_inside: bool | None
    fitted: float | None
    fitted_inside: bool | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a search has found so far.

    Attributes:
        name: The search.
        spec: Its spec.
        rows: One per decided cycle.
        cycles: How many cycles the search has.
        trials: Finished trials, those of the cycle under way included.
        predicted: SILO's curve with the spec's numbers; None without them, or without a search.
        fit: The fitted curve; None before the first decided cycle, or without a search.
        chance: Chance level of the data set; None if it is not known.
        way: How its trainings were computed; None if that is not known.
    """

    name: str
    spec: Spec
    rows: tuple[CycleRow, ...]
    cycles: int
    trials: int
    predicted: SiloCurve | None
    fit: CurveFit | None
    chance: Chance | None = None
    execution: Execution | None = None

    @property
    def done(self) -> bool:
        """Whether every cycle is decided."""
        return len(self.rows) == self.cycles

    def verdict(self) -> str:
        """The comparison in two or three sentences."""
        if not self.rows:
            return "No cycle is decided yet."
        if self.fit is None:
            sentence = f"Policy {self.spec.policy.name}: one rate per cycle, nothing is searched."
            return " ".join([sentence, *self._at_chance()])
        return " ".join([*self._predicted_verdict(), *self._fit_verdict(self.fit), *self._reservations()])

    def _predicted_verdict(self) -> list[str]:
        if self.predicted is None:
            return []
        missed = [row.interval.cycle for row in self.rows if not row.predicted_inside]
        inside = len(self.rows) - len(missed)
        sentence = f"SILO's predicted curve lies in {inside} of {len(self.rows)} Oracle optimized intervals"
        return [f"{sentence}; it misses {cycles_in_words(missed)}." if missed else f"{sentence}."]

    def _reservations(self) -> list[str]:
        """What makes the intervals worth less than they look."""
        found = self._at_chance()
        cut = [row.interval.cycle for row in self.rows if row.interval.low_cut or row.interval.high_cut]
        if cut:
            found.append(f"The grid's edge cuts off the interval of {cycles_in_words(cut)}: widen the grid.")
        diverged = [row.interval.cycle for row in self.rows if row.best.diverged]
        if diverged:
            found.append(f"Even the optimum of {cycles_in_words(diverged)} diverged in a replicate.")
        return found

    def _at_chance(self) -> list[str]:
        """Names the cycles in which nothing was learned, so that every rate is as good as any other."""
        if self.chance is None:
            return []
        cycles = [row.interval.cycle for row in self.rows if row.best.accuracy <= self.chance.highest]
        if not cycles:
            return []
        level = f"better than chance ({100 * self.chance.accuracy:.3g} %)"
        if not self.spec.searched:
            return [f"At {cycles_in_words(cycles)} the network was not trained {level}."]
        nothing = "its interval says" if len(cycles) == 1 else "their intervals say"
        return [f"At {cycles_in_words(cycles)} no rate trained the network {level}: {nothing} nothing."]

    def _fit_verdict(self, fit: CurveFit) -> list[str]:
        if fit.hitting is not None:
            return ["A SILO curve that lies in every interval exists."]
        count = len(self.rows) - len(fit.missed_cycles)
        return [
            f"No SILO curve lies in every interval; the best lies in {count} of "
            f"{len(self.rows)} and misses {cycles_in_words(fit.missed_cycles)}."
        ]


def load_comparison(ledger: Ledger, record: SearchRecord) -> Comparison:
    """The comparison of a search, from what its ledger holds.

    Raises:
        Refused: The recorded spec is not one that this version reads.
    """
    return recorded_comparison(record, load_search(ledger, record))


def recorded_comparison(record: SearchRecord, search: Search) -> Comparison:
    """The comparison of a recorded search whose state is loaded already.

    Raises:
        Refused: The recorded spec is not one that this version reads.
    """
    found = compare(recorded_spec(record), search, chance=chance_of(record.identity))
    return replace(found, execution=record.execution)


def recorded_spec(record: SearchRecord) -> Spec:
    """The spec that a search was last run with.

    Raises:
        Refused: It is not one that this version reads.
    """
    try:
        return Spec.model_validate(record.spec)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(
            f"search {record.name!r}: its recorded spec was written by another version of this program "
            f"(field {field!r}: {error.errors()[0]['msg']}); use that version"
        ) from error


def load_search(ledger: Ledger, record: SearchRecord) -> Search:
    """The state of a search, from what its ledger holds."""
    search = Search(search_rules(recorded_spec(record), record))
    search.restore(ledger.outcomes(record.name).values(), ledger.prunings(record.name))
    return search


def compare(spec: Spec, search: Search, *, chance: Chance | None = None) -> Comparison:
    """Compares a search's decisions so far with SILO's curve.

    Args:
        spec: The search's spec.
        search: Its state.
        chance: Chance level of its data set, to name the cycles that are no better.
    """
    intervals = [decision.interval for decision in search.decisions]
    predicted = spec.silo_curve() if spec.searched else None
    fit = fit_curve(intervals, pruning_rate=spec.pruning.rate) if intervals and spec.searched else None
    return Comparison(
        name=spec.name,
        spec=spec,
        rows=tuple(
            _row(decision, search.prunings(decision.cycle), predicted, fit) for decision in search.decisions
        ),
        cycles=spec.cycles,
        trials=len(search.outcomes()),
        predicted=predicted,
        fit=fit,
        chance=chance,
    )


def cycles_in_words(cycles: Sequence[int]) -> str:
    """``cycle 3`` or ``cycles 3, 7 and 9``."""
    if not cycles:
        raise InvalidInput("no cycles to name")
    if len(cycles) == 1:
        return f"cycle {cycles[0]}"
    return f"cycles {', '.join(map(str, cycles[:-1]))} and {cycles[-1]}"


def _row(
    decision: Decision, prunings: Sequence[PrunedNetwork], predicted: SiloCurve | None, fit: CurveFit | None
) -> CycleRow:
    interval = decision.interval
    rows = {candidate.max_lr: _candidate(candidate) for candidate in decision.candidates}
    curves: dict[str, Any] = {}
    for name, curve in (("predicted", predicted), ("fitted", fit.curve if fit else None)):
        rate = None if curve is None else float(curve.max_lr(interval.cycle))
        curves |= {name: rate, f"{name}_inside": None if rate is None else interval.contains(rate)}
    return CycleRow(
        interval=interval,
        density=_mean_share([(p.alive, p.prunable) for p in prunings]),
        density_all=_mean_share([(p.alive + p.parameters - p.prunable, p.parameters) for p in prunings]),
        detached=decision.detached,
        best=rows[interval.optimum],
        candidates=tuple(rows.values()),
        **curves,
    )


def _candidate(candidate: Candidate) -> CandidateRow:
    names = ("max_lr", "accuracy", "accuracy_std", "test_accuracy", "test_accuracy_std", "diverged")
    return CandidateRow(**{name: getattr(candidate, name) for name in names})


def _mean_share(parts: list[tuple[int, int]]) -> float:
    """Mean share over the replicates; nothing is pruned at cycle 0."""
    return sum(part / whole for part, whole in parts) / len(parts) if parts else 1.0
