"""The adaptive Oracle: which trainings a cycle asks for, round by round, and which rate it chooses.

    decision = Adaptive(share=0.25).decide(landscape, begun, trained)
    decision.asks    # pairs of a rate and a replicate; none when the cycle is decided
    decision.chosen  # then, a rate that was trained in every replicate

Per cycle (1) pairs that tell most under what the cycle before predicts, in the first cycle some rates in all
replicates; (2) the rate that the posterior loses least at, in every replicate that lacks it; (3) while there
is budget left and the interval's ends are not sure, more pairs that tell most; (4) past an edge of the grid
that the interval reaches, the next rate, in every replicate. Where the best score falls far below the last
cycle's at that rate, too, where the curve has nothing to do with it, or where two humps show that it had not,
the whole grid gets a coarse look, once; where the first cycle has two humps, a closer one.

All is a function of what was trained: each decision plays the cycle again from its beginning, so that a
search that was stopped goes on where it was, in the midst of a round, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from silo import checks
from silo.errors import InvalidInput
from silo.landscape.asking import Trained
from silo.landscape.begun import Begun, Round, Window, round_work, work
from silo.landscape.design import Pair
from silo.landscape.model import Known, Landscape

# A cycle that finds the budget overdrawn leaves so much of its share to pay it back.
_PAID_BACK = 1 / 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """Where a cycle stands.

    Attributes:
        rounds: The rounds so far, the one under way included.
        asks: The pairs of the round under way that are to be trained; none when the cycle is decided.
        chosen: Position in the grid of the rate that it chose; None before that.
        known: Then, what its trainings tell; None before, and where they say nothing of the rates.
        window: Its candidates.
    """

    rounds: tuple[Round, ...]
    asks: Round
    chosen: int | None
    known: Known | None
    window: Window


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
            landscape: On the cycle's grid.
            begun: The cycle.
            trained: The score of each pair of the cycle that was trained.
            rounds: Those of an earlier decision of the cycle, if kept: they are not worked out again.

        Raises:
            InvalidInput: A pair is none of the cycle's.
        """
        _check_pairs(begun, [*trained, *(pair for each in rounds for pair in each)])
        found = list(rounds)
        window = opened(landscape, begun)
        while True:
            asked = [pair for one in found for pair in one]
            window = _around(window, asked)
            asks = tuple(pair for pair in asked if pair not in trained)
            if asks:
                return Decision(rounds=tuple(found), asks=asks, chosen=None, known=None, window=window)
            spent = sum(round_work(one, begun.pack) for one in found)
            state = Trained(self, landscape, begun, window, {pair: trained[pair] for pair in asked}, spent)
            following = state.next(len(found)) or state.extension()
            if not following:
                return self.decided(landscape, begun, trained, found)
            found.append(tuple((rate + window[0], replicate) for rate, replicate in following))

    def decided(
        self, landscape: Landscape, begun: Begun, trained: Mapping[Pair, float], rounds: Sequence[Round] = ()
    ) -> Decision:
        """The cycle's decision by all that was trained, be it more than its rounds asked for.

        Args:
            landscape: On the cycle's grid.
            begun: The cycle.
            trained: The score of each pair of the cycle that was trained; of one rate at least in every
                replicate.
            rounds: Its rounds.

        Raises:
            InvalidInput: A pair is none of the cycle's.
        """
        _check_pairs(begun, trained)
        window = _around(opened(landscape, begun), trained)
        state = Trained(self, landscape, begun, window, trained, 0)
        chosen = state.chosen + window[0]
        return Decision(rounds=tuple(rounds), asks=(), chosen=chosen, known=state.known, window=window)

    def room(self, begun: Begun) -> float:
        """What a cycle may take, but for a coarse look, an extension, or a rate that turns out far better.

        Whatever was spent, a rate can be trained in every replicate, and mostly some pairs beside it.
        """
        each = self.share * begun.exhaustive
        allowed = each * (begun.earlier + 1) - begun.spent
        one = begun.replicates * work(1, begun.pack)
        least = min((1 - _PAID_BACK) * each, begun.replicates * work(self.probes + 1, begun.pack))
        first = 0 if begun.spent else begun.replicates * work(self.first + 1, begun.pack)
        return float(np.floor(2 * max(allowed, least, one, first) + 1e-9)) / 2


def _check_pairs(begun: Begun, pairs: Iterable[Pair]) -> None:
    for rate, replicate in pairs:
        if not (0 <= rate < begun.grid.size and 0 <= replicate < begun.replicates):
            raise InvalidInput(
                f"cycle {begun.cycle} has {begun.grid.size} rates and {begun.replicates} replicates, counted "
                f"from 0, and no pair ({rate}, {replicate})"
            )


def opened(landscape: Landscape, begun: Begun) -> Window:
    """The candidates that a cycle begins with.

    Beyond the base they are as many of those that the cycle before had as its interval is likely to reach
    now, and one.
    """
    first, end = begun.window
    if begun.before is None:
        return first, end
    tried = np.searchsorted(begun.grid, begun.before.scores.grid)
    wide = min(first, int(tried[0])), max(end, int(tried[-1]) + 1)
    if wide == (first, end):
        return first, end
    ahead = landscape.predicted(begun.before, begun.cycle, begun.grid[slice(*wide)])
    low, high = landscape.belief(ahead, landscape.drawn(ahead)).stated
    return max(wide[0], min(first, wide[0] + low - 1)), min(wide[1], max(end, wide[0] + high + 2))


def _around(window: Window, pairs: Iterable[Pair]) -> Window:
    """A window with all rates that were asked for."""
    rates = {rate for rate, _ in pairs} | {window[0], window[1] - 1}
    return min(rates), max(rates) + 1
