"""Policies: what sets ``max_lr`` at each cycle, the Oracle's grid or one rate that is known without a search.

A policy is asked for trainings whenever a cycle has nothing out: first for those that the cycle begins with,
then, knowing their outcomes, for more, until it asks for none and the cycle is decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from oracle.cycles import Cycle, decide
from oracle.grid import Grid, Scale
from silo.checks import nearest
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from trials.recipe import rate_at
from trials.tasks import PrunedNetwork, Trial

Round = Mapping[int, tuple[float, ...]]
"""Replicate to the rates that it is to be trained with."""


@dataclass(frozen=True, kw_only=True)
class CycleState:
    """The knowledge that a policy has of a cycle when it is asked for more trainings.

    Attributes:
        cycle: Times that the network has been pruned.
        replicates: Independent seeds.
        tolerance: How far below the best mean validation accuracy the interval reaches, as a share.
        prunings: The pruned networks that the cycle starts from, as far as there are any, by replicate.
        trials: Rate to replicate to outcome of all that the policy has asked for in this cycle.
        decisions: The cycles before, with their outcomes.
    """

    cycle: int
    replicates: int
    tolerance: float
    prunings: Sequence[PrunedNetwork]
    trials: Mapping[float, Mapping[int, Trial]]
    decisions: Sequence[Cycle]

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
        candidates: Rates that a cycle begins with.
        extension: Most rates that a cycle may add to them.
        rates: Those that every cycle begins with, ascending, where that is known beforehand; else none.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def searches(self) -> bool: ...

    @property
    def candidates(self) -> int: ...

    @property
    def extension(self) -> int: ...

    @property
    def rates(self) -> tuple[float, ...]: ...

    def next_round(self, state: CycleState) -> Round | None:
        """The trainings that the cycle needs now.

        Returns:
            None as long as they depend on prunings to come; an empty round once the cycle can be decided: by
            then each rate was asked for in every replicate.
        """

    def span(self, cycles: int) -> Span:
        """The range of the rates of so many cycles, extensions aside."""


@dataclass(frozen=True, kw_only=True)
class OraclePolicy:
    """Every value of a grid, at every cycle (Section 5.4 of the SILO paper).

    The grid grows past an edge that the optimized interval touches, by one of its steps at a time.
    """

    grid: Grid

    searches = True

    @property
    def candidates(self) -> int:
        """See :class:`Policy`."""
        return len(self.grid.values)

    @property
    def extension(self) -> int:
        """See :class:`Policy`."""
        return 2 * self.grid.limit

    @property
    def rates(self) -> tuple[float, ...]:
        """See :class:`Policy`."""
        return self.grid.values

    def next_round(self, state: CycleState) -> Round:
        """See :class:`Policy`."""
        return state.everywhere(self._extension(state) if state.trials else self.grid.values)

    def span(self, cycles: int) -> Span:
        """See :class:`Policy`."""
        return Span(low=self.grid.values[0], high=self.grid.values[-1], scale=self.grid.scale)

    def _extension(self, state: CycleState) -> tuple[float, ...]:
        interval = decide(state.cycle, state.trials, state.prunings, tolerance=state.tolerance).interval
        base, values = self.grid.values, state.trials
        below = self.grid.below(sum(v < base[0] for v in values) + 1) if interval.low_cut else None
        above = self.grid.above(sum(v > base[-1] for v in values) + 1) if interval.high_cut else None
        return tuple(value for value in (below, above) if value is not None)


class _OneRate:
    """A policy that trains each cycle with one rate."""

    searches = False
    candidates = 1
    extension = 0

    @property
    def rates(self) -> tuple[float, ...]:
        """See :class:`Policy`."""
        return ()


@dataclass(frozen=True, kw_only=True)
class CurvePolicy(_OneRate):
    """SILO's rate of each cycle (Equation 3)."""

    curve: SiloCurve

    def next_round(self, state: CycleState) -> Round:
        """See :class:`Policy`."""
        return state.everywhere(() if state.trials else (float(self.curve.max_lr(state.cycle)),))

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
        """See :class:`Policy`."""
        return (self.max_lr,)

    def next_round(self, state: CycleState) -> Round:
        """See :class:`Policy`."""
        return state.everywhere(() if state.trials else (self.max_lr,))

    def span(self, cycles: int) -> Span:
        """See :class:`Policy`."""
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
        """See :class:`Policy`."""
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
        """See :class:`Policy`."""
        low = self.max_lr * (self.minimum if cycles > 1 else 1.0)
        return Span(low=low, high=self.max_lr, scale="linear")


def make_policy(
    name: str,
    arguments: Mapping[str, Any],
    *,
    grid: Grid | None,
    curve: SiloCurve | None,
    pruning_rate: float | tuple[float, ...],
) -> Policy:
    """The policy of a spec.

    Args:
        name: ``oracle``, ``silo``, ``fixed`` or ``allr``.
        arguments: Its arguments: ``max_lr`` for ``fixed`` and ``allr``, ``minimum`` for ``allr``.
        grid: The Oracle's grid.
        curve: SILO's curve.
        pruning_rate: Share of the remaining weights that each pruning removes, or one per pruning.

    Raises:
        InvalidInput: There is no such policy, it takes no such argument, or it lacks what it needs.
    """
    known = {"oracle": (), "silo": (), "fixed": ("max_lr",), "allr": ("max_lr", "minimum")}
    if name not in known:
        raise InvalidInput(f"there is no policy {name!r}: {nearest(name, known)}")
    for argument in arguments:
        if argument not in known[name]:
            known_arguments = nearest(argument, known[name]) if known[name] else "it takes none"
            raise InvalidInput(f"{name} takes no argument {argument!r}: {known_arguments}")
    if name == "oracle":
        if grid is None:
            raise InvalidInput("oracle needs a grid: give low and high with points or step, or values")
        return OraclePolicy(grid=grid)
    if name == "silo":
        if curve is None:
            raise InvalidInput("silo needs the field silo: give q, beta, epsilon and delta")
        return CurvePolicy(curve=curve)
    if "max_lr" not in arguments:
        raise InvalidInput(f"{name} needs the argument 'max_lr', a peak learning rate such as 0.1")
    max_lr = _rate("max_lr", arguments["max_lr"])
    if name == "fixed":
        return FixedPolicy(max_lr=max_lr)
    minimum = _rate("minimum", arguments.get("minimum", AllrPolicy.minimum))
    if minimum > 1:
        raise InvalidInput(f"allr.minimum must be a share of max_lr, in (0, 1], not {minimum:g}")
    return AllrPolicy(max_lr=max_lr, minimum=minimum, pruning_rate=pruning_rate)


def _rate(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(f"{name} must be a number above 0, not {value!r}")
    return float(value)
