"""The rule ``posterior``: prune what loses least by all that is known of the landscape, not by the means.

The best of noisy means is a lucky one as often as a good one, and its networks go on for all later cycles.
The landscape's model takes the neighbours of a rate, the cycles before and the edge of collapse into account.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oracle.cycles import Cycle
from silo.landscape import CycleScores, Landscape
from silo.landscape.model import Known

_ALIKE = 1e-6
"""Losses this close are equal, as shares of accuracy: machines differ in the last bits of a posterior."""


class PosteriorChoice:
    """Chooses cycle after cycle, from the trainings of each and of those before it.

    The same trainings give the same choice, whatever was asked before: what is kept saves time only.

    Args:
        tolerance: How far below the best a score may be, as a share; 0 leaves every choice to the means.
        chance: The accuracy up to which a network may be guessing, if known.
    """

    def __init__(self, tolerance: float, chance: float | None) -> None:
        self._tolerance, self._chance = tolerance, chance
        self._landscape: Landscape | None = None
        self._known: list[Known | None] = []

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
        scores = [CycleScores.of(each.accuracies) for each in cycles]
        known = self._filtered(scores)
        assert self._landscape is not None, "the filter made one"
        (belief,) = self._landscape.beliefs(scores[-1:], known[-1:])
        if belief.silent or belief.two_humps:
            return None
        least = int(np.flatnonzero(belief.means <= belief.means.min() + _ALIKE)[0])
        return last.candidates[least].max_lr

    def _filtered(self, scores: Sequence[CycleScores]) -> list[Known | None]:
        """What each cycle leaves, on the grid of all rates up to the last; begun anew once that has grown."""
        rates = np.unique(np.concatenate([one.grid for one in scores]))
        if self._landscape is None or not np.array_equal(self._landscape.rates, rates):
            self._landscape, self._known = Landscape(rates, self._tolerance, self._chance), []
        for one in scores[len(self._known) :]:
            before = next((known for known in reversed(self._known) if known is not None), None)
            self._known.append(self._landscape.given(one, before))
        return self._known[: len(scores)]
