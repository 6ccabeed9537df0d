"""How far a network is pruned, in prunings of a rate p, where those that were made took other shares."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from silo import checks
from silo._arrays import FloatArray
from silo.errors import InvalidInput

# Densities this close to (1 − p)^m, as a share of it, are those of p: pruners round, or leave a classifier.
_ALIKE = 0.01


def check_densities(densities: Sequence[float]) -> tuple[float, ...]:
    """Densities of cycles 0, 1, … as floats.

    Raises:
        InvalidInput: they are no shares in (0, 1], or rise.
    """
    if isinstance(densities, str) or not isinstance(densities, Sequence):
        raise InvalidInput(f"densities must be a list of shares, not {densities!r}: give [1.0, 0.8, 0.64]")
    found = tuple(checks.positive("each of densities", share) for share in densities)
    if any(share > 1 for share in found) or any(later > share for share, later in pairwise(found)):
        raise InvalidInput(
            f"densities must be shares of at most 1 that don't rise, not {list(found)!r}: of cycles 0, 1, …"
        )
    return found


def unlike(densities: Sequence[float], pruning_rate: float, planned: Sequence[float] = ()) -> bool:
    """Whether densities of cycles 0, 1, … are others than those planned, or that ``pruning_rate`` leaves."""
    count = len(densities)
    expected = np.asarray(planned[:count]) if planned else (1 - pruning_rate) ** np.arange(count)
    return bool((np.abs(np.asarray(densities) / expected - 1) > _ALIKE).any())


def depth(cycle: npt.ArrayLike, densities: Sequence[float], pruning_rate: float) -> FloatArray:
    """log λ / log(1 − p): by so many prunings of p a network has what is left of it at each cycle.

    Args:
        cycle: m, at least 0, of any shape; between whole ones the same share is pruned all along.
        densities: λ of cycles 0, 1, …; p is pruned beyond them, or from the start where there are none.
        pruning_rate: p, in (0, 1).
    """
    cycles = np.asarray(cycle, dtype=np.float64)
    if not densities:
        return cycles
    known = _depths(densities, pruning_rate)
    beyond = np.maximum(cycles - (len(known) - 1), 0.0)
    return np.asarray(np.interp(cycles, np.arange(len(known)), known) + beyond)


def cycle_of(depths: float, densities: Sequence[float], pruning_rate: float) -> float:
    """The first cycle, a real number, that is so many prunings of p deep."""
    if not densities:
        return depths
    known = _depths(densities, pruning_rate)
    if depths > known[-1]:
        return len(known) - 1 + depths - float(known[-1])
    after = int(np.searchsorted(known, depths))
    if after == 0:
        return 0.0
    return after - float((known[after] - depths) / (known[after] - known[after - 1]))


def _depths(densities: Sequence[float], pruning_rate: float) -> FloatArray:
    return np.asarray(np.log(np.asarray(densities)) / np.log1p(-pruning_rate)) + 0.0
