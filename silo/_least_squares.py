"""Weighted least squares in (ε, δ) for fixed shapes: a straight line with both coefficients at least 0."""

from dataclasses import dataclass

import numpy as np

from silo.curve import FloatArray

# A spread of the shapes below this is none: δ would be a quotient of roundings.
_NO_SPREAD = 1e-200


@dataclass(frozen=True, kw_only=True)
class Lines:
    """R fits.

    Attributes:
        epsilon: (R,), at least 0.
        delta: (R,), at least 0.
        loss: (R,): the weighted mean of the squared residuals.
    """

    epsilon: FloatArray
    delta: FloatArray
    loss: FloatArray


def least_squares(shapes: FloatArray, optima: FloatArray, weights: FloatArray) -> Lines:
    """The exact minimum of Σ w·(y − ε − δ·s)² over ε ≥ 0, δ ≥ 0, in closed form.

    Where the free minimum has a negative coefficient, the problem being convex, the minimum has a zero one:
    it is the better of the best flat line (δ = 0) and the best line through the origin (ε = 0). Neither
    needs a check of its own: all y are positive, so their other coefficient is too.

    Args:
        shapes: (R, n), s in [0, 1].
        optima: (n,), y, all positive.
        weights: (n,), w, positive, summing to 1.
    """
    mean_shape = shapes @ weights
    mean_optimum = float(optima @ weights)
    spread = shapes - mean_shape[:, None]
    slope = _quotient((spread * (optima - mean_optimum)) @ weights, spread**2 @ weights)
    through_origin = _quotient((shapes * optima) @ weights, shapes**2 @ weights)
    zero = np.zeros_like(slope)
    epsilons = np.stack([mean_optimum - slope * mean_shape, zero + mean_optimum, zero])
    deltas = np.stack([slope, zero, through_origin])
    residuals = optima - epsilons[:, :, None] - deltas[:, :, None] * shapes
    losses = residuals**2 @ weights
    allowed = np.where((epsilons >= 0) & (deltas >= 0), losses, np.inf)
    # A free minimum without spread has δ = 0: it is the flat line, which the order of the three puts first.
    best = allowed.argmin(axis=0)
    each = np.arange(best.size)
    return Lines(epsilon=epsilons[best, each], delta=deltas[best, each], loss=allowed[best, each])


def _quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    enough = denominator > _NO_SPREAD
    return np.where(enough, numerator / np.where(enough, denominator, 1.0), 0.0)
