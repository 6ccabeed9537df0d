"""For each q, the region of (β, ε, δ) whose curve lies in every interval, by branch and bound over β."""

import math
from dataclasses import dataclass

import numpy as np

from silo._arrays import BoolArray, FloatArray, IntArray
from silo._fitting.extent import Extents, extents
from silo._fitting.problem import shapes_of

# The parts that log beta is first cut into, for each q.
_PARTS = 8
# How far the ranges may fall short of the truth: of log beta, and as a share of ε and of δ.
_LOG_BETA_SLACK = 1e-6
_SHARE_SLACK = 1e-4
# Proofs grant this share of an end: more than roundings of a few numbers, far less than ``slack``.
ROUNDING = 1e-12
# A part of log beta this narrow is a point.
NARROWEST = 1e-13
# Rows at a time: keeps the largest array (rows × pairs of cycles) at about 5 MB for 25 cycles.
_CHUNK = 2048


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


@dataclass(frozen=True, kw_only=True)
class Regions:
    """K regions.

    Attributes:
        empty: (K,), whether no curve lies in all intervals: a proof, not a failure to find one.
        highest: (K, 6), the largest log β, −log β, δ, −δ, ε and −ε in the region; −inf where it is empty.
    """

    empty: BoolArray
    highest: FloatArray


def find_regions(items: Items, beta_bounds: tuple[float, float], *, ranges: bool = True) -> Regions:
    """Branch and bound over log β, all items together.

    A shape S(m) grows or falls with β all along, so that over a part of the β axis it lies between its values
    at the part's two ends; ``extents`` turns that into a proof that the part is empty, or into bounds of what
    is in it. A part is dropped if it is proven empty, or can't widen the ranges found so far; else it is
    halved. The points tried are granted ``slack`` beyond the ends, the proofs next to nothing: so every part
    is decided long before it is a point.

    Args:
        items: the problems.
        beta_bounds: lowest and highest beta.
        ranges: False ends the search for an item with its first curve inside: ``highest`` is then no range.
    """
    k = items.low.shape[0]
    highest = np.full((k, 6), -np.inf)
    rows, left, right = cut(k, beta_bounds, _PARTS)
    _try_points(items, highest, np.tile(rows, 2), np.concatenate([left, right]))
    while rows.size:
        _try_points(items, highest, rows, (left + right) / 2)
        open_parts = _may_widen(_reach(items, rows, left, right), highest[rows], ranges)
        rows, left, right = halves(rows, left, right, open_parts & (right - left > NARROWEST))
    return Regions(empty=np.isneginf(highest[:, 0]), highest=highest)


def cut(items: int, beta_bounds: tuple[float, float], parts: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """The log β axis in equal parts, for each of so many items: its index, left and right end; (R,) each."""
    edges = np.linspace(math.log(beta_bounds[0]), math.log(beta_bounds[1]), parts + 1)
    rows = np.repeat(np.arange(items), parts)
    return rows, np.tile(edges[:-1], items), np.tile(edges[1:], items)


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


def _try_points(items: Items, highest: FloatArray, rows: IntArray, log_betas: FloatArray) -> None:
    """Raises ``highest`` to what the curves inside reach at these points."""
    for start in range(0, rows.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        row, log_beta = rows[part], log_betas[part]
        shapes = shapes_of(items.logits[row], np.exp(log_beta))
        low, high = items.low[row] * (1 - items.slack), items.high[row] * (1 + items.slack)
        np.maximum.at(highest, row, _six(extents(shapes, shapes, low, high), log_beta, log_beta))


def _reach(items: Items, rows: IntArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """(R, 6): no curve with log beta in [left, right] exceeds these; −inf where there is none."""
    found = np.empty((rows.size, 6))
    for start in range(0, rows.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        row, a, b = rows[part], left[part], right[part]
        ends = shapes_of(items.logits[row], np.exp(a)), shapes_of(items.logits[row], np.exp(b))
        low, high = items.low[row] * (1 - ROUNDING), items.high[row] * (1 + ROUNDING)
        reached = extents(np.minimum(*ends), np.maximum(*ends), low, high)
        found[part] = _six(reached, b, a)
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


def _may_widen(reach: FloatArray, highest: FloatArray, ranges: bool) -> BoolArray:
    """Whether a part may hold a curve beyond what has been found; (R,)."""
    nothing_yet = np.isneginf(highest[:, 0])
    if not ranges:
        return nothing_yet & (reach[:, 0] > -np.inf)
    slack = np.where(np.isfinite(highest), _SHARE_SLACK * np.abs(highest), 0.0)
    slack[:, :2] = _LOG_BETA_SLACK
    return np.asarray((reach > highest + slack).any(axis=1) & ~np.isneginf(reach[:, 0]), dtype=np.bool_)
