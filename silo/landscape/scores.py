"""The trainings of one cycle, as the model of the landscape takes them: in any number, with holes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from silo import checks
from silo._arrays import FloatArray, IntArray
from silo.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from silo.accuracies import CycleAccuracies


@dataclass(frozen=True, kw_only=True, eq=False)
class CycleScores:
    """The scores of one cycle's trainings: one per training, in any order.

    Attributes:
        cycle: m, the number of completed pruning cycles; an int of at least 0.
        grid: (n,), the cycle's candidates, ascending, above 0: trained or not.
        index: (k,), the position in ``grid`` of each training's rate.
        replicate: (k,), its replicate: the same number is the same chain of networks in every cycle.
        score: (k,), its score; the higher, the better.

    Raises:
        InvalidInput: the shapes don't fit, a position or replicate is no whole number of at least 0, a score
            isn't finite, or a rate was trained twice in a replicate.
    """

    cycle: int
    grid: FloatArray
    index: IntArray
    replicate: IntArray
    score: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycle", checks.whole("cycle", self.cycle))
        grid, score = np.asarray(self.grid, dtype=np.float64), np.asarray(self.score, dtype=np.float64)
        index, replicate = (self._whole(name) for name in ("index", "replicate"))
        positive = grid.ndim == 1 and grid.size > 0 and bool((np.isfinite(grid) & (grid > 0)).all())
        if not positive or not (np.diff(grid) > 0).all():
            raise InvalidInput(
                f"the grid of cycle {self.cycle} must be positive, finite and ascend, not {grid.tolist()!r}"
            )
        if not (score.ndim == 1 and score.shape == index.shape == replicate.shape):
            raise InvalidInput(
                f"cycle {self.cycle} needs a rate, a replicate and a score per training, "
                f"not {index.shape}, {replicate.shape} and {score.shape}"
            )
        if index.size and not 0 <= index.min() <= index.max() < grid.size:
            raise InvalidInput(f"a training of cycle {self.cycle} has a rate that its grid lacks")
        if not np.isfinite(score).all():
            bad = float(score[~np.isfinite(score)][0])
            raise InvalidInput(
                f"the scores of cycle {self.cycle} must be finite, not {bad!r}: give a training that "
                "diverged the score of guessing"
            )
        # Sorted, so that sums are the same to the last bit whatever order the trainings came in.
        order = np.lexsort((index, replicate))
        for name, values in (("index", index), ("replicate", replicate), ("score", score)):
            object.__setattr__(self, name, values[order])
        object.__setattr__(self, "grid", grid)
        pairs = list(zip(self.index.tolist(), self.replicate.tolist(), strict=True))
        if len(set(pairs)) < len(pairs):
            raise InvalidInput(f"a rate of cycle {self.cycle} was given twice in one replicate")

    def _whole(self, name: str) -> IntArray:
        given = np.asarray(getattr(self, name))
        if given.size and (given.dtype.kind not in "iu" or given.min() < 0):
            raise InvalidInput(
                f"{name} of cycle {self.cycle} must be integers of at least 0, not {given.tolist()!r}"
            )
        return given.astype(np.intp)

    @classmethod
    def of(cls, accuracies: CycleAccuracies) -> CycleScores:
        """The scores of a cycle whose every candidate was trained in every replicate."""
        count, replicates = accuracies.accuracies.shape
        return cls(
            cycle=accuracies.cycle,
            grid=accuracies.rates,
            index=np.repeat(np.arange(count), replicates),
            replicate=np.tile(np.arange(replicates), count),
            score=accuracies.accuracies.ravel(),
        )

    @property
    def trained(self) -> IntArray:
        """(n,), in how many replicates each candidate was trained."""
        return np.bincount(self.index, minlength=self.grid.size).astype(np.intp)

    @property
    def means(self) -> FloatArray:
        """(n,), the mean score of each candidate; NaN for one that was not trained."""
        count = self.trained
        total = np.bincount(self.index, weights=self.score, minlength=self.grid.size)
        nothing = np.full(self.grid.size, np.nan)
        return np.asarray(np.divide(total, count, out=nothing, where=count > 0))


def check_scores(scores: Iterable[CycleScores]) -> tuple[CycleScores, ...]:
    """The scores in the order of their cycles.

    Raises:
        InvalidInput: there are none, one is no CycleScores, a cycle has no training, or two are of one cycle.
    """
    given = tuple(scores)
    if not given:
        raise InvalidInput("scores must not be empty: give a CycleScores for each measured cycle")
    for one in given:
        if not isinstance(one, CycleScores):
            raise InvalidInput(f"scores must be of type CycleScores, not {type(one).__name__}: give one kind")
    ordered = tuple(sorted(given, key=lambda one: one.cycle))
    for one in ordered:
        if not one.score.size:
            raise InvalidInput(f"cycle {one.cycle} has no training: leave it out")
    for before, after in pairwise(ordered):
        if before.cycle == after.cycle:
            raise InvalidInput(f"the scores of cycle {after.cycle} were given twice: give them once")
    return ordered
