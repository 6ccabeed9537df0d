"""Plain sentences on what a fit's data cannot tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from silo.curve import SiloCurve
from silo.fit.problem import Problem
from silo.fit.regions import Region

# A bound of beta counts as reached within this share of it.
_AT_BOUND = 1e-6
# A parameter whose highest value is more than so many times its lowest is called unidentified.
_WIDE = 2.0
# Learning rates are seldom above this.
_HIGHEST_USUAL = 1.0


@dataclass(frozen=True, kw_only=True)
class Near:
    """The curves that fit the optima about as well as the least-squares curve.

    Attributes:
        q: the q of such curves, ascending.
        beta: the lowest and highest beta of such curves.
    """

    q: tuple[int, ...]
    beta: tuple[float, float]


def notes(
    problem: Problem, curve: SiloCurve, regions: Sequence[Region], *, fixed: Sequence[str], near: Near
) -> tuple[str, ...]:
    """The sentences that hold for the least-squares ``curve`` and for the regions.

    Args:
        problem: what was fitted.
        curve: the least-squares curve.
        regions: one per q.
        fixed: which of q and beta were set, for want of cycles.
        near: what fits about as well.
    """
    return (
        *_count(problem, curve, fixed),
        *_cuts(problem),
        *_densities(problem),
        *_units(problem),
        *_shape(problem, curve, "beta" in fixed),
        *_near(curve, near),
        *_unidentified(problem, [region for region in regions if not region.empty]),
    )


def _count(problem: Problem, curve: SiloCurve, fixed: Sequence[str]) -> list[str]:
    n = len(problem.intervals)
    cycles = "1 cycle" if n == 1 else f"{n} cycles"
    if fixed:
        given = [f"{name} = {getattr(curve, name):g}" for name in fixed] + ["delta = 0"] * (n == 1)
        fitted = [name for name in ("beta", "epsilon", "delta") if name not in fixed][: max(n, 1)]
        return [
            f"{cycles} cannot fix four parameters: {_joined(given)} {'are' if len(given) > 1 else 'is'} set, "
            f"and only {_joined(fitted)} fitted."
        ]
    if n == 4:
        return [f"{cycles} for four parameters leave nothing to test the curve with: a good fit says little."]
    return []


def _cuts(problem: Problem) -> list[str]:
    low = [interval.cycle for interval in problem.intervals if interval.low_cut]
    high = [interval.cycle for interval in problem.intervals if interval.high_cut]
    n = len(problem.intervals)
    if len(low) == len(high) == n:
        return [
            "The grid's edges cut off every interval at both ends: nothing bounds the curve. Widen the grid."
        ]
    found = []
    for cut, edge, side in ((low, "lower", "below"), (high, "upper", "above")):
        if len(cut) == n:
            found.append(
                f"The grid's {edge} edge cuts off every interval: nothing bounds the curve from {side}. "
                "Widen the grid."
            )
        elif cut:
            found.append(
                f"The grid's {edge} edge cuts off the interval of {_named(cut)}: nothing bounds the curve "
                f"from {side} there."
            )
    return found


def _densities(problem: Problem) -> list[str]:
    if not problem.densities:
        return []
    return [
        f"Other shares of the weights were pruned than {problem.pruning_rate:.3g} each time: SILO's curves "
        "go by the densities that there were."
    ]


def _units(problem: Problem) -> list[str]:
    if min(interval.low for interval in problem.intervals) > _HIGHEST_USUAL:
        return [
            "Every rate is above 1: if they are in units of 1e-2, as in the paper's tables, multiply them by "
            "1e-2."
        ]
    return []


def _shape(problem: Problem, curve: SiloCurve, fixed: bool) -> list[str]:
    cycles = [interval.cycle for interval in problem.intervals]
    if len(cycles) == 1:
        return []
    beyond = sum(cycle > curve.q for cycle in cycles)
    if not beyond:
        return [
            f"No measured cycle lies beyond q = {curve.q}: beta and delta cannot be told; delta is set to 0."
        ]
    if curve.delta == 0:
        return ["The optima do not rise with the cycles: delta is 0, so q and beta mean nothing."]
    found = []
    if not fixed and beyond == 1:
        found.append(
            f"Only one measured cycle lies beyond q = {curve.q}: beta and delta cannot be told apart, and "
            "the smallest allowed beta is taken."
        )
    elif not fixed:
        for bound, word in zip(problem.beta_bounds, ("gentler", "steeper"), strict=True):
            if abs(curve.beta - bound) <= _AT_BOUND * bound:
                found.append(f"beta is at its bound {bound:g}: a {word} curve may fit better.")
    first, last = ((curve.max_lr(m) - curve.epsilon) / curve.delta for m in (cycles[0], cycles[-1]))
    if last < 0.5:
        found.append(
            f"At the last measured cycle, {cycles[-1]}, the curve has made {last:.1%} of its rise: delta is "
            "an extrapolation. Measure later cycles."
        )
    if first > 0.5:
        found.append(
            f"At the first measured cycle, {cycles[0]}, the curve has already made {first:.1%} of its rise: "
            "epsilon is an extrapolation. Measure earlier cycles."
        )
    return found


def _near(curve: SiloCurve, near: Near) -> list[str]:
    if curve.delta == 0:
        return []
    found = []
    if others := [str(q) for q in near.q if q != curve.q]:
        found.append(
            f"q is not determined by the optima: with q = {', '.join(others)} the RMSE is within 5 % of that "
            f"with q = {curve.q}."
        )
    low, high = near.beta
    if high > _WIDE * low:
        found.append(
            f"beta is not determined by the optima: from {low:.3g} to {high:.3g} the RMSE is within 5 % of "
            f"that with beta = {curve.beta:.3g}."
        )
    return found


def _unidentified(problem: Problem, regions: Sequence[Region]) -> list[str]:
    """The parameters that curves in all intervals may choose freely."""
    found = []
    if len(regions) > 1:
        values = ", ".join(str(region.q) for region in regions)
        found.append(f"q is unidentified by the intervals: q = {values} each have a curve in all of them.")
    for name in ("beta", "epsilon", "delta"):
        ranges = [ends for region in regions if (ends := region.shown(name)) is not None]
        if not ranges:
            continue
        low, high = min(ends[0] for ends in ranges), max(ends[1] for ends in ranges)
        if math.isinf(high):
            found.append(
                f"{name} is unidentified by the intervals: nothing bounds it from above (the lowest is "
                f"{low:.3g})."
            )
        elif high > _WIDE * low:
            bound = ", its bounds" if name == "beta" and (low, high) == problem.beta_bounds else ""
            found.append(
                f"{name} is unidentified by the intervals: curves in all of them have any from {low:.3g} to "
                f"{high:.3g}{bound}."
            )
    return found


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _named(cycles: Sequence[int]) -> str:
    return f"cycle{'s' if len(cycles) > 1 else ''} {', '.join(str(cycle) for cycle in cycles)}"
