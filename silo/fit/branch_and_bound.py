"""Branch and bound over β: how its axis is cut, and the shapes that a part of it bounds.

With z = log(γ / (1 − γ)) a shape is S = 1 / (1 + e^(−β·z)), and dS / d(log β) = β·z·S·(1 − S) has the sign of
z: each S(m) rises or falls with β all along. So for every β in a part of the axis, S(m) lies between its
values at the part's two ends. A line that may take each shape anywhere between the two, whatever it takes at
other cycles, can do all that the part's curves can, and more: what no such line reaches, none of them does.
That is a proof about every β of the part, not about those that were tried. As parts are halved their ends'
shapes meet, and what is proven comes as near as is wanted to what the tried curves reach.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.fit.least_squares import shapes_of

#: A part of log β this narrow is a point.
NARROWEST = 1e-12
# The parts that log β is first cut into, for each item.
_PARTS = 8
# Proofs grant this share of an end beyond ``slack``, so that they exclude no curve that a trial lets in: more
# than roundings, and no more, as parts where only this much decides are halved to the last.
_ROUNDING = 3e-15
# Numbers at a time: keeps the largest array at a few MB.
_CHUNK = 400_000


@dataclass(frozen=True, kw_only=True)
class Items:
    """K problems with one q each, as arrays.

    Attributes:
        logits: (K, n), log(γ / (1 − γ)) at each cycle.
        low: (K, n), the lower ends; 0 where cut off.
        high: (K, n), the upper ends; infinite where cut off.
        slack: by which share of an end a rate may lie beyond it and still be inside.
    """

    logits: FloatArray
    low: FloatArray
    high: FloatArray
    slack: float

    def at(self, rows: IntArray, log_betas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(R, n) each: the shapes of R items at one β each, and the ends that count for a curve tried."""
        shapes = shapes_of(self.logits[rows], np.exp(log_betas))
        return shapes, self.low[rows] * (1 - self.slack), self.high[rows] * (1 + self.slack)

    def between(
        self, rows: IntArray, left: FloatArray, right: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """(R, n) each: the lowest and highest shapes with log β in [left, right], and the ends for proofs."""
        ends = shapes_of(self.logits[rows], np.exp(left)), shapes_of(self.logits[rows], np.exp(right))
        slack = self.slack + _ROUNDING
        low, high = self.low[rows] * (1 - slack), self.high[rows] * (1 + slack)
        return np.minimum(*ends), np.maximum(*ends), low, high


def cut(items: int, beta_bounds: tuple[float, float]) -> tuple[IntArray, FloatArray, FloatArray]:
    """The log β axis in a few equal parts, for each of so many items: its index, left and right end; (R,)."""
    edges = np.linspace(math.log(beta_bounds[0]), math.log(beta_bounds[1]), _PARTS + 1)
    rows = np.repeat(np.arange(items), _PARTS)
    return rows, np.tile(edges[:-1], items), np.tile(edges[1:], items)


def chunks(rows: int, width: int) -> list[slice]:
    """So many rows of so many numbers, in parts that fit into the processor's cache."""
    step = max(_CHUNK // max(width, 1), 1)
    return [slice(start, start + step) for start in range(0, rows, step)]


def halves(
    rows: IntArray, left: FloatArray, right: FloatArray, kept: BoolArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Both halves of the parts that are kept."""
    rows, left, right = rows[kept], left[kept], right[kept]
    middle = (left + right) / 2
    return (
        np.concatenate([rows, rows]),
        np.concatenate([left, middle]),
        np.concatenate([middle, right]),
    )


# How far the ranges may fall short of the truth: of log β, and as a share of ε and of δ.
_LOG_BETA_SLACK = 1e-6
_SHARE_SLACK = 1e-4
# Where there are other curves, a part of log β this narrow is a point: at a region's end, only roundings may
# tell whether a part belongs to it.
_NARROWEST_BESIDE_OTHERS = 1e-10


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """The reach of the parameters of K items.

    Attributes:
        empty: (K,), whether no curve lies in all intervals: a proof, not a failure to find one.
        highest: (K, 6), the largest log β, −log β, δ, −δ, ε and −ε of a curve that does; −inf where empty.
    """

    empty: BoolArray
    highest: FloatArray


@dataclass(frozen=True, kw_only=True)
class Extents:
    """R polygons in the plane of δ and ε. Where ``empty``, the other numbers mean nothing.

    Attributes:
        empty: (R,), whether no line lies in all intervals.
        delta_low: (R,), at least 0.
        delta_high: (R,), infinite where nothing bounds δ.
        epsilon_low: (R,), at least 0.
        epsilon_high: (R,), infinite where nothing bounds ε.
    """

    empty: BoolArray
    delta_low: FloatArray
    delta_high: FloatArray
    epsilon_low: FloatArray
    epsilon_high: FloatArray


def parameter_ranges(items: Items, beta_bounds: tuple[float, float], *, only_empty: bool = False) -> Ranges:
    """Branch and bound over log β, all items together.

    A part of the axis is dropped if ``extents`` proves it empty, or proves that nothing in it widens the
    ranges found so far; else it is halved. The points tried are granted ``slack`` beyond the ends, the proofs
    next to nothing: so every part is decided long before it is a point.

    Args:
        items: the problems.
        beta_bounds: lowest and highest β.
        only_empty: ends the search for an item with its first curve inside: ``highest`` is then no range.
    """
    k = items.low.shape[0]
    highest = np.full((k, 6), -np.inf)
    rows, left, right = cut(k, beta_bounds)
    _try_points(items, highest, np.tile(rows, 2), np.concatenate([left, right]))
    while rows.size:
        _try_points(items, highest, rows, (left + right) / 2)
        open_parts = _may_widen(_reach(items, rows, left, right), highest[rows], only_empty)
        narrowest = np.where(np.isneginf(highest[rows, 0]), NARROWEST, _NARROWEST_BESIDE_OTHERS)
        rows, left, right = halves(rows, left, right, open_parts & (right - left > narrowest))
    return Ranges(empty=np.isneginf(highest[:, 0]), highest=highest)


def extents(below: FloatArray, above: FloatArray, low: FloatArray, high: FloatArray) -> Extents:
    """The lines ε + δ·s with ε ≥ 0, δ ≥ 0 and low ≤ ε + δ·s ≤ high at every cycle.

    For exact shapes (``below`` equal to ``above``) all of this is exact. For shapes that are only known to
    lie between the two, what is called empty is empty, and no line reaches further than the numbers say.

    Args:
        below: (R, n), at most s, in [0, 1].
        above: (R, n), at least s, in [0, 1]. s itself does not fall from cycle to cycle.
        low: (R, n), at least 0; 0 bounds nothing.
        high: (R, n), at least ``low``; infinite where there is no upper end.
    """
    # Cycle k wants low_k − δ·s_k ≤ ε ≤ high_k − δ·s_k. With L the highest of the left sides and U the lowest
    # of the right ones a δ has an ε if U ≥ L and U ≥ 0. U is the least of straight lines in δ, so concave; L
    # is convex: those δ are an interval. Its ends are met from outside, by Newton's steps: where U < L, the
    # two lines that U and L are made of there cross at the end or before it.
    with np.errstate(divide="ignore", invalid="ignore"):
        farthest = np.where(below > 0, high / below, np.inf).min(axis=1)
    delta_low, never = _crossing(below, above, low, high, np.zeros(low.shape[0]), 1)
    delta_high, nowhere = _crossing(below, above, low, high, farthest, -1)
    # As no curve falls, none has an upper end below a lower one of an earlier cycle.
    fallen_below = (high < np.maximum.accumulate(low, axis=1)).any(axis=1)
    empty = never | nowhere | fallen_below | (delta_low > delta_high)
    # Both bounds of ε fall as δ grows: the largest δ allows the smallest ε, the smallest δ the largest.
    delta_low = np.where(empty, 0.0, delta_low)
    with np.errstate(invalid="ignore"):
        fallen = np.where(above > 0, delta_high[:, None] * above, 0.0)
    risen = delta_low[:, None] * below
    return Extents(
        empty=np.asarray(empty, dtype=np.bool_),
        delta_low=delta_low,
        delta_high=delta_high,
        epsilon_low=(low - fallen).max(axis=1).clip(min=0.0),
        epsilon_high=(high - risen).min(axis=1),
    )


def _crossing(
    below: FloatArray, above: FloatArray, low: FloatArray, high: FloatArray, start: FloatArray, sign: int
) -> tuple[FloatArray, BoolArray]:
    """(R,) each: the first δ with U ≥ L from ``start`` upwards (``sign`` 1) or down (−1), and if none has."""
    delta, never = start.copy(), np.zeros(start.size, dtype=np.bool_)
    open_rows = np.flatnonzero(np.isfinite(start))
    while open_rows.size:
        here, rows, each = delta[open_rows][:, None], open_rows, np.arange(open_rows.size)
        i = (high[rows] - here * below[rows]).argmin(axis=1)
        j = (low[rows] - here * above[rows]).argmax(axis=1)
        needed, slope = low[rows, j] - high[rows, i], above[rows, j] - below[rows, i]
        short = slope * here[:, 0] < needed
        never[rows] = stuck = short & (slope * sign <= 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = needed / slope
        moves = short & ~stuck & (crossing * sign > here[each, 0] * sign)
        delta[rows[moves]] = crossing[moves]
        open_rows = rows[moves]
    return delta, never


def _try_points(items: Items, highest: FloatArray, rows: IntArray, log_betas: FloatArray) -> None:
    """Raises ``highest`` to what the curves inside reach at these points."""
    for part in chunks(rows.size, items.low.shape[1]):
        row, log_beta = rows[part], log_betas[part]
        shapes, low, high = items.at(row, log_beta)
        np.maximum.at(highest, row, _six(extents(shapes, shapes, low, high), log_beta, log_beta))


def _reach(items: Items, rows: IntArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """(R, 6): no curve with log β in [left, right] exceeds these; −inf where there is none."""
    found = np.empty((rows.size, 6))
    for part in chunks(rows.size, items.low.shape[1]):
        reached = extents(*items.between(rows[part], left[part], right[part]))
        found[part] = _six(reached, right[part], left[part])
    return found


def _six(found: Extents, high_log_beta: FloatArray, low_log_beta: FloatArray) -> FloatArray:
    six = np.stack(
        [
            high_log_beta,
            -low_log_beta,
            found.delta_high,
            -found.delta_low,
            found.epsilon_high,
            -found.epsilon_low,
        ],
        axis=1,
    )
    return np.where(found.empty[:, None], -np.inf, six)


def _may_widen(reach: FloatArray, highest: FloatArray, only_empty: bool) -> BoolArray:
    """Whether a part may hold a curve beyond those that have been found; (R,)."""
    nothing_yet = np.isneginf(highest[:, 0])
    if only_empty:
        return nothing_yet & (reach[:, 0] > -np.inf)
    slack = np.where(np.isfinite(highest), _SHARE_SLACK * np.abs(highest), 0.0)
    slack[:, :2] = _LOG_BETA_SLACK
    return np.asarray((reach > highest + slack).any(axis=1) & ~np.isneginf(reach[:, 0]), dtype=np.bool_)


# A crossing is on its two ends but for the last bits.
_ON_END = 2e-15
# In proofs, what the difference of two shapes may be off by, as a share of the larger.
_DIFFERENCE_ROUNDING = 1e-15


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
    _try_lines(items, best, np.tile(np.arange(k), 2), np.repeat([left[0], right[-1]], k))
    while rows.size:
        _try_lines(items, best, rows, (left + right) / 2)
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
        first, last = _stretches(*items.between(rows[part], left[part], right[part]), _DIFFERENCE_ROUNDING)
        found[part] = _overlap(first, last, n - misses[rows[part]] + 1).any(axis=1)
    return found


def _try_lines(items: Items, best: FloatArray, rows: IntArray, log_betas: FloatArray) -> None:
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
