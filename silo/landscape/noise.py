"""How much trainings of one rate differ, from the replicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.landscape.prior import Prior

# As many degrees of freedom as the noise is remembered with: it changes slowly from cycle to cycle.
_MEMORY = 30.0


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """The variance of a training's noise in tolerances², and the degrees of freedom that it rests on."""

    variance: float
    freedom: float

    @classmethod
    def before(cls, prior: Prior) -> NoiseLevel:
        """What is supposed before any training."""
        return cls(variance=prior.noise_level**2, freedom=2.0)

    def given(self, index: IntArray, replicate: IntArray, value: FloatArray) -> NoiseLevel:
        """The level of a cycle, from what its trainings leave when rates and replicates are taken out.

        Args:
            index: (k,), the rate of each training.
            replicate: (k,), its replicate.
            value: (k,), its score in tolerances.
        """
        squares, freedom = _residual(index, replicate, value)
        total = self.freedom + freedom
        variance = (self.freedom * self.variance + squares) / total
        return NoiseLevel(variance=max(variance, 1e-6), freedom=min(total, _MEMORY))


def _residual(index: IntArray, replicate: IntArray, value: FloatArray) -> tuple[float, float]:
    """Sum of squares and degrees of freedom of the additive model of rates and replicates."""
    rates, row = np.unique(index, return_inverse=True)
    chains, column = np.unique(replicate, return_inverse=True)
    freedom = value.size - rates.size - chains.size + 1
    if freedom <= 0 or chains.size < 2:
        return 0.0, 0.0
    if value.size == rates.size * chains.size:
        table = np.empty((rates.size, chains.size))
        table[row, column] = value
        left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        return float((left**2).sum()), float(freedom)
    design = np.zeros((value.size, rates.size + chains.size))
    design[np.arange(value.size), row] = 1
    design[np.arange(value.size), rates.size + column] = 1
    fitted = design @ np.linalg.lstsq(design, value, rcond=None)[0]
    freedom = value.size - int(np.linalg.matrix_rank(design))
    return float(((value - fitted) ** 2).sum()), float(max(freedom, 0))


def collapsed(score: FloatArray, index: IntArray, best: int, limit: float) -> BoolArray:
    """(k,), which trainings collapsed: below ``limit``, at a rate above the best one's."""
    return np.asarray((score < limit) & (index > best), dtype=np.bool_)
