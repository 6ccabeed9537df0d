"""For each q the region of (β, ε, δ) whose curves lie in every interval, and its most central curve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.curve import SiloCurve
from silo.fit.branch_and_bound import Items, Ranges, fewest_misses, parameter_ranges
from silo.fit.least_squares import BETA_POINTS, WITHIN_SLACK, Problem, betas_at

#: R values for R pairs of (index of q, beta).
Profile = Callable[[IntArray, FloatArray], FloatArray]

#: Margins this close, of rates divided by the highest one, are equal.
EXACT_MARGIN = 1e-12
_ROUNDING = 1e-15
_ZOOM_POINTS = 17
_ZOOM_ROUNDS = 12


@dataclass(frozen=True, kw_only=True)
class Margins:
    """R solutions.

    Attributes:
        epsilon: (R,), at least 0.
        delta: (R,), at least 0.
        margin: (R,): the distance to the nearest end; below 0 it is minus the distance outside.
    """

    epsilon: FloatArray
    delta: FloatArray
    margin: FloatArray


def most_central(problem: Problem, found: Ranges) -> list[tuple[SiloCurve, float]]:
    """Per q the curve with the largest margin, and that margin, of rates divided by the scale.

    Args:
        problem: the intervals.
        found: the ranges for each q: where there are any, only their β are searched.
    """
    flat = float(problem.optima.max())
    lowest, highest = problem.beta_bounds
    lower = np.where(found.empty, lowest, np.exp(-found.highest[:, 1])).clip(lowest, highest)
    upper = np.where(found.empty, highest, np.exp(found.highest[:, 0])).clip(lowest, highest)

    def margins(q_index: IntArray, betas: FloatArray) -> Margins:
        return widest_margin(problem.shapes(q_index, betas), *problem.outermost_ends(), flat)

    q_index, betas = valleys(lambda i, b: -margins(i, b).margin, lower, upper)
    tried = margins(q_index, betas)
    best = []
    for k in range(len(problem.q_values)):
        rows = np.flatnonzero(q_index == k)
        curves = [
            problem.curve(k, float(betas[row]), float(tried.epsilon[row]), float(tried.delta[row]))
            for row in rows
        ]
        hits = np.array([not problem.missed(curve) for curve in curves])
        row = _first_of_largest(tried.margin[rows], hits)
        shape = problem.shapes(q_index[rows[[row]]], betas[rows[[row]]])[0]
        best.append((curves[row], problem.margin(tried.epsilon[rows[row]] + tried.delta[rows[row]] * shape)))
    return best


def _first_of_largest(margins: FloatArray, hits: BoolArray) -> int:
    """The first of the largest margins; of those that hit all intervals, if any does."""
    allowed = np.where(hits | ~hits.any(), margins, -np.inf)
    largest = allowed.max()
    return int(np.argmax(allowed >= largest - EXACT_MARGIN * (1 + abs(largest))))


def widest_margin(shapes: FloatArray, low: FloatArray, high: FloatArray, flat: float) -> Margins:
    """Maximises t over ε ≥ 0, δ ≥ 0 with low + t ≤ ε + δ·s ≤ high − t: a linear program, solved exactly.

    Among equal margins it takes the smallest δ.

    Args:
        shapes: (R, n), s in [0, 1].
        low: (n,), at least 0; 0 bounds nothing.
        high: (n,), above 0; infinite where there is no upper end.
        flat: where all of ``high`` is infinite there is no maximum: ε = ``flat`` with δ = 0 is returned. At
            least as high as all of ``low``, above 0.
    """
    zero = np.zeros(shapes.shape[0])
    if not np.isfinite(high).any():
        return Margins(epsilon=zero + flat, delta=zero, margin=zero + flat - low.max())
    # With U = min(high − δ·s) and L = max(low − δ·s), ε has the margin min(U − ε, ε − L). Its best is the
    # middle, ε = (U + L) / 2 with margin (U − L) / 2; where that is below 0 it is ε = 0, and U, then the
    # smaller of U and −L, is the margin. Both cases are f(δ) = min((U − L) / 2, U), as (U − L) / 2 ≤ U if and
    # only if U + L ≥ 0. U, the least of straight lines in δ, is concave, L is convex, so f is concave and
    # made of straight pieces, each of which lies above f elsewhere. Take one that rises and one that does
    # not: where the two cross is the most that f can be. If f is that there, it is the maximum; if not, the
    # piece of f there replaces the one it is like. No piece is met twice and there are finitely many, so this
    # ends.
    left = _piece(shapes, low, high, zero)
    right = _last_piece(shapes, low, high)
    delta = zero
    open_rows = left[1] > 0
    for _ in range(4 * low.size + 4):
        if not open_rows.any():
            break
        crossing = (right[0] - left[0]) / np.where(open_rows, left[1] - right[1], 1.0)
        delta = np.where(open_rows, np.maximum(crossing, 0.0), delta)
        piece = _piece(shapes, low, high, delta)
        gap = left[0] + left[1] * delta - piece[0] - piece[1] * delta
        open_rows &= gap > _ROUNDING * (1 + np.abs(piece[0]))
        rising = piece[1] > 0
        left = np.where(open_rows & rising, piece, left)
        right = np.where(open_rows & ~rising, piece, right)
    upper = (high - delta[:, None] * shapes).min(axis=1)
    lower = (low - delta[:, None] * shapes).max(axis=1)
    margin = np.minimum((upper - lower) / 2, upper)
    return Margins(epsilon=np.maximum((upper + lower) / 2, 0.0), delta=delta, margin=margin)


def valleys(profile: Profile, lower: FloatArray, upper: FloatArray) -> tuple[IntArray, FloatArray]:
    """The minima of ``profile`` over beta, for each q.

    No random starts: every local minimum of a grid with equal ratios is bracketed by its neighbours, and each
    bracket shrinks to the neighbours of its lowest of 17 points, 12 times, which leaves less than 1e-12 of
    log beta. A valley narrower than the grid's steps can be missed. Both bounds of beta are always among the
    results, so that a profile that does not depend on beta ties at the lower one.

    Args:
        profile: gives one finite value per pair of (index of q, beta); called with many pairs at a time.
        lower: (number of q,), the lowest beta for each, above 0.
        upper: (number of q,), the highest.

    Returns:
        The index of q and the beta of each, at least two per q; sorted by q, then beta.
    """
    n_q = lower.size
    logs = np.linspace(np.log(lower), np.log(upper), BETA_POINTS, axis=1)
    rows = np.arange(n_q).repeat(BETA_POINTS)
    bounds = np.stack([lower, upper])
    values = profile(rows, np.exp(logs).ravel().clip(*bounds[:, rows])).reshape(logs.shape)
    walled = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    rows, columns = np.nonzero((values < walled[:, :-2]) & (values <= walled[:, 2:]))
    left = logs[rows, np.maximum(columns - 1, 0)]
    right = logs[rows, np.minimum(columns + 1, BETA_POINTS - 1)]
    found = _zoom(profile, rows, left, right, bounds)
    all_rows = np.concatenate([rows, np.arange(n_q), np.arange(n_q)])
    all_betas = np.concatenate([found, lower, upper])
    order = np.lexsort((all_betas, all_rows))
    return all_rows[order], all_betas[order]


def _zoom(
    profile: Profile, rows: IntArray, left: FloatArray, right: FloatArray, bounds: FloatArray
) -> FloatArray:
    steps = np.linspace(0.0, 1.0, _ZOOM_POINTS)
    each = np.arange(rows.size)
    many = np.repeat(rows, steps.size)
    lowest = left
    for _ in range(_ZOOM_ROUNDS):
        logs = left[:, None] + (right - left)[:, None] * steps
        betas = np.exp(logs).ravel().clip(*bounds[:, many])
        best = profile(many, betas).reshape(logs.shape).argmin(axis=1)
        lowest = betas.reshape(logs.shape)[each, best]
        left = logs[each, np.maximum(best - 1, 0)]
        right = logs[each, np.minimum(best + 1, steps.size - 1)]
    return lowest


def _piece(shapes: FloatArray, low: FloatArray, high: FloatArray, delta: FloatArray) -> FloatArray:
    """(2, R): intercept and slope in δ of the piece of min((U − L) / 2, U) that holds at ``delta``."""
    each = np.arange(delta.size)
    falling = delta[:, None] * shapes
    i = (high - falling).argmin(axis=1)
    j = (low - falling).argmax(axis=1)
    between = np.stack([(high[i] - low[j]) / 2, (shapes[each, j] - shapes[each, i]) / 2])
    # Where the middle of U and L is negative, ε is 0 and U, the nearer of the two, is the margin.
    no_epsilon = np.stack([high[i], -shapes[each, i]])
    smaller = no_epsilon[0] + no_epsilon[1] * delta < between[0] + between[1] * delta
    return np.where(smaller, no_epsilon, between)


def _last_piece(shapes: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(2, R): intercept and slope of the piece of (U − L) / 2 that holds as δ → ∞; the slope is at most 0."""
    each = np.arange(shapes.shape[0])
    bounded = np.isfinite(high)
    # Shapes grow with the cycle, so ties stand together: the lowest upper end, the highest lower end of
    # them.
    top = np.where(bounded, shapes, -1.0).max(axis=1, keepdims=True)
    bottom = shapes.min(axis=1, keepdims=True)
    i = np.where(bounded & (shapes == top), high, np.inf).argmin(axis=1)
    j = np.where(shapes == bottom, low, -np.inf).argmax(axis=1)
    return np.stack([(high[i] - low[j]) / 2, (shapes[each, j] - shapes[each, i]) / 2])


Range = tuple[float, float]

# A δ of so many times the other rates bounds nothing: its curve has hardly begun to rise.
_OUT_OF_PROPORTION = 1e3


@dataclass(frozen=True, kw_only=True)
class Region:
    """The parameters that the intervals leave for one q, within the betas that were asked for.

    An end that the grid cut off bounds nothing. The ranges are those of the region's three coordinates: not
    every combination of them is inside. They are reached, and fall short of the truth by at most 1e-6 of
    log β and a share of 1e-4 of ε and δ.

    Attributes:
        q: pruning cycles before the curve starts to rise.
        beta: lowest and highest β of a curve in every interval; None where there is none, which is then
            proven: every β was excluded, not only those of a grid.
        epsilon: lowest and highest ε, learning rates; None where there is none.
        delta: lowest and highest δ, learning rates; the highest is infinite where nothing bounds it.
        curve: the curve in all intervals with the largest distance to their ends; where there is none, the
            one outside the fewest.
        margin: the largest distance to the ends of all intervals that a curve with this q keeps, a learning
            rate of at least 0, with 0 as an end where the lower one is cut off; where none lies in all
            intervals it is below 0, and its size is the smallest worst violation.
        missed_cycles: the cycles whose intervals ``curve`` is outside of; no curve with this q misses fewer.
    """

    q: int
    beta: Range | None
    epsilon: Range | None
    delta: Range | None
    curve: SiloCurve
    margin: float
    missed_cycles: tuple[int, ...]

    @property
    def empty(self) -> bool:
        """Whether no curve with this q lies in every interval."""
        return self.beta is None

    def shown(self, name: str) -> Range | None:
        """The range of ``beta``, ``epsilon`` or ``delta`` as it is to be read.

        A highest δ out of all proportion to the rates is shown as infinite: with β at its bound and few
        cycles beyond q, the curve at the last of them may have made a billionth of its rise.
        """
        ends: Range | None = getattr(self, name)
        if name != "delta" or ends is None or self.epsilon is None:
            return ends
        far = ends[1] > _OUT_OF_PROPORTION * max(ends[0], self.epsilon[1])
        return (ends[0], float("inf")) if far else ends

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: ranges as lists, no bound as null."""
        ranges = {name: getattr(self, name) for name in ("beta", "epsilon", "delta")}
        return {
            "q": self.q,
            "empty": self.empty,
            **{name: None if r is None else [_or_none(end) for end in r] for name, r in ranges.items()},
            "curve": self.curve.to_dict(),
            "margin": self.margin,
            "missed_cycles": list(self.missed_cycles),
        }

    def __str__(self) -> str:
        ranges = {name: self.shown(name) for name in ("beta", "epsilon", "delta")}
        words = [f"{name} {_in_words(ends)}" for name, ends in ranges.items() if ends is not None]
        if not words:
            missed = ", ".join(map(str, self.missed_cycles))
            return f"q={self.q}: none; at least {len(self.missed_cycles)} missed, such as m = {missed}"
        return f"q={self.q}: " + ", ".join(words)


def regions(problem: Problem) -> tuple[Region, ...]:
    """One region per q of the problem, ascending; it is empty exactly if its curve misses an interval."""
    found = parameter_ranges(items_of(problem), problem.beta_bounds)
    central = most_central(problem, found)
    curves = [curve for curve, _ in central]
    outside = np.array([k for k, curve in enumerate(curves) if problem.missed(curve)], dtype=np.intp)
    if outside.size:
        fewest = fewest_misses(items_of(problem, outside), problem.beta_bounds)
        numbers = zip(fewest.beta.tolist(), fewest.epsilon.tolist(), fewest.delta.tolist(), strict=True)
        for k, (beta, epsilon, delta) in zip(outside.tolist(), numbers, strict=True):
            curves[k] = problem.curve(k, beta, epsilon, delta)
    built = []
    for k, (curve, (_, margin)) in enumerate(zip(curves, central, strict=True)):
        missed = problem.missed(curve)
        built.append(
            Region(
                q=problem.q_values[k],
                curve=curve,
                margin=(margin if missed else max(margin, 0.0)) * problem.scale,
                missed_cycles=missed,
                **(
                    {"beta": None, "epsilon": None, "delta": None}
                    if missed
                    else _ranges(problem, found, k, curve)
                ),
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
    """The region whose curve is outside the fewest intervals, then keeps the largest distance to all ends.

    Among equals it is that of the smallest q.
    """
    fewest = min(len(region.missed_cycles) for region in found)
    rivals = [region for region in found if len(region.missed_cycles) == fewest]
    cycles = [interval.cycle for interval in problem.intervals]
    margins = [problem.margin(region.curve.max_lr(cycles) / problem.scale) for region in rivals]
    return next(r for r, margin in zip(rivals, margins, strict=True) if margin >= max(margins) - EXACT_MARGIN)


def _ranges(problem: Problem, found: Ranges, k: int, curve: SiloCurve) -> dict[str, Range]:
    if found.empty[k]:
        # Roundings decide, and have let in one curve alone.
        return {name: (getattr(curve, name),) * 2 for name in ("beta", "epsilon", "delta")}
    log_high, log_low, *others = found.highest[k].tolist()
    delta_high, delta_low, epsilon_high, epsilon_low = (value * problem.scale for value in others)
    lowest, highest = betas_at(np.array([[-log_low], [log_high]]), problem.beta_bounds).tolist()
    # No rate is −0.0.
    return {
        "beta": (lowest, highest),
        "epsilon": (0.0 - epsilon_low, epsilon_high),
        "delta": (0.0 - delta_low, delta_high),
    }


def _or_none(end: float) -> float | None:
    return None if end == float("inf") else end


def _in_words(ends: Range) -> str:
    low, high = ends
    return f"{low:.4g} and above" if high == float("inf") else f"{low:.4g} to {high:.4g}"
