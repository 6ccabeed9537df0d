"""The fewest intervals that a curve can be outside of: branch and bound over β along each upper end.

With s anywhere from below to above at each cycle, the lines that hit all intervals of a set fill a convex
polygon: ε + δ·below ≤ high and ε + δ·above ≥ low for each, ε ≥ 0 and δ ≥ 0. Unless no interval of the set has
an upper end, the polygon's point with the largest ε lies on one. So the lines along the upper ends hit every
set that a curve can hit, and what they hit depends on δ alone: each interval for a stretch of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.fit.branch_and_bound import NARROWEST, Items, chunks, cut
from silo.fit.least_squares import shapes_of

# A crossing is on its two ends but for the last bits.
_ON_END = 2e-15
# In proofs, what the difference of two shapes may be off by, as a share of the larger.
_DIFFERENCE_ROUNDING = 1e-15
# Numbers at a time: they fit into a processor's cache.
_AT_A_TIME = 50_000
# So few members are as quick as fewer.
_FEW = 4
# So many parts of each item are tried at a time.
_TRIED = 8


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

    A part of the β axis along one upper end is dropped if lines that may take every shape anywhere between
    its values at the part's two ends hit no more intervals together than some curve already does. Else it is
    halved, and only the cycles stay with it that may be among so many: the narrower a part, the fewer. So
    intervals without width, of which hardly any four have a curve in common, cost little more than what any
    three of them have. Among equal counts the smallest violation of those tried is taken, and for its β made
    as small as it can be.
    """
    k, n = items.low.shape
    best = np.tile([np.inf, np.inf, 0.0, 0.0, 0.0], (k, 1))
    rows, left, right = cut(k, beta_bounds)
    for edge in (left[0], right[-1]):
        edges = np.full(k, edge)
        _try_flat(items, best, edges)
        ends = _along_upper_ends(items, np.arange(k), edges, edges)
        for piece in chunks(ends.rows.size, n):
            _try_lines(items, best, ends[piece])
    waiting = {n: [_along_upper_ends(items, rows, left, right)]}
    while waiting:
        part = _next(waiting)
        wanted = n - best[part.rows, 0] + 1
        first, last = _stretches(items, part, part.left, part.right, proof=True)
        hopeful = _overlap(first, last, wanted)
        if not hopeful.any():
            continue
        part, (depth, kept) = part[hopeful], _depths(first[hopeful], last[hopeful], wanted[hopeful])
        narrow = part.right - part.left <= NARROWEST
        _try_lines(items, best, part[narrow | _deepest(part.rows, depth)])
        still = ~narrow & (depth > n - best[part.rows, 0])
        for half in part[still].halves(np.where(kept[still], part.members[still], n), n):
            waiting.setdefault(half.members.shape[1], []).append(half)
    betas = np.exp(best[:, 2]).clip(*beta_bounds)
    lines = [_least_violation(items, row, betas[row], *best[row, 3:]) for row in range(k)]
    return FewestMisses(
        misses=best[:, 0].astype(np.intp),
        beta=betas,
        epsilon=np.array([line[0] for line in lines]),
        delta=np.array([line[1] for line in lines]),
    )


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """R parts of the β axis, each along the upper end of one cycle.

    Attributes:
        rows: (R,), whose item it is.
        pivots: (R,), the index of the cycle.
        left: (R,), log β.
        right: (R,), log β.
        members: (R, C), the indices of cycles that may be hit together; n where there are fewer.
    """

    rows: IntArray
    pivots: IntArray
    left: FloatArray
    right: FloatArray
    members: IntArray

    def __getitem__(self, index: BoolArray | IntArray | slice) -> "_Parts":
        return _Parts(
            rows=self.rows[index],
            pivots=self.pivots[index],
            left=self.left[index],
            right=self.right[index],
            members=self.members[index],
        )

    def halves(self, members: IntArray, n: int) -> Iterator["_Parts"]:
        """Both halves of each with these members: those with the most first, in groups of about as many."""
        members = np.sort(members, axis=1)
        width, middle = members.shape[1], (self.left + self.right) / 2
        counts = np.count_nonzero(members < n, axis=1)
        while width:
            narrower = width // 2 if width >= 2 * _FEW else 0
            group = np.flatnonzero((counts <= width) & (counts > narrower))
            if group.size:
                two = np.tile(group, 2)
                yield _Parts(
                    rows=self.rows[two],
                    pivots=self.pivots[two],
                    left=np.concatenate([self.left[group], middle[group]]),
                    right=np.concatenate([middle[group], self.right[group]]),
                    members=members[two, :width],
                )
            width = narrower


def _along_upper_ends(items: Items, rows: IntArray, left: FloatArray, right: FloatArray) -> _Parts:
    """Each part of the axis along every upper end."""
    part, pivots = np.nonzero(np.isfinite(items.high[rows]))
    members = np.broadcast_to(np.arange(items.low.shape[1]), (part.size, items.low.shape[1]))
    return _Parts(rows=rows[part], pivots=pivots, left=left[part], right=right[part], members=members)


def _next(waiting: dict[int, list[_Parts]]) -> _Parts:
    """Takes as many as are computed at a time, the latest of those with the fewest members.

    Where no group has as many it is the one with the most members: halved, they come to the others.
    """
    full = [w for w, parts in waiting.items() if w * sum(part.rows.size for part in parts) >= _AT_A_TIME]
    width = min(full, default=max(waiting))
    parts, room = waiting[width], max(_AT_A_TIME // width, 1)
    taken: list[_Parts] = []
    while parts and room:
        last = parts.pop()
        taken.append(last[-room:])
        if last.rows.size > room:
            parts.append(last[:-room])
        room -= taken[-1].rows.size
    if not parts:
        del waiting[width]
    return taken[0] if len(taken) == 1 else _joined(taken)


def _joined(parts: list[_Parts]) -> _Parts:
    return _Parts(
        rows=np.concatenate([part.rows for part in parts]),
        pivots=np.concatenate([part.pivots for part in parts]),
        left=np.concatenate([part.left for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        members=np.concatenate([part.members for part in parts]),
    )


def _stretches(
    items: Items, part: _Parts, left: FloatArray, right: FloatArray, *, proof: bool
) -> tuple[FloatArray, FloatArray]:
    """(R, C) each: along ε = high − δ·below of the pivot, the first and last δ that hit each member.

    Both infinite where there is none.
    """
    n = items.low.shape[1]
    # Where there are fewer members, the last cycle stands for one that nothing hits.
    missing = part.members == n
    columns = np.concatenate([np.where(missing, n - 1, part.members), part.pivots[:, None]], axis=1)
    place = part.rows[:, None] * n + columns
    logits, top = items.logits.take(place), items.logits[part.rows, -1]
    below = above = shapes_of(logits, np.exp(left), top)
    if proof:
        other = shapes_of(logits, np.exp(right), top)
        below, above = np.minimum(below, other), np.maximum(below, other)
    low, high = (ends.take(place) for ends in items.ends(proof=proof))
    end, pivot, below, above = high[:, -1:], below[:, -1:], below[:, :-1], above[:, :-1]
    gentle, steep = below - pivot, above - pivot
    if proof:
        size = _DIFFERENCE_ROUNDING * np.maximum(above, pivot)
        gentle, steep = gentle - size, steep + size
    # δ·gentle ≤ room and δ·steep ≥ rise, where rise ≤ room and gentle ≤ steep; 0 ≤ δ ≤ most.
    room, rise = high[:, :-1] - end, low[:, :-1] - end
    upwards, rising = gentle >= 0, steep >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        to_room, to_rise, most = room / gentle, rise / steep, end / pivot
    # Of no slope and no distance there is no quotient, and no bound.
    first = np.fmax(np.where(rising, to_rise, 0.0), np.fmax(np.where(upwards, 0.0, to_room), 0.0))
    last = np.fmin(np.where(rising, most, to_rise), np.fmin(np.where(upwards, to_room, most), most))
    never = (first > last) | missing
    return np.where(never, np.inf, first), np.where(never, np.inf, last)


def _overlap(first: FloatArray, last: FloatArray, wanted: FloatArray) -> BoolArray:
    """(R,): whether so many, (R,), of C stretches have a δ in common."""
    c = first.shape[1]
    begins, ends = np.sort(first, axis=1), np.sort(last, axis=1)
    found = np.zeros(first.shape[0], dtype=np.bool_)
    for count in np.unique(wanted).astype(int).clip(min=1):
        if count <= c:
            rows = wanted == count
            # At the t-th begin, t + 1 stretches have begun, and those that end before it are the first ones.
            begin, end = begins[rows, count - 1 :], ends[rows, : c - count + 1]
            found[rows] = ((end >= begin) & np.isfinite(begin)).any(axis=1)
    return found


def _depths(first: FloatArray, last: FloatArray, wanted: FloatArray) -> tuple[IntArray, BoolArray]:
    """How many stretches at most have a δ in common, (R,), and which have one with so many, (R, C)."""
    c = first.shape[1]
    # Where one begins as another ends, the two overlap.
    before = first * (1 - _DIFFERENCE_ROUNDING) - np.finfo(np.float64).tiny
    order = np.argsort(np.concatenate([before, last], axis=1), axis=1)
    begins = order < c
    open_ones = np.cumsum(np.where(begins, 1, -1), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(2 * c)[None], axis=1)
    begun, ended, real = place[:, :c], place[:, c:], np.isfinite(first)
    depth = np.where(real, np.take_along_axis(open_ones, begun, axis=1), 0).max(axis=1)
    deep = np.cumsum(begins & (open_ones >= wanted[:, None]), axis=1)
    own = np.take_along_axis(open_ones, begun, axis=1) >= wanted[:, None]
    kept = own | (np.take_along_axis(deep, ended, axis=1) > np.take_along_axis(deep, begun, axis=1))
    return depth, kept & real


def _deepest(rows: IntArray, depth: IntArray) -> BoolArray:
    """(R,): the few of each item where the most stretches overlap."""
    order = np.lexsort((-depth, rows))
    _, firsts, counts = np.unique(rows[order], return_index=True, return_counts=True)
    found = np.empty(rows.size, dtype=np.bool_)
    found[order] = np.arange(rows.size) - firsts.repeat(counts) < _TRIED
    return found


def _try_lines(items: Items, best: FloatArray, part: _Parts) -> None:
    """Improves ``best``, (K, 5): misses, violation, log beta, ε and δ of each item's best curve so far."""
    log_beta = (part.left + part.right) / 2
    first, last = _stretches(items, part, log_beta, log_beta, proof=False)
    begin, end = _most_overlapping(first, last)
    hit = np.isfinite(begin)
    part, log_beta, begin, end = part[hit], log_beta[hit], begin[hit], end[hit]
    shapes, _, high = items.at(part.rows, log_beta)
    each = np.arange(part.rows.size)
    pivot, top = shapes[each, part.pivots], high[each, part.pivots]
    for delta in (begin, begin / 2 + end / 2, end):
        epsilon = np.maximum(top - delta * pivot, 0.0)
        _try(items, best, part.rows, log_beta, epsilon, delta)


def _try_flat(items: Items, best: FloatArray, log_betas: FloatArray) -> None:
    """At the highest lower end of all, which hits every interval where none has an upper end."""
    highest = items.ends(proof=False)[0].max(axis=1)
    _try(items, best, np.arange(highest.size), log_betas, highest, np.zeros_like(highest))


def _try(
    items: Items,
    best: FloatArray,
    rows: IntArray,
    log_betas: FloatArray,
    epsilon: FloatArray,
    delta: FloatArray,
) -> None:
    """Improves ``best`` by these lines."""
    shapes, low, high = items.at(rows, log_betas)
    rates = epsilon[:, None] + delta[:, None] * shapes
    missed = np.count_nonzero(~_holds(rates, low, high), axis=1).astype(np.float64)
    outside = np.maximum(low - rates, rates - high).max(axis=1).clip(min=0.0)
    real = epsilon + delta > 0
    found = np.stack([missed, outside, log_betas, epsilon, delta], axis=1)
    _keep_best(best, rows[real], found[real])


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
