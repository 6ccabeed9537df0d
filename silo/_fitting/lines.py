"""Weighted least squares in the two numbers that a curve is linear in, for fixed shapes, in closed form."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from silo._arrays import FloatArray

#: What the two numbers a and b of a + b·s may be: any; both at least 0; a = 0; b = 0.
Kind = Literal["free", "rising", "scaled", "flat"]

# A spread of the shapes below this is none: b would be a quotient of roundings.
_NO_SPREAD = 1e-200


@dataclass(frozen=True, kw_only=True)
class Lines:
    """R fits.

    Attributes:
        level: (R,), a.
        slope: (R,), b.
        loss: (R,), the weighted mean of the squared residuals.
    """

    level: FloatArray
    slope: FloatArray
    loss: FloatArray


def least_squares(shapes: FloatArray, optima: FloatArray, weights: FloatArray, kind: Kind) -> Lines:
    """The exact minimum of Σ w·(y − a − b·s)².

    Where the free minimum of a ``"rising"`` line has a negative number, the problem being convex, the minimum
    has a zero one: it is the better of the best flat line (b = 0) and the best line through the origin (a =
    0). Neither needs a check of its own: all y are positive, so their other number is too.

    Args:
        shapes: (R, n), s; for ``"rising"`` in [0, 1].
        optima: (R, n) or (n,), y, all positive.
        weights: (R, n) or (n,), w, at least 0, each row summing to 1.
        kind: what a and b may be.
    """
    optima, weights = np.broadcast_to(optima, shapes.shape), np.broadcast_to(weights, shapes.shape)
    mean_shape, mean_optimum = _mean(weights, shapes), _mean(weights, optima)
    spread = shapes - mean_shape[:, None]
    slope = _quotient(_mean(weights, spread * (optima - mean_optimum[:, None])), _mean(weights, spread**2))
    through_origin = _quotient(_mean(weights, shapes * optima), _mean(weights, shapes**2))
    zero = np.zeros_like(slope)
    free, flat, scaled = (
        (mean_optimum - slope * mean_shape, slope),
        (mean_optimum, zero),
        (zero, through_origin),
    )
    # A free minimum without spread is the flat line, which the order of the three puts first.
    tried = {"free": [free], "flat": [flat], "scaled": [scaled], "rising": [free, flat, scaled]}[kind]
    levels, slopes = (np.stack(numbers) for numbers in zip(*tried, strict=True))
    residuals = optima - levels[:, :, None] - slopes[:, :, None] * shapes
    losses = np.einsum("krn,rn->kr", residuals**2, weights)
    negative = (levels < 0) | (slopes < 0) if kind == "rising" else np.zeros(losses.shape, dtype=np.bool_)
    best = np.where(negative, np.inf, losses).argmin(axis=0)
    each = np.arange(best.size)
    return Lines(level=levels[best, each], slope=slopes[best, each], loss=losses[best, each])


def losses(shapes: FloatArray, optima: FloatArray, weights: FloatArray, kind: Kind) -> FloatArray:
    """(P, R): the loss of every shape for every one of P problems, from their moments.

    A matrix product each instead of a row per pair: fast, and as exact as differences of moments are. Where
    the shapes hardly differ, or the loss is below 1e-15, it is a rough guess.

    Args:
        shapes: (R, n).
        optima: (P, n), all positive.
        weights: (P, n), each row summing to 1.
        kind: what a and b may be.
    """
    weighted = weights * optima
    mean_shape, mean_optimum = weights @ shapes.T, weighted.sum(axis=1)[:, None]
    squares, product = weights @ (shapes**2).T, weighted @ shapes.T
    total = (weighted * optima).sum(axis=1)[:, None]
    covariance = product - mean_shape * mean_optimum
    variance = np.maximum(squares - mean_shape**2, 0.0)
    slope = _quotient(covariance, variance)
    flat = total - mean_optimum**2
    free = flat - slope * covariance
    scaled = total - _quotient(product, squares) * product
    if kind == "rising":
        bounded = np.where(mean_optimum - slope * mean_shape < 0, scaled, free)
        found = np.where(covariance <= 0, flat, bounded)
    else:
        found = {"free": free, "flat": np.broadcast_to(flat, free.shape), "scaled": scaled}[kind]
    return np.asarray(np.maximum(found, 0.0), dtype=np.float64)


def _mean(weights: FloatArray, values: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("rn,rn->r", weights, values), dtype=np.float64)


def _quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    enough = denominator > _NO_SPREAD
    return np.where(enough, numerator / np.where(enough, denominator, 1.0), 0.0)
