"""For each q, the curve outside the fewest intervals, by branch and bound over β."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.fit.branch_and_bound import NARROWEST, Items, chunks, cut, halves
from silo.fit.problem import shapes_of

# A crossing is on its two ends but for the last bits.
_ON_END = 2e-15
# In proofs, what the difference of two shapes may be off by, as a share of the larger.
_ROUNDING = 1e-15


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
        part[part] = _may_miss_fewer(items, best[:, 0], rows[part], left[part], right[part])
        rows, left, right = halves(rows, left, right, part)
    betas = np.exp(best[:, 2]).clip(*beta_bounds)
    lines = [_least_violation(items, row, betas[row], *best[row, 3:]) for row in range(k)]
    return FewestMisses(
        misses=best[:, 0].astype(np.intp),
        beta=betas,
        epsilon=np.array([line[0] for line in lines]),
        delta=np.array([line[1] for line in lines]),
    )


def _may_miss_fewer(
    items: Items, misses: FloatArray, rows: IntArray, left: FloatArray, right: FloatArray
) -> BoolArray:
    """(R,): whether a log beta in [left, right] may have a curve that misses fewer than ``misses``, (K,)."""
    n = items.low.shape[1]
    found = np.empty(rows.size, dtype=np.bool_)
    for part in chunks(rows.size, n * n):
        first, last = _stretches(*items.between(rows[part], left[part], right[part]), _ROUNDING)
        found[part] = _overlap(first, last, n - misses[rows[part]] + 1).any(axis=1)
    return found


def _try_points(items: Items, best: FloatArray, rows: IntArray, log_betas: FloatArray) -> None:
    """Improves ``best``, (K, 5): misses, violation, log beta, ε and δ of each item's best curve so far."""
    n = items.low.shape[1]
    for part in chunks(rows.size, n * n):
        row, log_beta = rows[part], log_betas[part]
        shapes, low, high = items.at(row, log_beta)
        # Of intervals without an upper end, the flat curve at the highest lower end of all hits every one.
        flat = low.max(axis=1)
        points, deltas, epsilons = [np.arange(row.size)], [np.zeros_like(flat)], [flat]
        first, last = _stretches(shapes, shapes, low, high, 0.0)
        wanted = np.where(np.isfinite(best[row, 0]), n - best[row, 0], 1)
        point, pivot = np.nonzero(_overlap(first, last, wanted))
        begin, end = _most_overlapping(first[point, pivot], last[point, pivot])
        for delta in (begin, begin / 2 + end / 2, end):
            points.append(point)
            deltas.append(delta)
            epsilons.append(np.maximum(high[point, pivot] - delta * shapes[point, pivot], 0.0))
        k, epsilon, delta = (np.concatenate(several) for several in (points, epsilons, deltas))
        rates = epsilon[:, None] + delta[:, None] * shapes[k]
        missed = np.count_nonzero(~_holds(rates, low[k], high[k]), axis=1).astype(np.float64)
        outside = np.maximum(low[k] - rates, rates - high[k]).max(axis=1).clip(min=0.0)
        real = epsilon + delta > 0
        found = np.stack([missed, outside, log_beta[k], epsilon, delta], axis=1)
        _keep_best(best, row[k[real]], found[real])


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


def _stretches(
    below: FloatArray, above: FloatArray, low: FloatArray, high: FloatArray, rounding: float
) -> tuple[FloatArray, FloatArray]:
    """(R, n, n) each: along the upper end of cycle i, ε = high_i − δ·below_i, the δ that hit cycle k.

    These are a stretch, from the first to the last, both infinite where there is none.

    ``below`` and ``above`` are what each shape s lies between, and s does not fall from cycle to cycle.
    """
    # The lines that hit every interval of a set fill a convex polygon: ε + δ·below_k ≤ high_k and ε +
    # δ·above_k ≥ low_k for its k, ε ≥ 0 and δ ≥ 0. Unless none of them has an upper end, the polygon's
    # point with the largest ε lies on one. So the lines along the upper ends hit every set that a curve can
    # hit, and what they hit depends on δ alone.
    end = np.where(np.isfinite(high), high, 0.0)[:, :, None]
    pivot = below[:, :, None]
    gentle, steep = below[:, None, :] - pivot, above[:, None, :] - pivot
    if rounding:
        size = rounding * np.maximum(above[:, None, :], pivot)
        gentle, steep = gentle - size, steep + size
    # δ·gentle ≤ room and δ·steep ≥ rise.
    room, rise = high[:, None, :] - end, low[:, None, :] - end
    with np.errstate(divide="ignore", invalid="ignore"):
        to_room, to_rise = room / gentle, rise / steep
        last = np.where(gentle > 0, np.minimum(to_room, end / pivot), end / pivot)
    last = np.where(steep < 0, np.minimum(last, to_rise), last)
    first = np.where((gentle < 0) & (room < 0), to_room, 0.0)
    first = np.where((steep > 0) & (rise > 0), np.maximum(first, to_rise), first)
    never = (first > last) | ((gentle >= 0) & (room < 0)) | ((steep <= 0) & (rise > 0)) | (end == 0)
    return np.where(never, np.inf, first), np.where(never, np.inf, last)


def _overlap(first: FloatArray, last: FloatArray, wanted: FloatArray) -> BoolArray:
    """(R, n): whether so many, (R,), of the stretches along each upper end have a δ in common."""
    n = first.shape[2]
    begins, ends = np.sort(first, axis=2), np.sort(last, axis=2)
    found = np.zeros(first.shape[:2], dtype=np.bool_)
    for count in np.unique(wanted).astype(int).clip(min=1):
        if count <= n:
            rows = wanted == count
            # At the t-th begin, t + 1 stretches have begun, and those that end before it are the first ones.
            begin, end = begins[rows, :, count - 1 :], ends[rows, :, : n - count + 1]
            found[rows] = ((end >= begin) & np.isfinite(begin)).any(axis=2)
    return found


def _most_overlapping(first: FloatArray, last: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R,) each: the first and last δ of those that most of n stretches, (R, n), have in common."""
    n, each = first.shape[1], np.arange(first.shape[0])
    ends = np.concatenate([first, last], axis=1)
    # Where one begins as another ends, the two overlap: a stable sort has the beginning first.
    order = np.argsort(ends, axis=1, kind="stable")
    open_ones = np.cumsum(np.where(order < n, 1, -1), axis=1)
    begins = (order < n) & np.isfinite(np.take_along_axis(ends, order, axis=1))
    begin = ends[each, order[each, np.where(begins, open_ones, 0).argmax(axis=1)]]
    hit = (first <= begin[:, None]) & (last >= begin[:, None])
    end = np.where(hit, last, np.inf).min(axis=1)
    return begin, np.where(np.isfinite(end), end, begin)


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
