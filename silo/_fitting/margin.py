"""The line that keeps the largest distance from the ends of every interval, for fixed shapes."""

from dataclasses import dataclass

import numpy as np

from silo._arrays import FloatArray

_ROUNDING = 1e-15


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


def largest_margin(shapes: FloatArray, low: FloatArray, high: FloatArray, flat: float) -> Margins:
    """Maximises t over ε ≥ 0, δ ≥ 0 with low + t ≤ ε + δ·s ≤ high − t: a linear program, solved exactly.

    For fixed δ let U = min(high − δ·s) and L = max(low − δ·s). The best ε is max(0, (U + L) / 2) and the
    best t is min((U − L) / 2, U), which is concave in δ and made of straight pieces. From the pieces at δ =
    0 and at δ → ∞, the two supporting lines are crossed, and the piece found at the crossing replaces one of
    them, until a crossing lies on the function itself. There are finitely many pieces, so this ends, at the
    optimum. Among equal margins it takes the smallest δ.

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
