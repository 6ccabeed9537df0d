"""The collapse of high rates: at which rate trainings begin to fail, as an edge that moves with the cycles.

    P(collapse at x) = Φ((x − T) / w),   x = ln(max_lr)

T walks from cycle to cycle, w stays; both lie on a grid, so that their posterior is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.landscape.prior import Prior

_PLACES = 81
# No rate collapses for sure, and none is safe for sure: one odd training must not decide.
_ODD = 1e-4


@dataclass(frozen=True, eq=False)
class EdgeGrid:
    """The places and widths that the edge may have.

    Attributes:
        x: (n,), the grid's ln(max_lr).
        prior: The model's settings.
    """

    x: FloatArray
    prior: Prior

    @cached_property
    def places(self) -> FloatArray:
        """(T,), from where everything collapses to where nothing does."""
        span = self.x[-1] - self.x[0]
        return np.asarray(np.linspace(self.x[0] - 0.3, self.x[-1] + max(1.0, 0.3 * span), _PLACES))

    @cached_property
    def chance(self) -> FloatArray:
        """(T, w, n), the chance of a collapse."""
        widths = np.array(self.prior.widths)
        return np.asarray(ndtr((self.x - self.places[:, None, None]) / widths[:, None]))

    @cached_property
    def walk(self) -> FloatArray:
        """(T, T), the chance to move from the column's place to the row's in one cycle; columns sum to 1."""
        gap = self.places[:, None] - self.places
        near = np.exp(-0.5 * (gap / self.prior.drift) ** 2) + 1e-12
        moved = near / near.sum(axis=0, keepdims=True)
        return np.asarray((1 - self.prior.jump) * moved + self.prior.jump / _PLACES)

    @property
    def start(self) -> FloatArray:
        """(T, w), nothing known."""
        shape = _PLACES, len(self.prior.widths)
        return np.full(shape, 1 / (shape[0] * shape[1]))

    def predicted(self, posterior: FloatArray, cycles: int) -> FloatArray:
        """(T, w), some cycles later."""
        return np.asarray(np.linalg.matrix_power(self.walk, cycles) @ posterior)

    def given(self, predicted: FloatArray, index: IntArray, failed: BoolArray) -> FloatArray:
        """(T, w), after trainings at ``index`` of which some ``failed``, (k,) each."""
        bad = np.bincount(index, weights=failed, minlength=self.x.size)
        good = np.bincount(index, weights=~failed, minlength=self.x.size)
        chance = self.chance.clip(_ODD, 1 - _ODD)
        like = np.log(chance) @ bad + np.log1p(-chance) @ good
        posterior = predicted * np.exp(like - like.max())
        return np.asarray(posterior / posterior.sum())

    def mean(self, posterior: FloatArray) -> float:
        """The expected place of the edge, at which half of the trainings collapse, as ln(max_lr)."""
        return float(posterior.sum(axis=1) @ self.places)

    def chances(self, posterior: FloatArray) -> FloatArray:
        """(n,), the expected chance of a collapse at each rate."""
        return np.asarray(np.einsum("tw,twn->n", posterior, self.chance))

    def drawn(self, filtered: list[FloatArray], gaps: list[int], uniform: FloatArray) -> list[FloatArray]:
        """Draws of the edge over all cycles together, backwards from the last one.

        Args:
            filtered: Per cycle (T, w), given this and all earlier cycles.
            gaps: Per cycle, how many cycles lie between it and the one before.
            uniform: (cycles, S), in (0, 1).

        Returns:
            Per cycle (S, n): the chance of a collapse.
        """
        last = filtered[-1]
        flat = np.cumsum(last.ravel())
        at = np.searchsorted(flat, uniform[-1] * flat[-1]).clip(max=flat.size - 1)
        place, width = np.unravel_index(at, last.shape)
        found = [self.chance[place, width]]
        for c in reversed(range(len(filtered) - 1)):
            walk = np.linalg.matrix_power(self.walk, gaps[c + 1])
            weight = np.cumsum(filtered[c][:, width] * walk[place].T, axis=0)
            place = (weight < uniform[c] * weight[-1]).sum(axis=0).clip(max=_PLACES - 1)
            found.append(self.chance[place, width])
        return found[::-1]
