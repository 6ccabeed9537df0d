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

    def ends(self, *, proof: bool) -> tuple[FloatArray, FloatArray]:
        """(K, n) each: the ends that count for a curve tried, or those for proofs."""
        slack = self.slack + (_ROUNDING if proof else 0.0)
        return self.low * (1 - slack), self.high * (1 + slack)


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
