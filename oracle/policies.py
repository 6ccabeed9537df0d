"""What sets ``max_lr`` at each cycle: the Oracle's grid, or one rate that is known without a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oracle.grid import Grid
from silo.checks import nearest
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from trials.tasks import PrunedNetwork


@dataclass(frozen=True, kw_only=True)
class OraclePolicy:
    """Every value of a grid, at every cycle (Section 5.4 of the SILO paper)."""

    grid: Grid

    def values(self, cycle: int, prunings: Sequence[PrunedNetwork], replicates: int) -> tuple[float, ...]:
        """The first candidates of a cycle."""
        return self.grid.values


@dataclass(frozen=True, kw_only=True)
class CurvePolicy:
    """SILO's rate of each cycle (Equation 3)."""

    curve: SiloCurve

    def values(self, cycle: int, prunings: Sequence[PrunedNetwork], replicates: int) -> tuple[float, ...]:
        """The rate of a cycle."""
        return (self.curve.max_lr(cycle),)


@dataclass(frozen=True, kw_only=True)
class FixedPolicy:
    """The same rate at every cycle."""

    max_lr: float

    def values(self, cycle: int, prunings: Sequence[PrunedNetwork], replicates: int) -> tuple[float, ...]:
        """The rate."""
        return (self.max_lr,)


@dataclass(frozen=True, kw_only=True)
class AllrPolicy:
    """ALLR of BIMP (Zimmer, Spiegel and Pokutta 2021, arXiv 2111.00843): as much as pruning took away.

    The dense network trains with ``max_lr``, a pruned one with ``max_lr`` · clip(d / √s, ``minimum``, 1).
    Here d is the share of the weights' Euclidean norm that the pruning before it took, √(1 − ‖after‖² /
    ‖before‖²), and s the pruning rate, so that d / √s is 1 if all weights were alike. The mean of d over the
    replicates counts: all train with one rate. It never exceeds ``max_lr``. (Of BIMP's bounds from below this
    is the constant one: the other, the share of the epochs that are left, is always 1 here.)
    """

    max_lr: float
    minimum: float = 0.01
    pruning_rate: float

    def values(
        self, cycle: int, prunings: Sequence[PrunedNetwork], replicates: int
    ) -> tuple[float, ...] | None:
        """The rate of a cycle; None as long as a replicate's network is not pruned."""
        if cycle == 0:
            return (self.max_lr,)
        if len(prunings) < replicates:
            return None
        drop = math.fsum(pruned.norm_drop for pruned in prunings) / len(prunings)
        share = min(max(drop / math.sqrt(self.pruning_rate), self.minimum), 1.0)
        return (self.max_lr * share,)


Policy = OraclePolicy | CurvePolicy | FixedPolicy | AllrPolicy


def make_policy(
    name: str,
    arguments: Mapping[str, Any],
    *,
    grid: Grid | None,
    curve: SiloCurve | None,
    pruning_rate: float,
) -> Policy:
    """The policy of a spec.

    Args:
        name: ``oracle``, ``silo``, ``fixed`` or ``allr``.
        arguments: Its arguments: ``max_lr`` for ``fixed`` and ``allr``, ``minimum`` for ``allr``.
        grid: The Oracle's grid.
        curve: SILO's curve.
        pruning_rate: Share of the remaining weights that each pruning removes.

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
