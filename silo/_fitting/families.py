"""Families of curves a + b·s(m): their shapes, and what s depends on besides the cycle."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo._fitting.lines import Kind

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
