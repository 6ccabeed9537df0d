"""What the intervals alone say: for each q its region, and the curve that keeps to them best."""

import numpy as np

from silo._arrays import BoolArray, FloatArray, IntArray
from silo._fitting.beta_search import valleys
from silo._fitting.branch_and_bound import Items, Regions, find_regions
from silo._fitting.margin import Margins, largest_margin
from silo._fitting.misses import FewestMisses, fewest_misses
from silo._fitting.problem import WITHIN_SLACK, Problem
from silo._fitting.silo_family import betas_at
from silo.curve import SiloCurve
from silo.region import Region

# Margins this close, of rates divided by the highest one, are equal.
_EXACT = 1e-12


def regions(problem: Problem) -> tuple[Region, ...]:
    """One region per q of the problem, ascending."""
    found = find_regions(items_of(problem), problem.beta_bounds)
    inside = _most_central(problem, found)
    empty = np.flatnonzero(found.empty)
    outside = fewest_misses(items_of(problem, empty), problem.beta_bounds) if empty.size else None
    built = []
    for k in range(len(problem.q_values)):
        curve, margin = inside[k]
        ranges: dict[str, tuple[float, float] | None] = {"beta": None, "epsilon": None, "delta": None}
        if found.empty[k] and outside is not None:
            curve = _curve(problem, outside, k, int(np.searchsorted(empty, k)))
        else:
            ranges, margin = _ranges(problem, found, k), max(margin, 0.0)
        built.append(
            Region(
                q=problem.q_values[k],
                curve=curve,
                margin=margin * problem.scale,
                missed_cycles=problem.missed(curve),
                **ranges,
            )
        )
    return tuple(built)


def items_of(problem: Problem, q_index: IntArray | None = None) -> Items:
    """The problem once per q, or per index given."""
    index = np.arange(len(problem.q_values)) if q_index is None else q_index
    shape = (index.size, len(problem.intervals))
    return Items(
        logits=problem.logits[index],
        low=np.broadcast_to(problem.low, shape),
        high=np.broadcast_to(problem.high, shape),
        slack=WITHIN_SLACK,
    )


def best_region(problem: Problem, found: tuple[Region, ...]) -> Region:
    """That whose curve is outside the fewest intervals, then keeps the largest distance to all ends.

    Among equals it is that of the smallest q.
    """
    fewest = min(len(region.missed_cycles) for region in found)
    rivals = [region for region in found if len(region.missed_cycles) == fewest]
    cycles = [interval.cycle for interval in problem.intervals]
    margins = [problem.margin(region.curve.max_lr(cycles) / problem.scale) for region in rivals]
    return next(r for r, margin in zip(rivals, margins, strict=True) if margin >= max(margins) - _EXACT)


def _most_central(problem: Problem, found: Regions) -> list[tuple[SiloCurve, float]]:
    """Per q the curve with the largest margin, and that margin, of rates divided by the scale."""
    flat = float(problem.optima.max())
    lowest, highest = problem.beta_bounds
    lower = np.where(found.empty, lowest, np.exp(-found.highest[:, 1])).clip(lowest, highest)
    upper = np.where(found.empty, highest, np.exp(found.highest[:, 0])).clip(lowest, highest)

    def margins(q_index: IntArray, betas: FloatArray) -> Margins:
        return largest_margin(problem.shapes(q_index, betas), *problem.outermost_ends(), flat)

    q_index, betas = valleys(lambda i, b: -margins(i, b).margin, lower, upper)
    tried = margins(q_index, betas)
    best = []
    for k in range(len(problem.q_values)):
        rows = np.flatnonzero(q_index == k)
        curves = [_curve_of(problem, k, betas[row], tried.epsilon[row], tried.delta[row]) for row in rows]
        hits = np.array([not problem.missed(curve) for curve in curves])
        row = _first_of_largest(tried.margin[rows], hits)
        shape = problem.shapes(q_index[rows[[row]]], betas[rows[[row]]])[0]
        best.append((curves[row], problem.margin(tried.epsilon[rows[row]] + tried.delta[rows[row]] * shape)))
    return best


def _first_of_largest(margins: FloatArray, hits: BoolArray) -> int:
    """The first of the largest margins; of those that hit all intervals, if any does."""
    allowed = np.where(hits | ~hits.any(), margins, -np.inf)
    largest = allowed.max()
    return int(np.argmax(allowed >= largest - _EXACT * (1 + abs(largest))))


def _ranges(problem: Problem, found: Regions, k: int) -> dict[str, tuple[float, float] | None]:
    log_high, log_low, *lines = found.highest[k].tolist()
    delta_high, delta_low, epsilon_high, epsilon_low = (value * problem.scale for value in lines)
    lowest, highest = betas_at(np.array([[-log_low], [log_high]]), problem.beta_bounds).tolist()
    # No rate is −0.0.
    return {
        "beta": (lowest, highest),
        "epsilon": (0.0 - epsilon_low, epsilon_high),
        "delta": (0.0 - delta_low, delta_high),
    }


def _curve(problem: Problem, found: FewestMisses, k: int, row: int) -> SiloCurve:
    return _curve_of(problem, k, found.beta[row], found.epsilon[row], found.delta[row])


def _curve_of(problem: Problem, k: int, beta: float, epsilon: float, delta: float) -> SiloCurve:
    return problem.curve(k, float(beta), float(epsilon), float(delta))
