"""Every line ε + δ·s that can matter, tried one by one: slow, and owing nothing to the code under test."""

import numpy as np

from silo._arrays import FloatArray, IntArray

# More than the roundings of a crossing, far less than the 1e-9 that counts as on an end.
ROUNDING = 1e-13


def crossings(shapes: FloatArray, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R, V) ε and δ, at least 0: where two of the lines ε + δ·s = end cross, or one of them and an axis.

    Whatever intervals can be hit together, one of these hits them: a polygon in a quadrant has a corner.

    Args:
        shapes: (R, n).
        low: (n,); 0 bounds nothing.
        high: (n,); infinite where there is no upper end.
    """
    r, n = shapes.shape
    one, zero = np.ones((r, n)), np.zeros((r, 1))
    of_epsilon = np.concatenate([one[:, low > 0], one[:, np.isfinite(high)], zero, zero + 1], axis=1)
    of_delta = np.concatenate([shapes[:, low > 0], shapes[:, np.isfinite(high)], zero + 1, zero], axis=1)
    ends = np.concatenate([low[low > 0], high[np.isfinite(high)], [0.0, 0.0]])
    i, j = np.triu_indices(ends.size, k=1)
    determinant = of_epsilon[:, i] * of_delta[:, j] - of_epsilon[:, j] * of_delta[:, i]
    cross = np.abs(determinant) > 1e-150
    divisor = np.where(cross, determinant, 1.0)
    epsilon = (ends[i] * of_delta[:, j] - ends[j] * of_delta[:, i]) / divisor
    delta = (of_epsilon[:, i] * ends[j] - of_epsilon[:, j] * ends[i]) / divisor
    real = cross & (epsilon > -ROUNDING * ends.max()) & (delta >= 0)
    return np.where(real, epsilon, 0.0).clip(min=0.0), np.where(real, delta, 0.0)


def misses(
    epsilon: FloatArray,
    delta: FloatArray,
    shapes: FloatArray,
    low: FloatArray,
    high: FloatArray,
    slack: float = ROUNDING,
) -> IntArray:
    """(R, V): how many intervals each of (R, V) lines is outside of, by more than a share of an end."""
    missed = np.zeros(epsilon.shape, dtype=np.intp)
    for shape, lowest, highest in zip(shapes.T, low * (1 - slack), high * (1 + slack), strict=True):
        rates = epsilon + delta * shape[:, None]
        missed += (rates < lowest) | (rates > highest)
    return missed


def reach(
    shapes: FloatArray, low: FloatArray, high: FloatArray, slack: float = ROUNDING
) -> tuple[IntArray, FloatArray]:
    """The fewest misses of a line, (R,); the highest δ, −δ, ε and −ε of those with none, (R, 4), or −∞."""
    epsilon, delta = crossings(shapes, low * (1 - slack), high * (1 + slack))
    missed = misses(epsilon, delta, shapes, low, high, slack + ROUNDING)
    numbers = np.stack([delta, -delta, epsilon, -epsilon])
    highest = np.where(missed == 0, numbers, -np.inf).max(axis=2)
    found = missed.min(axis=1)
    bounded = np.isfinite(high)
    highest[0, (found == 0) & (shapes[:, bounded] == 0).all(axis=1)] = np.inf
    highest[2, (found == 0) & (not bounded.any())] = np.inf
    return found, highest.T
