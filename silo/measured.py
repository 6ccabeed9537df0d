"""What was measured of a pruning cycle: optimum and interval, and the accuracies or scores behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from silo import checks
from silo._arrays import FloatArray, IntArray
from silo.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable


#: Rates this close, relative to the end of an interval, count as on it: curves are compared in float64.
SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class CycleInterval:
    """The Oracle optimized max_lr and interval of one pruning cycle (the paper's Section 5.4).

    Attributes:
        cycle: m, the number of completed pruning cycles; an int of at least 0.
        optimum: the rate with the best mean validation accuracy, within [low, high].
        low: the lowest rate of the interval, above 0.
        high: the highest rate of the interval.
        low_cut: the grid ended at ``low``, so that lower rates might be as good: it bounds nothing.
        high_cut: the grid ended at ``high``, so that higher rates might be as good: it bounds nothing.

    Raises:
        InvalidInput: a value is outside its range, not finite, or the three rates are out of order.
    """

    cycle: int
    optimum: float
    low: float
    high: float
    low_cut: bool = False
    high_cut: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycle", checks.whole("cycle", self.cycle))
        for name in ("optimum", "low", "high"):
            value = checks.positive(f"{name} of cycle {self.cycle}", getattr(self, name))
            object.__setattr__(self, name, value)
        for name in ("low_cut", "high_cut"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(
                    f"{name} of cycle {self.cycle} must be True or False, not {getattr(self, name)!r}"
                )
        if not self.low <= self.optimum <= self.high:
            raise InvalidInput(
                f"cycle {self.cycle} needs low <= optimum <= high, not low={self.low!r}, "
                f"optimum={self.optimum!r}, high={self.high!r}: give the interval around the optimum"
            )

    def contains(self, rate: float, slack: float = SLACK) -> bool:
        """Whether ``rate`` lies in [low, high] as stated, ends included: how the paper counts.

        Args:
            rate: a learning rate.
            slack: by which share of an end ``rate`` may lie beyond it.
        """
        return self.low * (1 - slack) <= rate <= self.high * (1 + slack)

    def compatible(self, rate: float, slack: float = SLACK) -> bool:
        """Whether the Oracle's data allow ``rate``: as ``contains``, but an end cut off bounds nothing."""
        above = self.low_cut or rate >= self.low * (1 - slack)
        below = self.high_cut or rate <= self.high * (1 + slack)
        return above and below


def check_intervals(intervals: Iterable[CycleInterval]) -> tuple[CycleInterval, ...]:
    """The intervals in the order of their cycles.

    Raises:
        InvalidInput: there are none, one is no CycleInterval, or two are of one cycle.
    """
    if not isinstance(intervals, Iterable):
        raise InvalidInput(f"intervals must be a list of CycleInterval, not {intervals!r}")
    given = tuple(intervals)
    if not given:
        raise InvalidInput(
            "intervals must not be empty, not (): give a CycleInterval for each measured cycle"
        )
    for interval in given:
        if not isinstance(interval, CycleInterval):
            raise InvalidInput(f"an interval must be a CycleInterval, not {interval!r}")
    ordered = tuple(sorted(given, key=lambda interval: interval.cycle))
    for before, after in pairwise(ordered):
        if before.cycle == after.cycle:
            raise InvalidInput(f"cycle {after.cycle} was given twice, as {before} and {after}: give it once")
    return ordered


def cycles_in_words(cycles: Sequence[int]) -> str:
    """``cycle 3`` or ``cycles 3, 7 and 9``; three or more in a row are ``5–8``."""
    if not cycles:
        raise InvalidInput("no cycles to name")
    named = cycle_ranges(cycles)
    if len(cycles) == 1:
        return f"cycle {named[0]}"
    if len(named) == 1:
        return f"cycles {named[0]}"
    return f"cycles {', '.join(named[:-1])} and {named[-1]}"


def cycle_ranges(cycles: Sequence[int]) -> list[str]:
    """Ascending cycles as texts, three or more in a row as one: ``5–8``."""
    breaks = [k + 1 for k, (one, other) in enumerate(pairwise(cycles)) if other != one + 1]
    runs = [cycles[a:b] for a, b in pairwise([0, *breaks, len(cycles)])]
    return [
        text
        for run in runs
        for text in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else [str(cycle) for cycle in run])
    ]


#: Accuracies closer than this are equal: means of the same counts may differ in their last bits.
ROUNDING = 1e-12
#: "Within 0.5 % of the best validation accuracy" (the paper's Section 5.4), as an absolute share.
TOLERANCE = 0.005


def optimized(means: FloatArray, tolerance: float) -> tuple[IntArray, IntArray, IntArray]:
    """The Oracle's decision on a grid, for many sets of means at a time.

    The optimum has the best mean, the smaller rate among equals. The interval is the contiguous run of grid
    values around it whose means lie within ``tolerance`` of the best.

    Args:
        means: (S, n), the mean accuracy of each candidate, candidates in the order of their rates.
        tolerance: absolute, in the unit of ``means``.

    Returns:
        Three arrays (S,) of indices of candidates: the optimum, the interval's first and its last.
    """
    highest = means.max(axis=1, keepdims=True)
    best = np.argmax(means >= highest - ROUNDING, axis=1)
    limit = np.take_along_axis(means, best[:, None], axis=1) - tolerance - ROUNDING
    index = np.arange(means.shape[1])
    far = means < limit
    first = np.where(far & (index < best[:, None]), index, -1).max(axis=1) + 1
    last = np.where(far & (index > best[:, None]), index, means.shape[1]).min(axis=1) - 1
    return best, first, last


@dataclass(frozen=True, kw_only=True, eq=False)
class CycleAccuracies:
    """The Oracle's accuracies of one pruning cycle: every candidate with every replicate.

    Attributes:
        cycle: m, the number of completed pruning cycles; an int of at least 0.
        rates: (n,), the candidates' max_lr, ascending, above 0.
        accuracies: (n, r), the validation accuracy of each candidate in each replicate, in [0, 1]: shares,
            not per cent. Replicate j is the same chain of networks in every cycle.

    Raises:
        InvalidInput: a value is outside its range, not finite, or the shapes don't fit.
    """

    cycle: int
    rates: FloatArray
    accuracies: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycle", checks.whole("cycle", self.cycle))
        rates = _numbers(f"the rates of cycle {self.cycle}", self.rates, "give one per candidate, each once")
        accuracies = _numbers(
            f"the accuracies of cycle {self.cycle}",
            self.accuracies,
            "give a row per candidate, with one number per replicate in each",
        )
        if rates.ndim != 1 or not rates.size or (rates <= 0).any() or (np.diff(rates) <= 0).any():
            raise InvalidInput(
                f"the rates of cycle {self.cycle} must be positive and ascend, not {rates.tolist()!r}: "
                "give one per candidate, each once"
            )
        if accuracies.ndim != 2 or accuracies.shape[0] != rates.size or not accuracies.shape[1]:
            raise InvalidInput(
                f"the accuracies of cycle {self.cycle} must have the shape (candidates, replicates), here "
                f"({rates.size}, r), not {accuracies.shape}"
            )
        outside = accuracies[(accuracies < 0) | (accuracies > 1)]
        if outside.size:
            raise InvalidInput(
                f"the accuracies of cycle {self.cycle} must lie in [0, 1], not {float(outside[0])!r}: "
                "95.3 % is 0.953"
            )
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "accuracies", accuracies)

    @property
    def replicates(self) -> int:
        """The number of trainings of each candidate."""
        return int(self.accuracies.shape[1])

    def interval(self, tolerance: float = TOLERANCE) -> CycleInterval:
        """The optimum and the optimized interval (the paper's Section 5.4), by the means over the replicates.

        Args:
            tolerance: how far below the best mean accuracy still counts as good; an absolute share.

        Raises:
            InvalidInput: ``tolerance`` is not in [0, 1].
        """
        check_tolerance(tolerance)
        best, first, last = optimized(self.accuracies.mean(axis=1)[None], tolerance)
        return grid_interval(self.cycle, self.rates.tolist(), int(best[0]), int(first[0]), int(last[0]))


def check_accuracies(accuracies: Iterable[CycleAccuracies]) -> tuple[CycleAccuracies, ...]:
    """The accuracies in the order of their cycles.

    Raises:
        InvalidInput: there are none, one is no CycleAccuracies, or two are of one cycle.
    """
    if not isinstance(accuracies, Iterable):
        raise InvalidInput(f"accuracies must be a list of CycleAccuracies, not {accuracies!r}")
    given = tuple(accuracies)
    if not given:
        raise InvalidInput("accuracies must not be empty: give a CycleAccuracies for each measured cycle")
    for one in given:
        if not isinstance(one, CycleAccuracies):
            raise InvalidInput(f"accuracies must be of type CycleAccuracies, not {one!r}")
    ordered = tuple(sorted(given, key=lambda one: one.cycle))
    for before, after in pairwise(ordered):
        if before.cycle == after.cycle:
            raise InvalidInput(f"the accuracies of cycle {after.cycle} were given twice: give them once")
    return ordered


def intervals_and_accuracies(
    measured: Iterable[CycleInterval] | Iterable[CycleAccuracies], tolerance: float
) -> tuple[tuple[CycleInterval, ...], tuple[CycleAccuracies, ...]]:
    """Both of what was measured, in the order of the cycles; no accuracies where intervals were given.

    Raises:
        InvalidInput: as ``check_intervals`` and ``check_accuracies``.
    """
    given = tuple(measured) if isinstance(measured, Iterable) else measured
    if isinstance(given, tuple) and any(isinstance(one, CycleAccuracies) for one in given):
        accuracies = check_accuracies(cast(tuple[CycleAccuracies, ...], given))
        return tuple(one.interval(tolerance) for one in accuracies), accuracies
    check_tolerance(tolerance)
    return check_intervals(cast(tuple[CycleInterval, ...], given)), ()


def grid_interval(cycle: int, rates: Sequence[float], best: int, first: int, last: int) -> CycleInterval:
    """The interval from the indices of its candidates; an end on the grid's edge is cut off."""
    return CycleInterval(
        cycle=cycle,
        optimum=rates[best],
        low=rates[first],
        high=rates[last],
        low_cut=first == 0,
        high_cut=last == len(rates) - 1,
    )


def check_tolerance(tolerance: object) -> float:
    """``tolerance`` as a share in [0, 1]. Raises InvalidInput otherwise."""
    share = checks.not_negative("tolerance", tolerance)
    if share > 1:
        raise InvalidInput(f"tolerance must be a share of at most 1, not {tolerance!r}: 0.5 % is 0.005")
    return share


def _numbers(name: str, values: npt.ArrayLike, advice: str) -> FloatArray:
    """A copy that can't be written to; what is no real number or not finite raises InvalidInput."""
    try:
        given = np.asarray(values)
    except ValueError:
        given = np.array(None)
    if given.dtype.kind not in "iuf":
        raise InvalidInput(f"{name} must be numbers, not {' '.join(repr(values).split())}: {advice}")
    array = given.astype(np.float64)
    wrong = array[~np.isfinite(array)]
    if wrong.size:
        raise InvalidInput(f"{name} must be finite, not {float(wrong[0])!r}: {advice}")
    array.setflags(write=False)
    return array


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
