"""A decided cycle: its candidates, the optimum, the optimized interval, and the networks to prune.

Section 5.4 of the SILO paper (arXiv 2212.06144) defines the first two: the *Oracle optimized max_lr* has the
best validation accuracy, the *Oracle optimized interval* is the range of rates within 0.5 % of it. Both are
the point estimate, from the means alone, where every candidate has every replicate; which networks are pruned
is a choice of its own, see :class:`PosteriorChoice`. A policy that leaves trainings out states both by what
the model of the landscape tells, see :mod:`oracle.policies`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypedDict

import numpy as np

from oracle.measure import BY_ACCURACY, Measure
from silo._arrays import FloatArray
from silo.landscape import CycleBelief, CycleScores, Known, Landscape
from silo.measured import ROUNDING, TOLERANCE, CycleInterval, grid_interval, optimized
from trials.tasks import PrunedNetwork, Trial

Scale = Literal["linear", "log"]

_LARGEST_EXPONENT = 700.0  # exp overflows a float soon after


def linear_values(low: float, high: float, points: int) -> tuple[float, ...]:
    """``points`` evenly spaced rates from ``low`` to ``high``, to 12 significant digits."""
    step = (high - low) / (points - 1)
    return tuple(_round(low + index * step, 12) for index in range(points))


def stepped_values(low: float, high: float, step: float) -> tuple[float, ...]:
    """Rates from ``low`` by ``step`` up to ``high`` (which is included if the step meets it)."""
    count = math.floor((high - low) / step + 1e-9) + 1
    return tuple(_round(low + index * step, 12) for index in range(count))


def log_values(low: float, high: float, points: int) -> tuple[float, ...]:
    """``points`` rates from ``low`` to ``high`` with a constant ratio, to 6 significant digits."""
    ratio = (high / low) ** (1 / (points - 1))
    return (low, *(_round(low * ratio**index, 6) for index in range(1, points - 1)), high)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A cycle's first candidates and how they extend.

    Attributes:
        values: At least two rates, ascending, positive.
        scale: Whether a step past an edge adds (``linear``) or multiplies (``log``).
        limit: Most values that are added past each edge in one cycle; 0 turns extension off.
    """

    values: tuple[float, ...]
    scale: Scale
    limit: int

    def below(self, count: int) -> float | None:
        """The ``count``-th value below the grid, from 1; None past the limit or if it is not positive."""
        return self._past(self.values[0], self.values[1], count)

    def above(self, count: int) -> float | None:
        """The ``count``-th value above the grid, from 1; None past the limit."""
        return self._past(self.values[-1], self.values[-2], count)

    @property
    def reach(self) -> tuple[float, ...]:
        """All values, with those that may be added past the edges, ascending."""
        counts = range(1, self.limit + 1)
        below = [value for count in counts if (value := self.below(count)) is not None]
        above = [value for count in counts if (value := self.above(count)) is not None]
        return (*reversed(below), *self.values, *above)

    def _past(self, edge: float, neighbour: float, count: int) -> float | None:
        if count > self.limit:
            return None
        value, before = (self._step(edge, neighbour, steps) for steps in (count, count - 1))
        further = value > before if edge > neighbour else value < before
        return value if further and 1e-9 * edge < value < math.inf else None

    def _step(self, edge: float, neighbour: float, count: int) -> float:
        if count == 0:
            return edge
        if self.scale == "linear":
            return _round(edge + count * (edge - neighbour), 12)
        exponent = math.log(edge) + count * math.log(edge / neighbour)
        return _round(math.exp(exponent), 6) if exponent < _LARGEST_EXPONENT else math.inf


def chunks(values: Sequence[float], size: int) -> tuple[tuple[float, ...], ...]:
    """Splits values into the fewest runs of at most ``size``, as even as can be, in their order."""
    count = math.ceil(len(values) / size)
    bounds = [round(index * len(values) / count) for index in range(count + 1)]
    return tuple(tuple(values[begin:end]) for begin, end in pairwise(bounds))


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


Rule = Literal["point", "posterior"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidate of a cycle whose networks are pruned; once they are, it stays.

    Attributes:
        cycle: Times that the network has been pruned.
        max_lr: The candidate's rate.
        rule: What chose it: ``point``, as it has the best mean, or ``posterior``, as it loses least by all
            that the trainings of this cycle and those before tell.
        replicates: How many there were when it was chosen: those that came later follow it.
    """

    cycle: int
    max_lr: float
    rule: Rule
    replicates: int


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One candidate's outcomes over the replicates.

    Attributes:
        max_lr: The peak learning rate.
        trials: One outcome per replicate that it was trained in, by replicate.
    """

    max_lr: float
    trials: tuple[Trial, ...]

    @property
    def score(self) -> float:
        """Mean validation score."""
        return _mean([trial.score for trial in self.trials])

    @property
    def score_std(self) -> float | None:
        """Sample standard deviation of the validation score; None with one replicate."""
        return _std([trial.score for trial in self.trials])

    @property
    def test_score(self) -> float:
        """Mean test score; NaN where one is missing."""
        return _mean([trial.test_score for trial in self.trials])

    @property
    def test_score_std(self) -> float | None:
        """Sample standard deviation of the test score; None with one replicate, and where one is missing."""
        return _std([trial.test_score for trial in self.trials])

    @property
    def diverged(self) -> int:
        """Replicates whose training diverged."""
        return sum(trial.diverged for trial in self.trials)


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A decided cycle.

    Attributes:
        interval: Optimum and optimized interval, the point estimate; an end that the grid's edge cut off is
            marked.
        choice: The candidate whose networks are pruned next, which may be another than the optimum.
        candidates: All that were trained, ascending.
        grid: All rates that were considered, ascending: the candidates, and with a policy that leaves
            trainings out those that no replicate was trained with.
        detached: Rates within the tolerance that a worse one separates from the optimum's run.
        density: Share of the prunable weights that are left, in (0, 1], mean over the replicates.
        density_all: The same share of all parameters, biases and normalisation included.
        measure: How scores are compared.
        belief: What its trainings and those before told when a policy decided by them; None where it decided
            by the means.
    """

    interval: CycleInterval
    choice: Choice
    candidates: tuple[Candidate, ...]
    grid: tuple[float, ...]
    detached: tuple[float, ...]
    density: float = 1.0
    density_all: float = 1.0
    measure: Measure = BY_ACCURACY
    belief: CycleBelief | None = field(default=None, compare=False, repr=False)

    @property
    def cycle(self) -> int:
        """Times that the network has been pruned."""
        return self.interval.cycle

    @cached_property
    def scores(self) -> CycleScores:
        """The comparable validation scores of all trainings."""
        index = {rate: at for at, rate in enumerate(self.grid)}
        return CycleScores(
            cycle=self.cycle,
            grid=np.array(self.grid),
            index=np.array([index[trial.max_lr] for trial in self.trials]),
            replicate=np.array([trial.replicate for trial in self.trials]),
            score=self.measure.all_comparable(trial.score for trial in self.trials),
        )

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The outcomes of all candidates, by rate and replicate."""
        return tuple(trial for candidate in self.candidates for trial in candidate.trials)

    @property
    def chosen(self) -> float:
        """The rate whose networks are pruned next."""
        return self.choice.max_lr

    @property
    def selected(self) -> Candidate:
        """The candidate whose networks are pruned next."""
        return self._candidate(self.chosen)

    @property
    def best(self) -> Candidate:
        """The candidate with the best mean validation score: the optimum."""
        return self._candidate(self.interval.optimum)

    def _candidate(self, max_lr: float) -> Candidate:
        return next(c for c in self.candidates if c.max_lr == max_lr)


def decide(
    cycle: int,
    outcomes: Mapping[float, Mapping[int, Trial]],
    prunings: Sequence[PrunedNetwork] = (),
    *,
    tolerance: float,
    measure: Measure = BY_ACCURACY,
) -> Cycle:
    """Decides a cycle by the point rule, from all its outcomes; the order in which they came plays no part.

    The optimum has the best mean validation score, the smaller rate among equals. The interval is the
    contiguous run of grid values around it whose mean lies within ``tolerance`` of the best. The optimum is
    also the choice.

    Args:
        cycle: Times that the network has been pruned.
        outcomes: max_lr to replicate to outcome; every candidate has every replicate.
        prunings: The networks that the trainings started from, one per replicate; none at cycle 0.
        tolerance: How far from the best a mean may be, of comparable scores: 0.005 of accuracies.
        measure: How scores are compared.
    """
    candidates = candidates_of(outcomes)
    rates = tuple(candidate.max_lr for candidate in candidates)
    means = measure.all_comparable(candidate.score for candidate in candidates)
    best, first, last = (int(index[0]) for index in optimized(means[None], tolerance))
    choice = Choice(cycle=cycle, max_lr=rates[best], rule="point", replicates=len(candidates[best].trials))
    near = means >= means[best] - tolerance - ROUNDING
    return Cycle(
        interval=grid_interval(cycle, rates, best, first, last),
        choice=choice,
        candidates=candidates,
        grid=rates,
        detached=tuple(rates[i] for i in np.flatnonzero(near) if not first <= i <= last),
        measure=measure,
        **densities(prunings),
    )


def candidates_of(outcomes: Mapping[float, Mapping[int, Trial]]) -> tuple[Candidate, ...]:
    """The candidates, ascending, from max_lr to replicate to outcome."""
    return tuple(
        Candidate(max_lr=max_lr, trials=tuple(outcomes[max_lr][r] for r in sorted(outcomes[max_lr])))
        for max_lr in sorted(outcomes)
    )


class Densities(TypedDict):
    """Shares of the weights that are left, in (0, 1]."""

    density: float
    density_all: float


def densities(prunings: Sequence[PrunedNetwork]) -> Densities:
    """Shares of the weights that are left, as a :class:`Cycle` has them."""
    return {
        "density": _mean_share([(p.alive, p.prunable) for p in prunings]),
        "density_all": _mean_share([(p.alive + p.parameters - p.prunable, p.parameters) for p in prunings]),
    }


def _mean_share(parts: list[tuple[int, int]]) -> float:
    """Mean share over the replicates; nothing is pruned at cycle 0."""
    return sum(part / whole for part, whole in parts) / len(parts) if parts else 1.0


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _std(values: list[float]) -> float | None:
    if len(values) < 2 or any(map(math.isnan, values)):
        return None
    return statistics.stdev(values)


class Learned:
    """Learns from cycle after cycle. The same cycles give the same, whatever was asked before.

    What was learned from a cycle is kept as long as it is one of those asked for, which saves time only.

    Args:
        tolerance: How far below the best a score may be, as a share; with 0 scores are measured in 0.005.
        chance: The accuracy up to which a network may be guessing, if known.
        rates: All that any cycle may try, ascending; by default those of the cycles asked for.
    """

    def __init__(self, tolerance: float, chance: float | None, rates: Sequence[float] | None = None) -> None:
        self._tolerance, self._chance, self._rates = tolerance or TOLERANCE, chance, rates
        self._candidates: list[tuple[Candidate, ...]] = []
        self._known: list[Known | None] = []
        self.landscape = self._on(np.array([1.0] if rates is None else rates))

    def from_cycles(self, cycles: Sequence[Cycle]) -> list[Known | None]:
        """What each of the cycles leaves, ascending; None of one that says nothing of the rates."""
        if self._rates is None and cycles:
            rates = np.unique(np.concatenate([each.grid for each in cycles]))
            if not np.array_equal(rates, self.landscape.rates):
                self.landscape, self._known, self._candidates = self._on(rates), [], []
        same = 0
        for kept, each in zip(self._candidates, cycles, strict=False):
            if kept is not each.candidates:
                break
            same += 1
        del self._known[same:], self._candidates[same:]
        for each in cycles[same:]:
            self._known.append(self.landscape.given(each.scores, last_known(self._known)))
            self._candidates.append(each.candidates)
        return list(self._known)

    def _on(self, rates: FloatArray) -> Landscape:
        return Landscape(rates, self._tolerance, self._chance)


def last_known(known: Sequence[Known | None]) -> Known | None:
    """What the last cycle that says something left; None without one."""
    return next((each for each in reversed(known) if each is not None), None)


_ALIKE = 1e-6
"""Losses this close are equal, as shares of accuracy: machines differ in the last bits of a posterior."""


class PosteriorChoice:
    """Chooses cycle after cycle, from the trainings of each and of those before it.

    The rule ``posterior``: it prunes what loses least by all that is known of the landscape, not by the
    means. The best of noisy means is a lucky one as often as a good one, and its networks go on for all later
    cycles. The landscape's model takes the neighbours of a rate, the cycles before and the edge of collapse
    into account.

    Args:
        tolerance: How far below the best a score may be, as a share; 0 leaves every choice to the means.
        chance: The accuracy up to which a network may be guessing, if known.
    """

    def __init__(self, tolerance: float, chance: float | None) -> None:
        self._tolerance, self._learned = tolerance, Learned(tolerance, chance)

    def __call__(self, cycles: Sequence[Cycle]) -> float | None:
        """The rate whose networks lose least, of the last one of the cycles; the smaller among equals.

        Args:
            cycles: All cycles up to it, by the point rule; every candidate was trained in every replicate.

        Returns:
            None where the means decide: there is one candidate, no rate learned anything, or two humps are
            good, which the model knows least of.
        """
        last = cycles[-1]
        if self._tolerance <= 0 or len(last.candidates) < 2:
            return None
        known = self._learned.from_cycles(cycles)
        (belief,) = self._learned.landscape.beliefs([last.scores], known[-1:])
        if belief.silent or belief.two_humps:
            return None
        least = int(np.flatnonzero(belief.means <= belief.means.min() + _ALIKE)[0])
        return last.candidates[least].max_lr
