"""Policies that know each cycle's rate without a search."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from oracle.cycles import densities
from oracle.policies.exhaustive import PointRule
from oracle.policies.protocol import CycleState, Round, Span
from silo.curve import SiloCurve, unlike
from trials.recipe import rate_at


class _OneRate(PointRule):
    """A policy that trains each cycle with one rate."""

    searches = False
    extension = 0

    @property
    def candidates(self) -> int:
        """See :class:`Policy`."""
        return 1

    @property
    def rates(self) -> tuple[float, ...]:
        """See :class:`Policy`."""
        return ()


@dataclass(frozen=True, kw_only=True)
class CurvePolicy(_OneRate):
    """SILO's rate of each cycle (Equation 3).

    Where the pruner took other shares than planned, as one that leaves 2 weights of 4 does, the curve goes by
    the densities that there were.
    """

    curve: SiloCurve

    def next_round(self, state: CycleState) -> Round | None:
        """See :class:`Policy`."""
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
