"""The line that lies in as many intervals as possible, for fixed shapes."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from silo._problem import IntArray
from silo.curve import FloatArray

# A crossing is on its two ends but for the last bits.
_ROUNDING = 1e-14

BoolArray = npt.NDArray[np.bool_]

# Rows at a time: keeps the largest array (rows × vertices × cycles) at a few MB for 25 cycles.
_CHUNK = 8


def fewest_misses(shapes: FloatArray, low: FloatArray, high: FloatArray) -> tuple[int, float, float]:
    """The row, ε and δ, both at least 0, whose line ε + δ·s misses the fewest intervals.

    The count is exact for every row. The lines that hit a given set of intervals are a convex polygon in
    (ε, δ), and if there are any, the one with the largest ε is at a crossing of two ends of intervals or of
    an end and δ = 0 (where ε has no upper bound, the highest lower end with δ = 0 hits them). All of those
    are tried. Among equal counts the row and the intervals kept are those of the crossing whose worst
    violation is smallest; for them a linear program then makes the violation as small as it can be, unless
    its roundings lose an interval.

    Args:
        shapes: (R, n), s in [0, 1], not falling along a row.
        low: (n,), at least 0; 0 bounds nothing.
        high: (n,), above 0; infinite where there is no upper end.
    """
    best: tuple[int, float, int, float, float] | None = None
    for start in range(0, shapes.shape[0], _CHUNK):
        chunk = shapes[start : start + _CHUNK]
        epsilons, deltas = _crossings(chunk, low, high)
        rates = epsilons[:, :, None] + deltas[:, :, None] * chunk[:, None, :]
        misses = low.size - _inside(rates, low, high).sum(axis=2)
        rows, columns = np.nonzero(misses == misses.min())
        few = rates[rows, columns]
        violations = np.maximum(np.maximum(low - few, few - high).max(axis=1), 0.0)
        k = int(violations.argmin())
        row, column = rows[k], columns[k]
        found = (int(misses.min()), float(violations[k]), start + int(row))
        if best is None or found[:2] < best[:2]:
            best = (*found, float(epsilons[row, column]), float(deltas[row, column]))
    assert best is not None, "there is at least one row"
    return best[2], *_least_violation(shapes[best[2]], low, high, best[3], best[4])


def _crossings(shapes: FloatArray, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R, V) each: ε and δ, at least 0, where two ends, or an end and δ = 0, meet."""
    cycles, ends = _ends(low, high)
    first, second = np.nonzero((cycles[:, None] < cycles) & (ends[:, None] <= ends))
    run = shapes[:, cycles[second]] - shapes[:, cycles[first]]
    crossing = run > 0
    deltas = (ends[second] - ends[first]) / np.where(crossing, run, 1.0)
    epsilons = ends[first] - deltas * shapes[:, cycles[first]]
    crossing &= epsilons >= 0
    flat = np.broadcast_to(ends, (shapes.shape[0], ends.size))
    # What is no crossing becomes the first flat line, which is one anyway.
    return (
        np.concatenate([np.where(crossing, epsilons, ends[0]), flat], axis=1),
        np.concatenate([np.where(crossing, deltas, 0.0), np.zeros_like(flat)], axis=1),
    )


def _ends(low: FloatArray, high: FloatArray) -> tuple[IntArray, FloatArray]:
    """Every end that bounds something: the index of its cycle, and the rate."""
    lows, highs = np.flatnonzero(low > 0), np.flatnonzero(np.isfinite(high))
    return np.concatenate([lows, highs]), np.concatenate([low[lows], high[highs]])


def _inside(rates: FloatArray, low: FloatArray, high: FloatArray) -> BoolArray:
    return (rates >= low * (1 - _ROUNDING)) & (rates <= high * (1 + _ROUNDING))


def _least_violation(
    shape: FloatArray, low: FloatArray, high: FloatArray, epsilon: float, delta: float
) -> tuple[float, float]:
    """ε and δ that keep to the intervals that the given line hits, and nearest to the farthest other."""
    kept = _inside(epsilon + delta * shape, low, high)
    soft = np.where(kept, 0.0, -1.0)
    lows, highs = low > 0, np.isfinite(high)
    line = np.stack([np.ones_like(shape), shape], axis=1)
    rows = np.concatenate([np.column_stack([-line, soft])[lows], np.column_stack([line, soft])[highs]])
    bounds = np.concatenate([-low[lows], high[highs]])
    result = linprog([0.0, 0.0, 1.0], A_ub=rows, b_ub=bounds, bounds=(0, None), method="highs")
    if result.x is None:
        return epsilon, delta
    # The program keeps its bounds to a coarser tolerance than ours.
    better = max(float(result.x[0]), 0.0), max(float(result.x[1]), 0.0)
    holds = _inside(better[0] + better[1] * shape, low, high)[kept].all()
    return better if holds and sum(better) > 0 else (epsilon, delta)
