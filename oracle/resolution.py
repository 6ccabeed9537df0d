"""What a search will be able to tell, before it is run: how far off the ends of its intervals will be.

A landscape of one hump is searched a few times, with noise of the size that a validation split of so many
examples gives. Nothing is known of the network yet, so that the assumptions stand for it:

    accuracy 95 % at the best rate, two thirds up the grid; it falls evenly, by one tolerance within a factor
    of 3.3 below that rate and of 1.8 above it (what recorded searches of small networks show);
    a training's noise has half the variance that counting 95 % of the examples has, as the candidates of a
    replicate see the same examples, and neighbouring rates share half of that;
    the curve stays for as many cycles as there are, at most four.

What a model costs grows with the cube of its rates: of a grid of hundreds every k-th is simulated. That tells
no more than all of them do, and little less, as neighbouring rates share most of their noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oracle.spec import Spec
from silo._arrays import FloatArray
from silo.landscape import CycleScores, learn
from silo.landscape.parts import PRIOR
from silo.measured import optimized

ACCURACY = 0.95
_PLACE, _BELOW, _ABOVE = 2 / 3, math.log(3.3), math.log(1.8)
_CYCLES, _SEARCHES, _DRAWS, _LEVEL = 4, 12, 256, 0.9
_MOST_RATES = 64
_FEW = 3
"""Steps of the grid by which an end may be off before the grid is called too fine."""


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a number of rates and replicates resolves.

    Attributes:
        validation: Examples of the validation split.
        replicates: Independent seeds.
        candidates: Rates of the grid.
        noise: Assumed standard deviation of a training's accuracy, as a share.
        steps: By so many steps of the grid 90 % of the simulated ends are off at most.
        factor: The same as a ratio of rates, at least 1.
    """

    validation: int
    replicates: int
    candidates: int
    noise: float
    steps: int
    factor: float

    @property
    def too_fine(self) -> bool:
        """Whether the grid is finer than its noise resolves."""
        return self.steps > _FEW

    def sentence(self) -> str:
        """What it resolves, and what that rests on."""
        steps = f"{self.steps} step{'s' * (self.steps != 1)}"
        return (
            f"with {self.validation:,} validation examples and r = {self.replicates} an interval's end is "
            f"known to ± {steps} of the grid (a factor of {self.factor:.2g}): "
            f"simulated for one hump at {ACCURACY:.0%} accuracy, ± {100 * self.noise:.2g} % a training"
        )

    def warning(self) -> str | None:
        """What to do about a grid that is too fine; None for one that isn't."""
        if not self.too_fine:
            return None
        points = max(2, math.ceil(2 * (self.candidates - 1) / self.steps) + 1)
        return (
            f"the grid's {self.candidates} rates are finer than the noise resolves: {points} would tell "
            "about as much, or more replicates or a larger validation split would tell more"
        )


def _away(grid: FloatArray, end: int, steps: int) -> float:
    """The larger ratio of a grid's value to those so many steps away from it."""
    low, high = max(end - steps, 0), min(end + steps, grid.size - 1)
    return float(max(grid[end] / grid[low], grid[high] / grid[end]))


def resolution_of(spec: Spec, validation: int) -> Resolution | None:
    """What a spec's search will resolve; None where nothing is searched, or trainings are left out.

    Args:
        spec: The spec.
        validation: Examples of its validation split.
    """
    policy = spec.policy_of_rates()
    counted = spec.metric.name == "accuracy" and validation > 0 and not spec.measure().relative
    if not policy.searches or policy.selective or not counted:
        return None
    return resolution(
        policy.rates,
        validation=validation,
        replicates=spec.replicates,
        cycles=spec.cycles,
        tolerance=spec.measure().within,
    )


def resolution(
    rates: Sequence[float], *, validation: int, replicates: int, cycles: int, tolerance: float
) -> Resolution | None:
    """What a search will resolve, from a few simulated ones; the same arguments give the same.

    Args:
        rates: The grid, ascending.
        validation: Examples of the validation split.
        replicates: Independent seeds.
        cycles: Cycles of the search.
        tolerance: How far below the best the interval reaches.

    Returns:
        None where that makes no sense: there are fewer than four rates, no tolerance, or the assumed interval
        is wider than the grid, so that it has no end.
    """
    if len(rates) < 4 or tolerance <= 0:
        return None
    every, count = np.asarray(rates, dtype=np.float64), min(cycles, _CYCLES)
    apart = math.ceil(every.size / _MOST_RATES)
    grid = every[::apart]
    x = np.log(grid)
    away = x - (x[0] + _PLACE * (x[-1] - x[0]))
    truth = ACCURACY - tolerance * abs(away) / np.where(away < 0, _BELOW, _ABOVE)
    first, last = (int(index[0]) for index in optimized(truth[None], tolerance)[1:])
    noise = math.sqrt(0.5 * ACCURACY * (1 - ACCURACY) / validation)
    alike = np.exp(-0.5 * ((x[:, None] - x) / PRIOR.shared_length) ** 2)
    root = noise * np.linalg.cholesky(0.5 * alike + 0.5 * np.eye(x.size))
    off: list[int] = []
    for seed in range(_SEARCHES):
        random = np.random.default_rng(seed)
        scores = [
            CycleScores(
                cycle=cycle,
                grid=grid,
                index=np.tile(np.arange(grid.size), replicates),
                replicate=np.repeat(np.arange(replicates), grid.size),
                score=(truth + random.standard_normal((replicates, x.size)) @ root.T).ravel(),
            )
            for cycle in range(count)
        ]
        for belief in learn(scores, tolerance=tolerance, samples=_DRAWS):
            low, high = belief.stated
            off += [abs(low - first)] * (first > 0) + [abs(high - last)] * (last < grid.size - 1)
    if not off:
        return None
    steps = apart * int(np.quantile(off, _LEVEL, method="higher"))
    return Resolution(
        validation=validation,
        replicates=replicates,
        candidates=every.size,
        noise=noise,
        steps=steps,
        factor=max(_away(every, apart * end, steps) for end in (first, last)),
    )
