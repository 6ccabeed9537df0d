"""A decided cycle: its candidates, the optimum, the optimized interval, and the networks to prune.

Section 5.4 of the SILO paper (arXiv 2212.06144) defines the first two: the *Oracle optimized max_lr* has the
best validation accuracy, the *Oracle optimized interval* is the range of rates within 0.5 % of it. Both are
the point estimate, from the means alone, where every candidate has every replicate; which networks are pruned
is a choice of its own, see :mod:`oracle.choice`. A policy that leaves trainings out states both by what the
model of the landscape tells, see :mod:`oracle.policies.adaptive`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypedDict

import numpy as np

from oracle.measure import BY_ACCURACY, Measure
from silo.landscape import CycleBelief, CycleScores
from silo.measured import ROUNDING, CycleInterval, grid_interval, optimized
from trials.tasks import PrunedNetwork, Trial

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
