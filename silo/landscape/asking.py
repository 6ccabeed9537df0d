"""A cycle of an adaptive search after some of its trainings: which it asks for next, or what it chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from silo.landscape.begun import Begun, Round, Window, work
from silo.landscape.belief import CycleBelief
from silo.landscape.design import Pair, most_telling
from silo.landscape.draws import Drawn
from silo.landscape.model import Known, Landscape
from silo.landscape.scores import CycleScores

if TYPE_CHECKING:
    from silo.landscape.rounds import Adaptive

# A fall of the best score by so many clips asks for a coarse look; as does a jump with this chance.
_FALL = 3.0
_JUMPED = 0.5
# A better rate that lacks trainings is trained if it promises so many tolerances more.
_REGRET = 0.1
# Two humps in the first cycle ask for a look at so many times the rates; in a later one for a coarse look,
# unless the budget is overdrawn by so many cycles' shares.
_CLOSER = 2
_OVERDRAWN = 1.5


class Trained:
    """A cycle after some of its trainings. Within it a rate is its position in the window.

    Args:
        settings: Those of the search.
        landscape: On the cycle's grid.
        begun: The cycle.
        window: Its candidates.
        trained: The score of each pair of the grid that was trained.
        spent: What they took.
    """

    def __init__(
        self,
        settings: Adaptive,
        landscape: Landscape,
        begun: Begun,
        window: Window,
        trained: Mapping[Pair, float],
        spent: float,
    ) -> None:
        self._settings, self._landscape, self._begun, self._window = settings, landscape, begun, window
        self._trained = {(rate - window[0], replicate): score for (rate, replicate), score in trained.items()}
        self._left = settings.room(begun) - spent

    @cached_property
    def scores(self) -> CycleScores:
        """The cycle's trainings."""
        at = np.array(list(self._trained), dtype=np.intp).reshape(-1, 2)
        score = np.array(list(self._trained.values()), dtype=np.float64)
        grid = self._begun.grid[slice(*self._window)]
        return CycleScores(
            cycle=self._begun.cycle, grid=grid, index=at[:, 0], replicate=at[:, 1], score=score
        )

    @cached_property
    def known(self) -> Known | None:
        """What they tell; None where they say nothing of the rates."""
        if not self._trained:
            return self._landscape.predicted(self._begun.before, self._begun.cycle, self.scores.grid)
        return self._landscape.given(self.scores, self._begun.before)

    @cached_property
    def drawn(self) -> Drawn:
        """Draws of it."""
        assert self.known is not None, "a silent cycle has no draws"
        return self._landscape.drawn(self.known)

    @cached_property
    def belief(self) -> CycleBelief:
        """Chances and ranges."""
        assert self.known is not None, "a silent cycle has no belief"
        return self._landscape.belief(self.known, self.drawn)

    @cached_property
    def ahead(self) -> Trained:
        """The cycle before its first training."""
        return Trained(self._settings, self._landscape, self._begun, self._window, {}, 0)

    @property
    def chosen(self) -> int:
        """The rate that loses least of those that were trained in every replicate."""
        full = np.array(self._full)
        if self.known is None:
            return int(full[self.scores.means[full].argmax()])
        return self.belief.optimum(full)

    def next(self, rounds: int) -> Round:
        """The next round among these candidates; empty when there is none."""
        begun, settings = self._begun, self._settings
        replicates, room = begun.replicates, self._left
        if not self._trained:
            if begun.before is None:
                return self._lacking(self._spread(self._rates_for(room)))
            best = self._lacking([self._expected]) if begun.pack > 1 else ()
            reserved = replicates * work(1, begun.pack)
            asked = best + self._telling(settings.probes * replicates, room - reserved, best)
            if asked:
                return asked
        elif look := self._look():
            return look
        best_rate = self._expected
        missing = self._lacking([best_rate])
        if self.known is None or not self._full:
            return missing + self._telling(0, room - len(missing), missing)
        lack = (self.belief.means[self.chosen] - self.belief.means[best_rate]) / self._landscape.tolerance
        if lack > 1 or (lack > _REGRET and len(missing) <= room and rounds < settings.rounds):
            return missing + self._telling(0, room - len(missing), missing)
        if rounds >= settings.rounds or self.belief.sure >= settings.sure:
            return ()
        return self._telling(settings.more * replicates, room)

    def extension(self) -> Round:
        """The trainings of the next rate past an edge that the interval reaches; none where it is inside.

        The edge comes first where it was not trained yet.
        """
        if self.known is None:
            return ()
        low, high = self.belief.stated
        asked: Round = ()
        for end, edge, further, there in (
            (low, 0, -1, self._window[0] > 0),
            (high, self.scores.grid.size - 1, self.scores.grid.size, self._window[1] < self._begun.grid.size),
        ):
            if end == edge and there:
                asked += self._lacking([edge if self.scores.trained[edge] == 0 else further])
        return asked

    def _look(self) -> Round:
        """A coarse look at a cycle that seems to have nothing to do with the one before."""
        if self._begun.before is None:
            closer = self._spread(_CLOSER * self._settings.first)
            return self._lacking(closer) if self.known and self.belief.two_humps else ()
        return self._lacking(self._spread(self._looked_at)) if self._strange else ()

    @property
    def _strange(self) -> bool:
        """Whether the cycle seems to have nothing to do with the one before.

        Low scores say so where the best is expected: elsewhere they may well be low.
        """
        before = self._begun.before
        assert before is not None, "the first cycle has none before"
        if self.known is None:
            return self._expected in self._full
        fall = _FALL * self._landscape.prior.clip * self._landscape.tolerance
        fell = self.known.best < before.best - fall and self._expected in self._full
        overdrawn = self._begun.spent - self._settings.share * self._begun.exhaustive * self._begun.earlier
        affordable = overdrawn <= _OVERDRAWN * self._settings.share * self._begun.exhaustive
        split = affordable and self.belief.two_humps and not self.ahead.belief.two_humps
        return fell or split or self.known.curve.jumped > _JUMPED

    @property
    def _expected(self) -> int:
        """The best rate as far as known: where the cycle says nothing, by the one before."""
        if self.known is not None:
            return self.belief.optimum()
        if self._begun.before is None:
            return int(np.nanargmax(self.scores.means))
        return self.ahead.belief.optimum()

    @property
    def _full(self) -> list[int]:
        """The rates that were trained in every replicate."""
        return np.flatnonzero(self.scores.trained == self._begun.replicates).tolist()

    @property
    def _looked_at(self) -> int:
        """Rates of a coarse look: after a cycle that said nothing no more than there is room for."""
        begun, settings = self._begun, self._settings
        assert begun.before is not None, "only what was known can seem strange"
        if begun.cycle - begun.before.scores.cycle == 1:
            return settings.first
        room = settings.room(begun) - begun.replicates * work(settings.probes + 1, begun.pack)
        return self._rates_for(room) if room >= begun.replicates else 0

    def _rates_for(self, room: float) -> int:
        """The most rates of a look that can be trained in every replicate, and one at least."""
        begun = self._begun
        counts = range(self._settings.first, 0, -1)
        return next((k for k in counts if begun.replicates * work(k, begun.pack) <= room), 1)

    def _spread(self, count: int) -> list[int]:
        """So many rates, evenly over the candidates, without their ends where there are others."""
        at = np.linspace(0, self.scores.grid.size - 1, count + 2)[1:-1]
        return sorted({int(each) for each in np.floor(at + 0.5)})

    def _lacking(self, rates: list[int]) -> Round:
        """What these rates lack to be trained in every replicate."""
        pairs = ((rate, r) for rate in rates for r in range(self._begun.replicates))
        return tuple(pair for pair in pairs if pair not in self._trained)

    def _telling(self, count: int, room: float, beside: Round = ()) -> Round:
        """Pairs that tell most: so many, and as many as workers and packs have places for, if there is room.

        Args:
            count: How many are wanted at least.
            room: What they may take.
            beside: Pairs of the same round.
        """
        begun = self._begun
        places = begun.workers if begun.pack == 1 else begun.replicates * begun.pack
        count += -(count + len(beside)) % places
        while count > 0 and self._costs(count, beside) > room:
            count -= 1
        if count < 1 or self.known is None:
            return ()
        return most_telling(self._landscape, self.scores, self.drawn, begun.replicates, count, beside)

    def _costs(self, count: int, beside: Round) -> float:
        """What so many pairs take in addition to others, spread over the replicates."""
        begun = self._begun
        others = Counter(replicate for _, replicate in beside)
        each = [count // begun.replicates + (r < count % begun.replicates) for r in range(begun.replicates)]
        return sum(work(n + others[r], begun.pack) - work(others[r], begun.pack) for r, n in enumerate(each))
