"""What a policy is: what sets ``max_lr`` at each cycle.

A policy is asked for trainings whenever a cycle has nothing out: first for those that the cycle begins with,
then, knowing their outcomes, for more, until it asks for none and decides the cycle.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from oracle.cycles import Cycle, Grid, Scale, decide, densities
from oracle.measure import BY_ACCURACY, Measure
from silo.curve import SiloCurve, unlike
from trials.tasks import PrunedNetwork, Trial, rate_at

Round = Mapping[int, tuple[float, ...]]
"""Replicate to the rates that it is to be trained with."""


@dataclass(frozen=True, kw_only=True)
class CycleState:
    """The knowledge that a policy has of a cycle when it is asked for more trainings.

    Attributes:
        cycle: Times that the network has been pruned.
        replicates: Independent seeds.
        tolerance: How far below the best mean validation score the interval reaches, of comparable scores.
        prunings: The pruned networks that the cycle starts from, as far as there are any, by replicate.
        trials: Rate to replicate to outcome of all that the policy has asked for in this cycle.
        decisions: The cycles before, with their outcomes.
        rounds: What it has asked for in this cycle, in turn.
        spent: What the cycles before took, see :func:`silo.landscape.adaptive.work`.
        chance: The comparable score up to which a network may be guessing; None if that is not known.
        measure: How scores are compared.
        workers: How many packs of trainings go side by side.
        pack: Most rates of a replicate that are trained together.
        growth: How many times the budget that the search began with it has now.
    """

    cycle: int
    replicates: int
    tolerance: float
    prunings: Sequence[PrunedNetwork]
    trials: Mapping[float, Mapping[int, Trial]]
    decisions: Sequence[Cycle]
    rounds: Sequence[Round] = ()
    spent: float = 0.0
    chance: float | None = None
    measure: Measure = BY_ACCURACY
    workers: int = 1
    pack: int = 1
    growth: float = 1.0

    def everywhere(self, rates: tuple[float, ...]) -> Round:
        """The same rates in every replicate; nothing for none."""
        return dict.fromkeys(range(self.replicates), rates) if rates else {}


@dataclass(frozen=True, kw_only=True)
class Span:
    """The range of rates that a search is expected to train with.

    Attributes:
        low: Smallest.
        high: Largest.
        scale: Whether equal distances in it are differences or ratios.
    """

    low: float
    high: float
    scale: Scale


class Policy(Protocol):
    """Sets the rates of a search: a dataclass, of which all fields are part of what determines the search.

    The same question gets the same answer, whatever the order in which outcomes came.

    Attributes:
        searches: Whether a cycle has several candidates, so that optimum and interval mean something.
        selective: Whether a candidate may be trained in some replicates only. What was asked for is recorded
            then: it rests on a model, and machines differ in the last bits.
        candidates: Rates that a cycle begins with, or chooses from.
        together: How many of them a replicate is mostly trained with at a time.
        turns: How often a cycle mostly asks for trainings, extensions aside.
        extension: Most rates that a cycle may add to them.
        rates: Those that every cycle begins with, ascending, where that is known beforehand; else none.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def searches(self) -> bool: ...

    @property
    def selective(self) -> bool: ...

    @property
    def candidates(self) -> int: ...

    @property
    def together(self) -> int: ...

    @property
    def turns(self) -> int: ...

    @property
    def extension(self) -> int: ...

    @property
    def rates(self) -> tuple[float, ...]: ...

    def expected(self, replicates: int) -> float:
        """The trainings that a cycle mostly takes, extensions aside."""

    def next_round(self, state: CycleState) -> Round | None:
        """The trainings that the cycle needs now.

        Returns:
            None as long as they depend on prunings to come; an empty round once the cycle can be decided: by
            then each rate was asked for in every replicate, or with a selective policy one rate at least.
        """

    def decided(self, state: CycleState) -> Cycle:
        """The cycle's decision. Its choice stays if the ledger has none of an earlier one."""

    def span(self, cycles: int) -> Span:
        """The range of the rates of so many cycles, extensions aside."""


@dataclass(frozen=True, kw_only=True)
class GridPolicy:
    """A policy that searches a grid; see :class:`oracle.policies.Policy`.

    Attributes:
        grid: The candidates, and how they extend.
    """

    grid: Grid

    searches = True

    @property
    def candidates(self) -> int:
        return len(self.grid.values)

    @property
    def extension(self) -> int:
        return 2 * self.grid.limit

    @property
    def rates(self) -> tuple[float, ...]:
        return self.grid.values

    def span(self, cycles: int) -> Span:
        return Span(low=self.grid.values[0], high=self.grid.values[-1], scale=self.grid.scale)


class PointRule(ABC):
    """A policy that trains all candidates in all replicates and decides by their means."""

    selective = False
    turns = 1

    @property
    def together(self) -> int:
        return self.candidates

    @property
    @abstractmethod
    def candidates(self) -> int:
        """See :class:`Policy`."""

    def expected(self, replicates: int) -> float:
        return self.candidates * replicates

    def decided(self, state: CycleState) -> Cycle:
        return decide(
            state.cycle, state.trials, state.prunings, tolerance=state.tolerance, measure=state.measure
        )


@dataclass(frozen=True, kw_only=True)
class OraclePolicy(GridPolicy, PointRule):
    """Every value of a grid, at every cycle (Section 5.4 of the SILO paper).

    The grid grows past an edge that the optimized interval touches, by one of its steps at a time.
    """

    def next_round(self, state: CycleState) -> Round:
        return state.everywhere(self._extension(state) if state.trials else self.grid.values)

    def _extension(self, state: CycleState) -> tuple[float, ...]:
        interval = decide(
            state.cycle, state.trials, state.prunings, tolerance=state.tolerance, measure=state.measure
        ).interval
        base, values = self.grid.values, state.trials
        below = self.grid.below(sum(v < base[0] for v in values) + 1) if interval.low_cut else None
        above = self.grid.above(sum(v > base[-1] for v in values) + 1) if interval.high_cut else None
        return tuple(value for value in (below, above) if value is not None)


class _OneRate(PointRule):
    """A policy that trains each cycle with one rate."""

    searches = False
    extension = 0

    @property
    def candidates(self) -> int:
        return 1

    @property
    def rates(self) -> tuple[float, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class CurvePolicy(_OneRate):
    """SILO's rate of each cycle (Equation 3).

    Where the pruner took other shares than planned, as one that leaves 2 weights of 4 does, the curve goes by
    the densities that there were.
    """

    curve: SiloCurve

    def next_round(self, state: CycleState) -> Round | None:
        if state.trials:
            return {}
        if state.cycle and len(state.prunings) < state.replicates:
            return None
        known = (*(each.density for each in state.decisions), densities(state.prunings)["density"])
        other = unlike(known, self.curve.pruning_rate, self.curve.densities)
        curve = replace(self.curve, densities=known) if other else self.curve
        return state.everywhere((float(curve.max_lr(state.cycle)),))

    def span(self, cycles: int) -> Span:
        """See :class:`Policy`; the curve never falls."""
        low, high = (float(self.curve.max_lr(cycle)) for cycle in (0, cycles - 1))
        return Span(low=low, high=high, scale="linear")


@dataclass(frozen=True, kw_only=True)
class FixedPolicy(_OneRate):
    """The same rate at every cycle."""

    max_lr: float

    @property
    def rates(self) -> tuple[float, ...]:
        return (self.max_lr,)

    def next_round(self, state: CycleState) -> Round:
        return state.everywhere(() if state.trials else (self.max_lr,))

    def span(self, cycles: int) -> Span:
        return Span(low=self.max_lr, high=self.max_lr, scale="linear")


@dataclass(frozen=True, kw_only=True)
class AllrPolicy(_OneRate):
    """ALLR of BIMP (Zimmer, Spiegel and Pokutta 2021, arXiv 2111.00843): as much as pruning took away.

    The dense network trains with ``max_lr``, a pruned one with ``max_lr`` · clip(d / √s, ``minimum``, 1).
    Here d is the share of the weights' Euclidean norm that the pruning before it took, √(1 − ‖after‖² /
    ‖before‖²), and s the pruning rate, so that d / √s is 1 if all weights were alike. The mean of d over the
    replicates counts: all train with one rate. It never exceeds ``max_lr``. (Of BIMP's bounds from below this
    is the constant one: the other, the share of the epochs that are left, is always 1 here.)
    """

    max_lr: float
    minimum: float = 0.01
    pruning_rate: float | tuple[float, ...]

    def next_round(self, state: CycleState) -> Round | None:
        if state.trials:
            return {}
        if state.cycle == 0:
            return state.everywhere((self.max_lr,))
        if len(state.prunings) < state.replicates:
            return None
        drop = math.fsum(pruned.norm_drop for pruned in state.prunings) / len(state.prunings)
        share = min(max(drop / math.sqrt(rate_at(self.pruning_rate, state.cycle)), self.minimum), 1.0)
        return state.everywhere((self.max_lr * share,))

    def span(self, cycles: int) -> Span:
        low = self.max_lr * (self.minimum if cycles > 1 else 1.0)
        return Span(low=low, high=self.max_lr, scale="linear")
