"""What decided cycles tell of the rates, one after the other: the model's forward pass over a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oracle.cycles import Candidate, Cycle
from silo._arrays import FloatArray
from silo.landscape import Known, Landscape
from silo.measured import TOLERANCE


class Learned:
    """Learns from cycle after cycle. The same cycles give the same, whatever was asked before.

    What was learned from a cycle is kept as long as it is one of those asked for, which saves time only.

    Args:
        tolerance: How far below the best a score may be, as a share; with 0 scores are measured in 0.005.
        chance: The accuracy up to which a network may be guessing, if known.
        rates: All that any cycle may try, ascending; by default those of the cycles asked for.
    """

    def __init__(self, tolerance: float, chance: float | None, rates: Sequence[float] | None = None) -> None:
        self._tolerance, self._chance, self._rates = tolerance or TOLERANCE, chance, rates
        self._candidates: list[tuple[Candidate, ...]] = []
        self._known: list[Known | None] = []
        self.landscape = self._on(np.array([1.0] if rates is None else rates))

    def from_cycles(self, cycles: Sequence[Cycle]) -> list[Known | None]:
        """What each of the cycles leaves, ascending; None of one that says nothing of the rates."""
        if self._rates is None and cycles:
            rates = np.unique(np.concatenate([each.grid for each in cycles]))
            if not np.array_equal(rates, self.landscape.rates):
                self.landscape, self._known, self._candidates = self._on(rates), [], []
        same = 0
        for kept, each in zip(self._candidates, cycles, strict=False):
            if kept is not each.candidates:
                break
            same += 1
        del self._known[same:], self._candidates[same:]
        for each in cycles[same:]:
            self._known.append(self.landscape.given(each.scores, last_known(self._known)))
            self._candidates.append(each.candidates)
        return list(self._known)

    def _on(self, rates: FloatArray) -> Landscape:
        return Landscape(rates, self._tolerance, self._chance)


def last_known(known: Sequence[Known | None]) -> Known | None:
    """What the last cycle that says something left; None without one."""
    return next((each for each in reversed(known) if each is not None), None)
