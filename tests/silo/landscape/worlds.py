"""Landscapes whose truth is known, and searches drawn from them."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from silo import CycleAccuracies
from silo.measured import TOLERANCE, optimized

CHANCE = 0.1
# What a collapsed training reaches: guessing, or with this chance some more, up to 0.6 more.
_SOME = 0.4
KINDS = ("moving", "plateau", "sharp", "edge", "jump", "collapse", "humps")
_NOISE, _SHARED, _REPLICATE, _WIDTH = 0.005, 0.25, 0.004, 0.13


@dataclass(frozen=True)
class World:
    """(cycles, n) accuracies of trainings that don't collapse, and per cycle the rate at which half do."""

    rates: np.ndarray
    curve: np.ndarray
    edge: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """(cycles, n), the mean over infinitely many replicates."""
        chance = ndtr((np.log(self.rates) - np.log(self.edge)[:, None]) / _WIDTH)
        return (1 - chance) * self.curve + chance * (CHANCE + _SOME * 0.3)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(cycles,) each, the indices of the true intervals' ends."""
        return optimized(self.truth, TOLERANCE)[1:]

    def search(self, replicates: int, seed: int = 0) -> list[CycleAccuracies]:
        """A search of all rates. In a replicate of a cycle all rates beyond its own edge collapse."""
        random = np.random.default_rng(seed)
        x = np.log(self.rates)
        near = np.exp(-0.5 * ((x[:, None] - x) / 0.45) ** 2)
        root = np.linalg.cholesky(_SHARED * near + (1 - _SHARED) * np.eye(x.size))
        found = []
        for m, (curve, edge) in enumerate(zip(self.curve, self.edge, strict=True)):
            scores = curve[:, None] + _NOISE * root @ random.normal(size=(x.size, replicates))
            scores = scores + _REPLICATE * random.normal(size=replicates)
            failed = x[:, None] > np.log(edge) + _WIDTH * random.normal(size=replicates)
            reached = CHANCE + 0.6 * random.random(scores.shape) * (random.random(scores.shape) < _SOME)
            scores = np.where(failed, reached, scores).clip(0, 1)
            found.append(CycleAccuracies(cycle=m, rates=self.rates, accuracies=scores))
        return found


def world(kind: str, rates: int = 14, cycles: int = 16) -> World:
    """A landscape of one of ``KINDS``."""
    grid = np.geomspace(0.01, 0.4, rates)
    m = np.arange(cycles)
    step = 1 / (1 + np.exp(-(m - 7) / 2))
    best, edge = 0.035 * (0.1 / 0.035) ** step, 0.11 * (0.3 / 0.11) ** step
    if kind == "jump":  # three steps further from cycle 6 on
        best, edge = np.where(m < 6, 0.03, 0.1), np.where(m < 6, 0.1, 0.33)
    if kind == "edge":
        best, edge = np.full(cycles, 0.5), np.full(cycles, 4.0)
    if kind == "humps":
        edge = 1.7 * edge
    if kind == "collapse":  # at all rates, twice
        edge = np.where((m == 5) | (m == 6), 0.001, edge)
    away = np.log(grid) - np.log(best)[:, None]
    lost = {
        "plateau": 0.004 * np.maximum(abs(away) - 0.8, 0) ** 2,
        "sharp": 0.03 * away**2,
        "edge": 0.006 * away**2,
        "humps": 0.02
        - 0.02 * np.exp(-0.5 * ((away + 0.7) / 0.3) ** 2)
        - 0.017 * np.exp(-0.5 * ((away - 0.6) / 0.3) ** 2),
    }.get(kind, np.where(away < 0, 0.0045, 0.006) * away**2)
    top = 0.967 - 0.018 * (m / 15) ** 2
    return World(grid, top[:, None] - lost, edge)
