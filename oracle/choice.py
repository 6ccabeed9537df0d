"""The rule ``posterior``: prune what loses least by all that is known of the landscape, not by the means.

The best of noisy means is a lucky one as often as a good one, and its networks go on for all later cycles.
The landscape's model takes the neighbours of a rate, the cycles before and the edge of collapse into account.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oracle.cycles import Cycle
from oracle.learned import Learned

_ALIKE = 1e-6
"""Losses this close are equal, as shares of accuracy: machines differ in the last bits of a posterior."""


class PosteriorChoice:
    """Chooses cycle after cycle, from the trainings of each and of those before it.

    Args:
        tolerance: How far below the best a score may be, as a share; 0 leaves every choice to the means.
        chance: The accuracy up to which a network may be guessing, if known.
    """

    def __init__(self, tolerance: float, chance: float | None) -> None:
        self._tolerance, self._learned = tolerance, Learned(tolerance, chance)

    def __call__(self, cycles: Sequence[Cycle]) -> float | None:
        """The rate whose networks lose least, of the last one of the cycles; the smaller among equals.

        Args:
            cycles: All cycles up to it, by the point rule; every candidate was trained in every replicate.

        Returns:
            None where the means decide: there is one candidate, no rate learned anything, or two humps are
            good, which the model knows least of.
        """
        last = cycles[-1]
        if self._tolerance <= 0 or len(last.candidates) < 2:
            return None
        known = self._learned.from_cycles(cycles)
        (belief,) = self._learned.landscape.beliefs([last.scores], known[-1:])
        if belief.silent or belief.two_humps:
            return None
        least = int(np.flatnonzero(belief.means <= belief.means.min() + _ALIKE)[0])
        return last.candidates[least].max_lr
