"""For each q, the curve outside the fewest intervals, by branch and bound over β."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.fit.branch_and_bound import NARROWEST, Items, cut, halves
from silo.fit.problem import shapes_of

# A crossing is on its two ends but for the last bits.
_ON_END = 1e-14
# Rows at a time: keeps the largest array (rows × vertices × cycles) at about 10 MB for 25 cycles.
_CHUNK = 48


@dataclass(frozen=True, kw_only=True)
class FewestMisses:
    """K curves.

    Attributes:
        misses: (K,), how many intervals the curve is outside of; no curve is outside of fewer.
        beta: (K,).
        epsilon: (K,), at least 0.
        delta: (K,), at least 0.
    """

    misses: IntArray
    beta: FloatArray
    epsilon: FloatArray
    delta: FloatArray


def fewest_misses(items: Items, beta_bounds: tuple[float, float]) -> FewestMisses:
    """The fewest misses over β, ε and δ, all items together; the count is exact.

    A part of the β axis is dropped if even a line that may take every shape anywhere between its values at
    the part's two ends misses no fewer intervals than some curve already does; else it is halved. Among equal
    counts the smallest violation of those tried is taken, and for its β made as small as it can be.
    """
    k = items.low.shape[0]
    best = np.tile([np.inf, np.inf, 0.0, 0.0, 0.0], (k, 1))
    rows, left, right = cut(k, beta_bounds)
    _try_points(items, best, np.tile(np.arange(k), 2), np.repeat([left[0], right[-1]], k))
    while rows.size:
        _try_points(items, best, rows, (left + right) / 2)
        part = right - left > NARROWEST
        part[part] = _least(items, rows[part], left[part], right[part]) < best[rows[part], 0]
        rows, left, right = halves(rows, left, right, part)
    betas = np.exp(best[:, 2]).clip(*beta_bounds)
    lines = [_least_violation(items, row, betas[row], *best[row, 3:]) for row in range(k)]
    return FewestMisses(
        misses=best[:, 0].astype(np.intp),
        beta=betas,
        epsilon=np.array([line[0] for line in lines]),
        delta=np.array([line[1] for line in lines]),
    )


def _try_points(items: Items, best: FloatArray, rows: IntArray, log_betas: FloatArray) -> None:
    """Improves ``best``, (K, 5): misses, violation, log beta, ε and δ of each item's best curve so far."""
    for start in range(0, rows.size, _CHUNK):
        row, log_beta = rows[start : start + _CHUNK], log_betas[start : start + _CHUNK]
        shapes, low, high = items.at(row, log_beta)
        epsilons, deltas = _vertices(shapes, shapes, low, high)
        rates = epsilons[:, :, None] + deltas[:, :, None] * shapes[:, None, :]
        misses = low.shape[1] - _inside(rates, rates, low, high)
        fewest = misses.min(axis=1)
        candidates, vertices = np.nonzero((misses == fewest[:, None]) & (fewest <= best[row, 0])[:, None])
        tried = rates[candidates, vertices]
        outside = np.maximum(low[candidates] - tried, tried - high[candidates]).max(axis=1).clip(min=0.0)
        found = np.stack(
            [
                fewest[candidates].astype(np.float64),
                outside,
                log_beta[candidates],
                epsilons[candidates, vertices],
                deltas[candidates, vertices],
            ],
            axis=1,
        )
        _keep_best(best, row[candidates], found)


def _keep_best(best: FloatArray, rows: IntArray, found: FloatArray) -> None:
    """Per item the first of the fewest misses, the smallest violation, and the smallest beta."""
    order = np.lexsort((found[:, 2], found[:, 1], found[:, 0], rows))
    rows, found = rows[order], found[order]
    items, firsts = np.unique(rows, return_index=True)
    challengers = found[firsts]
    old = best[items]
    fewer = challengers[:, 0] < old[:, 0]
    closer = (challengers[:, 0] == old[:, 0]) & (challengers[:, 1] < old[:, 1])
    best[items] = np.where((fewer | closer)[:, None], challengers, old)


def _least(items: Items, rows: IntArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """(R,): no curve with log beta in [left, right] misses fewer."""
    found = np.empty(rows.size)
    for start in range(0, rows.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        below, above, low, high = items.between(rows[part], left[part], right[part])
        epsilons, deltas = (a[:, :, None] for a in _vertices(below, above, low, high))
        hits = _inside(
            epsilons + deltas * above[:, None, :], epsilons + deltas * below[:, None, :], low, high
        )
        found[part] = low.shape[1] - hits.max(axis=1)
    return found


def _vertices(
    below: FloatArray, above: FloatArray, low: FloatArray, high: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(R, V) each: ε and δ, at least 0, one of which hits as many intervals as can be.

    ``below`` and ``above`` are what each shape s lies between, and s does not fall from cycle to cycle.
    """
    # The lines that hit every interval of a set fill a convex polygon: ε + δ·below_k ≤ high_k and ε +
    # δ·above_k ≥ low_k for its k, ε ≥ 0 and δ ≥ 0. Of its points with the largest ε take that with the
    # smallest δ, and of the upper ends met there that of the earliest cycle i: ε = high_i − δ·below_i. As δ
    # falls along it, ε does not fall, and no other upper end gets in the way: later ones are left, as below
    # does not fall from cycle to cycle, and earlier ones are not met. So unless δ is 0, a lower end stops it,
    # or ε could be larger, or δ smaller for the same ε: that of a later cycle j, where ε + δ·above_j = low_j.
    # (Along the end of i an earlier or the same cycle's rate goes below its lower end only if that is above
    # high_i: no curve hits both.) Where δ is 0, the line is flat at an upper end; where no upper end bounds
    # ε, the flat line at the highest lower end of all hits the set. So the crossings of high_i with low_j, i
    # < j, and the flat lines hit every set that a curve can hit. The crossings of two upper ends add nothing
    # to the count: they are tried as what may violate the other intervals least.
    i, j = np.triu_indices(low.shape[1], k=1)
    with np.errstate(invalid="ignore"):
        rise = np.concatenate([low[:, j] - high[:, i], high[:, j] - high[:, i]], axis=1)
    run = np.concatenate([above[:, j] - below[:, i], below[:, j] - below[:, i]], axis=1)
    start, slope = high[:, np.concatenate([i, i])], below[:, np.concatenate([i, i])]
    crossing = (rise > 0) & (run > 0) & np.isfinite(rise)
    used = crossing.any(axis=0)
    crossing, start, slope = crossing[:, used], start[:, used], slope[:, used]
    deltas = np.where(crossing, rise[:, used], 0.0) / np.where(crossing, run[:, used], 1.0)
    epsilons = np.where(crossing, start, 0.0) - deltas * slope
    flat = np.where(np.isfinite(high), high, low.max(axis=1, keepdims=True))
    highest_low = low.max(axis=1, keepdims=True)
    # A pair without a crossing becomes a flat line, which is a candidate anyway.
    real = crossing & (epsilons >= 0)
    return (
        np.concatenate([np.where(real, epsilons, highest_low), flat, highest_low], axis=1),
        np.concatenate([np.where(real, deltas, 0.0), np.zeros((low.shape[0], low.shape[1] + 1))], axis=1),
    )


def _inside(upper: FloatArray, lower: FloatArray, low: FloatArray, high: FloatArray) -> IntArray:
    """(R, V): how many intervals hold, of rates (R, V, n) that reach from ``lower`` to ``upper``."""
    hit = upper >= (low * (1 - _ON_END))[:, None, :]
    hit &= lower <= (high * (1 + _ON_END))[:, None, :]
    return np.asarray(np.count_nonzero(hit, axis=2), dtype=np.intp)


def _least_violation(
    items: Items, row: int, beta: float, epsilon: float, delta: float
) -> tuple[float, float]:
    """ε and δ that keep to the intervals that the given line hits, and nearest to the farthest other."""
    shape = shapes_of(items.logits[[row]], np.array([beta]))[0]
    low, high = items.low[row] * (1 - items.slack), items.high[row] * (1 + items.slack)
    kept = _holds(epsilon + delta * shape, low, high)
    if kept.all():
        return epsilon, delta
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
    holds = _holds(better[0] + better[1] * shape, low, high)[kept].all()
    return better if holds and sum(better) > 0 else (epsilon, delta)


def _holds(rates: FloatArray, low: FloatArray, high: FloatArray) -> BoolArray:
    return np.asarray((rates >= low * (1 - _ON_END)) & (rates <= high * (1 + _ON_END)), dtype=np.bool_)
