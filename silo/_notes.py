"""What a fit's data cannot tell, in plain sentences."""

from collections.abc import Sequence

from silo._problem import Problem
from silo.curve import SiloCurve

# A bound of beta counts as reached within this share of it.
_AT_BOUND = 1e-6


def notes(problem: Problem, curve: SiloCurve, *, fixed: bool, rivals: Sequence[int]) -> tuple[str, ...]:
    """The sentences that hold for the least-squares ``curve``.

    Args:
        problem: what was fitted.
        curve: the least-squares curve.
        fixed: q and beta were not fitted, for want of cycles.
        rivals: other q whose best curve fits about as well.
    """
    return (
        *_count(problem, curve, fixed),
        *_cuts(problem),
        *_shape(problem, curve, fixed),
        *_rivals(curve, fixed, rivals),
    )


def _count(problem: Problem, curve: SiloCurve, fixed: bool) -> list[str]:
    n = len(problem.intervals)
    cycles = "1 cycle" if n == 1 else f"{n} cycles"
    if fixed:
        return [
            f"{cycles} cannot fix four parameters: q = {curve.q} and beta = {curve.beta:g} are set, and only "
            "epsilon and delta fitted."
        ]
    if n <= 4:
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


def _shape(problem: Problem, curve: SiloCurve, fixed: bool) -> list[str]:
    cycles = [interval.cycle for interval in problem.intervals]
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


def _rivals(curve: SiloCurve, fixed: bool, rivals: Sequence[int]) -> list[str]:
    if fixed or not rivals or curve.delta == 0:
        return []
    values = ", ".join(str(q) for q in rivals)
    return [f"q is not determined: with q = {values} the RMSE is within 5 % of that with q = {curve.q}."]


def _named(cycles: Sequence[int]) -> str:
    return f"cycle{'s' if len(cycles) > 1 else ''} {', '.join(str(cycle) for cycle in cycles)}"
