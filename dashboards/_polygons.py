"""The region of ε and δ for fixed q and β: what stripes of a plane have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from silo.curve import shape
from silo.intervals import CycleInterval

Corner = tuple[float, float]
"""ε and δ, learning rates."""


def slice_of(
    intervals: Sequence[CycleInterval], *, q: int, beta: float, pruning_rate: float, highest: float
) -> list[Corner]:
    """The corners of {(ε, δ): 0 ≤ ε, 0 ≤ δ ≤ highest, low_m ≤ ε + δ·S(m) ≤ high_m for every cycle m}.

    An end that the grid cut off bounds nothing.

    Args:
        intervals: One per measured cycle.
        q: Of the curve.
        beta: Of the curve.
        pruning_rate: p, in (0, 1).
        highest: Where δ is cut off: nothing else may bound it.

    Returns:
        In order around the polygon; empty where there is none.
    """
    rises = shape([interval.cycle for interval in intervals], q, beta, pruning_rate).tolist()
    widest = max(interval.high for interval in intervals) + highest
    corners = [(0.0, 0.0), (widest, 0.0), (widest, highest), (0.0, highest)]
    for interval, rise in zip(intervals, rises, strict=True):
        if not interval.high_cut:
            corners = _below(corners, 1.0, rise, interval.high)
        if not interval.low_cut:
            corners = _below(corners, -1.0, -rise, -interval.low)
    return corners


def _below(corners: list[Corner], a: float, b: float, bound: float) -> list[Corner]:
    """The part of a convex polygon with a·ε + b·δ ≤ bound (Sutherland and Hodgman, 1974)."""
    if not corners:
        return []
    kept = []
    for start, end in pairwise([*corners, corners[0]]):
        over_start = a * start[0] + b * start[1] - bound
        over_end = a * end[0] + b * end[1] - bound
        if over_start <= 0:
            kept.append(start)
        if (over_start <= 0) != (over_end <= 0):
            share = over_start / (over_start - over_end)
            kept.append((start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])))
    return kept
