"""Policies: what sets ``max_lr`` at each cycle, by a search or by one rate that is known without one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from oracle.cycles import Grid
from oracle.policies.adaptive import AdaptivePolicy, EdgePolicy
from oracle.policies.policy import (
    AllrPolicy,
    CurvePolicy,
    CycleState,
    FixedPolicy,
    OraclePolicy,
    Policy,
    Round,
    Span,
)
from silo.checks import nearest
from silo.curve import SiloCurve
from silo.errors import InvalidInput

__all__ = [
    "AdaptivePolicy",
    "AllrPolicy",
    "CurvePolicy",
    "CycleState",
    "EdgePolicy",
    "FixedPolicy",
    "OraclePolicy",
    "Policy",
    "Round",
    "Span",
    "make_policy",
]


_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "oracle": (),
    "adaptive": ("share", "trainings"),
    "edge": (),
    "silo": (),
    "fixed": ("max_lr",),
    "allr": ("max_lr", "minimum"),
}


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
        name: ``oracle``, ``adaptive``, ``edge``, ``silo``, ``fixed`` or ``allr``.
        arguments: Its arguments: ``share`` or ``trainings`` for ``adaptive``, ``max_lr`` for ``fixed`` and
            ``allr``, ``minimum`` for ``allr``.
        grid: The Oracle's grid.
        curve: SILO's curve.
        pruning_rate: Share of the remaining weights that each pruning removes, or one per pruning.

    Raises:
        InvalidInput: There is no such policy, it takes no such argument, or it lacks what it needs.
    """
    if name not in _ARGUMENTS:
        raise InvalidInput(f"there is no policy {name!r}: {nearest(name, _ARGUMENTS)}")
    known = _ARGUMENTS[name]
    for argument in arguments:
        if argument not in known:
            known_arguments = nearest(argument, known) if known else "it takes none"
            raise InvalidInput(f"{name} takes no argument {argument!r}: {known_arguments}")
    if name in ("oracle", "adaptive", "edge"):
        if grid is None:
            raise InvalidInput(f"{name} needs a grid: give low and high with points or step, or values")
        if name == "adaptive":
            return AdaptivePolicy(grid=grid, **_budget(arguments))
        return OraclePolicy(grid=grid) if name == "oracle" else EdgePolicy(grid=grid)
    if name == "silo":
        if curve is None:
            raise InvalidInput("silo needs the field silo: give q, beta, epsilon and delta")
        if not curve.epsilon:
            raise InvalidInput(
                "silo would train with a rate of 0, where its curve begins: give epsilon above 0"
            )
        return CurvePolicy(curve=curve)
    if "max_lr" not in arguments:
        raise InvalidInput(f"{name} needs the argument 'max_lr', a peak learning rate such as 0.1")
    max_lr = _above_zero("max_lr", arguments["max_lr"])
    if name == "fixed":
        return FixedPolicy(max_lr=max_lr)
    minimum = _above_zero("minimum", arguments.get("minimum", AllrPolicy.minimum))
    if minimum > 1:
        raise InvalidInput(f"allr.minimum must be a share of max_lr, in (0, 1], not {minimum:g}")
    return AllrPolicy(max_lr=max_lr, minimum=minimum, pruning_rate=pruning_rate)


def _budget(arguments: Mapping[str, Any]) -> dict[str, float]:
    if len(arguments) > 1:
        raise InvalidInput("adaptive takes a share or a number of trainings, not both: leave one out")
    budget = {name: _above_zero(name, value) for name, value in arguments.items()}
    if budget.get("share", 0) > 1:
        raise InvalidInput(
            "adaptive.share must be a share of the whole grid's trainings, in (0, 1], not "
            f"{budget['share']:g}: 25 % is 0.25"
        )
    return budget


def _above_zero(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(f"{name} must be a number above 0, not {value!r}")
    return float(value)
