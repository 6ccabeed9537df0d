"""Draws of what is known of a cycle, and the fixed numbers that they are made of."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from silo._arrays import FloatArray, IntArray


class Drawn(NamedTuple):
    """Draws of one cycle's rates, in tolerances and up to a level that is common to a draw's rates.

    Attributes:
        curve: (S, n), the mean score of trainings that don't collapse.
        collapse: (S, n), the chance of a collapse.
        depth: How far below the best a collapsed training lies.
        noise: (S,), standard deviation of a training's noise.
        shared: (S,), share of its variance that neighbouring rates of a replicate have in common.
    """

    curve: FloatArray
    collapse: FloatArray
    depth: float
    noise: FloatArray
    shared: FloatArray

    @property
    def means(self) -> FloatArray:
        """(S, n), the mean score of all trainings."""
        return self.curve - self.collapse * self.depth

    def at(self, here: IntArray) -> Drawn:
        """The same of some of the rates."""
        return self._replace(curve=self.curve[:, here], collapse=self.collapse[:, here])


@lru_cache(maxsize=8)
def fixed_numbers(samples: int, n: int, cycles: int) -> tuple[FloatArray, list[FloatArray], FloatArray]:
    """Fixed numbers: (2, cycles, S) uniform; per cycle (S, n) and once (S, n) standard normal.

    Each cycle has its own scrambled Sobol points in an order of its own, so that cycles are independent.
    """
    uniform, normal = np.empty((2, cycles, samples)), []
    for c in range(cycles):
        points = _sobol(n + 2, samples, seed=c + 1)
        uniform[:, c] = points[:, n:].T
        normal.append(np.asarray(ndtri(points[:, :n])))
    return uniform, normal, np.asarray(ndtri(_sobol(n, samples, seed=0)))


def _sobol(dimensions: int, samples: int, seed: int) -> FloatArray:
    from scipy.stats import qmc  # takes longer to import than all else that a command starts with

    random = np.random.default_rng(seed)
    points = qmc.Sobol(dimensions, scramble=True, rng=random).random(1 << (samples - 1).bit_length())
    return np.asarray(points[random.permutation(len(points))[:samples]].clip(1e-6, 1 - 1e-6))
