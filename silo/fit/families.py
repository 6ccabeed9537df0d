"""Families of curves a + b·s(m), SILO's first: their shapes, and what s depends on besides the cycle."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo.fit.problem import shapes_of

#: What the two numbers a and b of a + b·s may be: any; both at least 0; a = 0; b = 0.
Kind = Literal["free", "rising", "scaled", "flat"]

# Points per branch of a grid over log β: dS/d(log β) = z·S·(1 − S) with z = logit(S) stays below 0.23, so a
# shape changes over unit steps of log β. Between the default bounds the grid's steps are 0.015.
BETA_POINTS = 241

#: (R, n) shapes for R branches (indices) and (R, d) places.
Shapes = Callable[[IntArray, FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Curves that differ by a branch (a choice among few) and a place (d real numbers), besides a and b.

    Attributes:
        shapes: the shapes of R members.
        kind: what a and b may be.
        branches: how many branches there are.
        lower: (d,), the lowest place; d may be 0.
        upper: (d,), the highest place.
        points: how many points of a grid are tried between the two, in each of the d directions.
    """

    shapes: Shapes
    kind: Kind
    branches: int
    lower: FloatArray
    upper: FloatArray
    points: int

    def grid(self) -> tuple[IntArray, FloatArray]:
        """Every branch at every point: (branches · points^d,) branches, with as many places."""
        axes = [np.linspace(a, b, self._points(a, b)) for a, b in zip(self.lower, self.upper, strict=True)]
        mesh = np.meshgrid(*axes, indexing="ij")
        places = np.stack([axis.ravel() for axis in mesh], axis=1) if mesh else np.zeros((1, 0))
        return (
            np.repeat(np.arange(self.branches), places.shape[0]),
            np.tile(places, (self.branches, 1)),
        )

    def grid_shape(self) -> tuple[int, ...]:
        """(branches, points, ...): how the grid is laid out."""
        return (
            self.branches,
            *(self._points(a, b) for a, b in zip(self.lower, self.upper, strict=True)),
        )

    def steps(self) -> FloatArray:
        """(d,): the distance between neighbours of the grid."""
        counts = np.array(self.grid_shape()[1:], dtype=np.float64)
        return np.asarray((self.upper - self.lower) / np.maximum(counts - 1, 1))

    def _points(self, lowest: float, highest: float) -> int:
        return self.points if lowest < highest else 1


def silo_family(logits: FloatArray, beta_bounds: tuple[float, float]) -> Family:
    """SILO's curves over some cycles.

    Args:
        logits: (number of q, n), log(γ / (1 − γ)) at each cycle.
        beta_bounds: lowest and highest beta.
    """
    lower, upper = np.log(np.array([beta_bounds])).T

    def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
        return shapes_of(logits[branches], betas_at(places, beta_bounds))

    return Family(
        shapes=shapes,
        kind="rising",
        branches=logits.shape[0],
        lower=lower,
        upper=upper,
        points=BETA_POINTS,
    )


def betas_at(places: FloatArray, beta_bounds: tuple[float, float]) -> FloatArray:
    """(R,) betas of (R, 1) places; the bounds are what they are, not what exp makes of their logarithms."""
    lowest, highest = beta_bounds
    betas = np.exp(places[:, 0])
    betas = np.where(places[:, 0] <= np.log(lowest), lowest, betas)
    return np.where(places[:, 0] >= np.log(highest), highest, betas).clip(lowest, highest)
