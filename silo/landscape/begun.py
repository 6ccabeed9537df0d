"""A cycle of an adaptive search as it begins, and what its trainings take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from silo._arrays import FloatArray
from silo.landscape.design import Pair
from silo.landscape.model import Known

Round = tuple[Pair, ...]
Window = tuple[int, int]
"""Positions in the grid of its first rate under consideration, and of the one after the last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Begun:
    """A cycle as it begins.

    Attributes:
        cycle: m, the number of completed pruning cycles.
        grid: (n,), all rates that it may try, ascending.
        replicates: R.
        before: What the last cycle left that says something; None without one.
        earlier: How many cycles were decided before.
        spent: What they took, see :func:`work`.
        base: The candidates that it begins with; by default the whole grid. The others extend them.
        workers: How many trainings, or packs of them, go side by side.
        pack: How many rates of a replicate are trained together at most.
    """

    cycle: int
    grid: FloatArray
    replicates: int
    before: Known | None = None
    earlier: int = 0
    spent: float = 0
    base: Window | None = None
    workers: int = 1
    pack: int = 1

    @property
    def window(self) -> Window:
        """The candidates that the cycle begins with, but for an extension that the one before had."""
        return self.base or (0, self.grid.size)

    @property
    def exhaustive(self) -> float:
        """What a cycle takes in which all candidates are trained in all replicates."""
        first, end = self.window
        return self.replicates * work(end - first, self.pack)


def work(rates: int, pack: int) -> float:
    """What it takes to train so many rates of a replicate at a time, by what one rate alone takes.

    Half of a training that goes alone is the same for a whole pack: about so it was measured for small
    networks with a compiled step on one core. Without packs it is the number of trainings.

    Args:
        rates: How many.
        pack: How many of them are trained together at most.
    """
    return (-(-rates // pack) + rates) / 2


def round_work(asked: Round, pack: int) -> float:
    """What a round takes."""
    counts = Counter(replicate for _, replicate in asked)
    return sum(work(count, pack) for count in counts.values())
