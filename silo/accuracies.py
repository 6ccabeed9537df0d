"""The Oracle's rule: from a cycle's accuracies to its optimum and optimized interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt

from silo import checks
from silo._arrays import FloatArray, IntArray
from silo.errors import InvalidInput
from silo.intervals import CycleInterval, check_intervals

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
