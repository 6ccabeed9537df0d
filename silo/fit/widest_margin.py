"""The curve that keeps farthest from the ends of all intervals: exact for one β, and searched over β."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.curve import SiloCurve
from silo.fit.families import BETA_POINTS
from silo.fit.parameter_ranges import Ranges
from silo.fit.problem import Problem

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
