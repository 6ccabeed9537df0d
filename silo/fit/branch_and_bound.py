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
from silo.fit.problem import shapes_of

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
