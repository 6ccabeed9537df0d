"""The adaptive Oracle: which trainings a cycle asks for, round by round, and which rate it chooses.

    decision = Adaptive(share=0.25).decide(landscape, begun, trained)
    decision.asks    # pairs of a rate and a replicate; none when the cycle is decided
    decision.chosen  # then, a rate that was trained in every replicate

Per cycle (1) pairs that tell most under what the cycle before predicts, in the first cycle some rates in all
replicates; (2) the rate that the posterior loses least at, in every replicate that lacks it; (3) while there
is budget left and the interval's ends are not sure, more pairs that tell most. Where the best score falls far
below the last cycle's at that rate, too, or the curve has nothing to do with it, the whole grid gets a coarse
look, once.

All is a function of what was trained: each decision plays the cycle again from its beginning, so that a
search that was stopped goes on where it was, in the midst of a round, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from silo import checks
from silo._arrays import FloatArray
from silo.errors import InvalidInput
from silo.landscape.belief import CycleBelief
from silo.landscape.design import Pair, most_telling
from silo.landscape.draws import Drawn
from silo.landscape.model import Known, Landscape
from silo.landscape.scores import CycleScores

Round = tuple[Pair, ...]

# A fall of the best score by so many clips asks for a coarse look; as does a jump with this chance.
_FALL = 3.0
_JUMPED = 0.5
# A better rate that lacks trainings is trained if it promises so many tolerances more.
_REGRET = 0.1
# A cycle that finds the budget overdrawn leaves so much of its share to pay it back.
_PAID_BACK = 1 / 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Begun:
    """A cycle as it begins.

    Attributes:
        cycle: m, the number of completed pruning cycles.
        grid: (n,), its candidates, ascending.
        replicates: R.
        before: What the last cycle left that says something; None without one.
        earlier: How many cycles were decided before.
        spent: How many trainings they took.
    """

    cycle: int
    grid: FloatArray
    replicates: int
    before: Known | None = None
    earlier: int = 0
    spent: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """Where a cycle stands.

    Attributes:
        rounds: The rounds so far, the one under way included.
        asks: The pairs of the round under way that are to be trained; none when the cycle is decided.
        chosen: Position in the grid of the rate that it chose; None before that.
        known: Then, what its trainings tell; None before, and where they say nothing of the rates.
    """

    rounds: tuple[Round, ...]
    asks: Round
    chosen: int | None
    known: Known | None


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """The settings of an adaptive search.

    Attributes:
        share: Budget, by the trainings of all rates in all replicates; what a cycle leaves, later ones have.
        first: Rates of the first look, each in all replicates, which the budget need not cover.
        probes: Pairs of a later cycle's first round, by the number of replicates.
        more: Pairs of each further round, by the same.
        rounds: After so many a cycle ends, unless a rate that lacks trainings promises a tolerance more.
        sure: A cycle ends when both ends of the interval are right within a step with this chance.

    Raises:
        InvalidInput: A value is outside its range.
    """

    share: float = 0.25
    first: int = 7
    probes: int = 2
    more: int = 1
    rounds: int = 4
    sure: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < checks.finite("share", self.share) <= 1:
            raise InvalidInput(f"share must be above 0 and at most 1, not {self.share!r}: give 0.25")
        if not 0 < checks.finite("sure", self.sure) <= 1:
            raise InvalidInput(f"sure must be above 0 and at most 1, not {self.sure!r}: give 0.9")
        for name in ("first", "probes", "more", "rounds"):
            if checks.whole(name, getattr(self, name)) < 1:
                raise InvalidInput(f"{name} must be at least 1, not 0: give {getattr(Adaptive, name)}")

    def decide(
        self,
        landscape: Landscape,
        begun: Begun,
        trained: Mapping[Pair, float],
        rounds: Sequence[Round] = (),
    ) -> Decision:
        """The cycle's next round, or its decision.

        Args:
            landscape: On a grid that has the cycle's candidates.
            begun: The cycle.
            trained: The score of each pair of the cycle that was trained.
            rounds: Those of an earlier decision of the cycle, if kept: they are not worked out again.
        """
        found = list(rounds)
        while True:
            asks = tuple(pair for one in found for pair in one if pair not in trained)
            if asks:
                return Decision(rounds=tuple(found), asks=asks, chosen=None, known=None)
            played = {pair: trained[pair] for one in found for pair in one}
            asked = _State(self, landscape, begun, played).next(len(found))
            if not asked:
                # What was trained beyond the rounds, as by another machine, tells something, too.
                last = _State(self, landscape, begun, trained)
                return Decision(rounds=tuple(found), asks=(), chosen=last.chosen, known=last.known)
            found.append(asked)

    def room(self, begun: Begun) -> int:
        """How many trainings a cycle may ask for, but for a coarse look, or a rate that turns out far better.

        Whatever was spent, a rate can be trained in every replicate, and mostly some pairs beside it.
        """
        replicates = begun.replicates
        each = self.share * begun.grid.size * replicates
        allowed = int(np.floor(each * (begun.earlier + 1) - begun.spent + 1e-9))
        least = min(int(np.floor((1 - _PAID_BACK) * each)), (self.probes + 1) * replicates)
        first = 0 if begun.spent else (self.first + 1) * replicates
        return max(allowed, least, replicates, first)


@dataclass(frozen=True, eq=False)
class _State:
    """A cycle after some of its trainings."""

    settings: Adaptive
    landscape: Landscape
    begun: Begun
    trained: Mapping[Pair, float]

    @cached_property
    def scores(self) -> CycleScores:
        at = np.array(list(self.trained), dtype=np.intp).reshape(-1, 2)
        score = np.array(list(self.trained.values()), dtype=np.float64)
        begun = self.begun
        return CycleScores(
            cycle=begun.cycle, grid=begun.grid, index=at[:, 0], replicate=at[:, 1], score=score
        )

    @cached_property
    def known(self) -> Known | None:
        if not self.trained:
            return self.landscape.predicted(self.begun.before, self.begun.cycle, self.begun.grid)
        return self.landscape.given(self.scores, self.begun.before)

    @cached_property
    def drawn(self) -> Drawn:
        assert self.known is not None, "a silent cycle has no draws"
        return self.landscape.drawn(self.known)

    @cached_property
    def belief(self) -> CycleBelief:
        assert self.known is not None, "a silent cycle has no belief"
        return self.landscape.belief(self.known, self.drawn)

    @property
    def full(self) -> list[int]:
        """The rates that were trained in every replicate."""
        return np.flatnonzero(self.scores.trained == self.begun.replicates).tolist()

    @property
    def chosen(self) -> int:
        full = np.array(self.full)
        if self.known is None:
            return int(full[self.scores.means[full].argmax()])
        return self.belief.optimum(full)

    def next(self, rounds: int) -> Round:
        """The next round; empty when the cycle is decided."""
        begun, settings = self.begun, self.settings
        room = settings.room(begun) - len(self.trained)
        if not self.trained:
            if begun.before is None:
                return self._lacking(self._spread(min(settings.first, max(room // begun.replicates, 1))))
            probes = min(settings.probes * begun.replicates, room - begun.replicates)
            if probes > 0:
                return self._telling(probes)
        elif self._strange:
            look = self._lacking(self._spread(self._looked_at))
            if look:
                return look
        best = self._expected
        missing = self._lacking([best])
        if self.known is None or not self.full:
            return missing
        lack = (self.belief.means[self.chosen] - self.belief.means[best]) / self.landscape.tolerance
        if lack > 1 or (lack > _REGRET and len(missing) <= room and rounds < settings.rounds):
            return missing
        if rounds >= settings.rounds or room <= 0 or self.belief.sure >= settings.sure:
            return ()
        return self._telling(min(settings.more * begun.replicates, room))

    @property
    def _strange(self) -> bool:
        """Whether the cycle seems to have nothing to do with the one before.

        Low scores say so where the best is expected: elsewhere they may well be low.
        """
        before = self.begun.before
        if before is None:
            return False
        if self.known is None:
            return self._expected in self.full
        fall = _FALL * self.landscape.prior.clip * self.landscape.tolerance
        fell = self.known.best < before.best - fall and self._expected in self.full
        return fell or self.known.curve.jumped > _JUMPED

    @property
    def _expected(self) -> int:
        """The best rate as far as known: where the cycle says nothing, by the one before."""
        if self.known is not None:
            return self.belief.optimum()
        if self.begun.before is None:
            return int(np.nanargmax(self.scores.means))
        return _State(self.settings, self.landscape, self.begun, {}).belief.optimum()

    @property
    def _looked_at(self) -> int:
        """Rates of a coarse look: after a cycle that said nothing no more than there is room for."""
        begun, settings = self.begun, self.settings
        assert begun.before is not None, "only what was known can seem strange"
        if begun.cycle - begun.before.scores.cycle == 1:
            return settings.first
        return min(settings.first, max(settings.room(begun) // begun.replicates - settings.probes - 1, 0))

    def _spread(self, count: int) -> list[int]:
        """So many rates, evenly over the grid, without its ends where there are others."""
        at = np.linspace(0, self.begun.grid.size - 1, count + 2)[1:-1]
        return sorted({int(each) for each in np.floor(at + 0.5)})

    def _lacking(self, rates: list[int]) -> Round:
        """What these rates lack to be trained in every replicate."""
        pairs = ((rate, r) for rate in rates for r in range(self.begun.replicates))
        return tuple(pair for pair in pairs if pair not in self.trained)

    def _telling(self, count: int) -> Round:
        return most_telling(self.landscape, self.scores, self.drawn, self.begun.replicates, count)
