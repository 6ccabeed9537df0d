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

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from silo import checks
from silo._arrays import FloatArray, IntArray
from silo.errors import InvalidInput
from silo.landscape.belief import CycleBelief
from silo.landscape.model import Known, Landscape
from silo.landscape.parts import Drawn
from silo.measured import CycleScores, optimized

Pair = tuple[int, int]
"""A rate, as its position in the cycle's grid, and a replicate."""

# How much a rate's loss counts beside its membership: losses tell the optima apart.
_LOSSES = 3.0
# Variance of a cycle's best score by the noise's, as far as the cycle before tells it.
_LEVEL = 25.0
# Pairs that explain as much but for this share are equal, so that rounding decides nothing.
_NEAR = 1e-6


def most_telling(
    landscape: Landscape,
    scores: CycleScores,
    drawn: Drawn,
    replicates: int,
    count: int,
    beside: tuple[Pair, ...] = (),
) -> tuple[Pair, ...]:
    """The pairs whose trainings together tell most; among equals the smaller rate, then replicate.

    What is not known are the draws' differences: which rates are inside the interval, and how far each is
    below the best. For every draw the outcomes of all pairs are simulated; regressed on a pair's outcomes,
    the draws' differences get smaller, and the pair that explains most is chosen, then the one that explains
    most of what is left, and so on.

    Args:
        landscape: The search's.
        scores: The cycle's trainings so far, if any; none of them is chosen again.
        drawn: What they, and those before, tell of the cycle.
        replicates: How many there are.
        count: How many pairs to choose.
        beside: Untrained pairs that will be trained whatever is chosen: what they tell is known then.

    Returns:
        ``count`` pairs, the most telling one first; fewer where fewer are left.
    """
    n = scores.grid.size
    free = np.ones((n, replicates), dtype=np.bool_)
    free[scores.index, scores.replicate] = False
    left = np.flatnonzero(free)
    if not left.size or count < 1:
        return ()
    value, failed = _outcomes(landscape, scores, drawn, replicates)
    features = np.concatenate([value[:, left], failed[:, left]], axis=1)
    features -= features.mean(axis=0)
    unknown = _unknown(drawn)
    settled = np.searchsorted(left, [rate * replicates + replicate for rate, replicate in beside]).tolist()
    count = min(count, left.size - len(settled))
    chosen = _greedy(features.T @ features, features.T @ unknown, count, settled)
    return tuple((int(left[k]) // replicates, int(left[k]) % replicates) for k in chosen)


def _unknown(drawn: Drawn) -> FloatArray:
    """(S, 2 n), what to tell: memberships of the interval, and losses, which count up to a tolerance."""
    means = drawn.means
    _, low, high = optimized(means, 1.0)
    index = np.arange(means.shape[1])
    inside = (index >= low[:, None]) & (index <= high[:, None])
    lost = np.minimum(means.max(axis=1, keepdims=True) - means, 1.0)
    found = np.concatenate([inside, _LOSSES * lost], axis=1)
    return np.asarray(found - found.mean(axis=0))


def _outcomes(
    landscape: Landscape, scores: CycleScores, drawn: Drawn, replicates: int
) -> tuple[FloatArray, FloatArray]:
    """(S, n R) each, rates first: every pair's score, where it does not collapse, and whether it does."""
    samples, n = drawn.curve.shape
    prior, x = landscape.prior, np.log(scores.grid)
    normal, uniform = _fixed(samples, n * replicates)
    failed = uniform < np.repeat(drawn.collapse, replicates, axis=1)
    # A draw's own level is no more than a convention: the level that is meant here is the best rate's.
    curve = np.maximum(drawn.curve - drawn.means.max(axis=1, keepdims=True), -prior.clip)
    near = np.exp(-0.5 * ((x[:, None] - x) / prior.shared_length) ** 2)
    # Of a training that collapsed, or might have, the score tells nothing of its replicate.
    calm = scores.score >= np.nanmax(scores.means, initial=-np.inf) - prior.clip * landscape.tolerance
    seen, chain = scores.index[calm], scores.replicate[calm]
    value = np.empty((samples, n * replicates))
    for shared in np.unique(drawn.shared):
        mine = drawn.shared == shared
        told, left = _left(shared * near + prior.replicate, 1 - float(shared), seen, chain, replicates)
        expected = np.repeat(curve[mine], replicates, axis=1) - curve[mine][:, seen] @ told.T
        value[mine] = expected + drawn.noise[mine, None] * (normal[mine] @ np.linalg.cholesky(left).T)
    # What the score of a collapse is plays no part: that it is one is a feature of its own.
    return np.where(failed, -prior.clip, value), failed.astype(np.float64)


def _left(
    common: FloatArray, own: float, seen: IntArray, chain: IntArray, replicates: int
) -> tuple[FloatArray, FloatArray]:
    """What a cycle's trainings tell of the level, the replicates' effects and their smooth deviations.

    Args:
        common: (n, n), covariance of what a replicate's rates have in common, by the noise's variance.
        own: Variance of a training's own noise, by the same.
        seen: (k,), the rate of each training.
        chain: (k,), its replicate.
        replicates: R.

    Returns:
        (n R, k): the weight of each training's deviation from the curve in the expected one of each pair; and
        (n R, n R): the covariance that is left, with the pairs' own noise.
    """
    every = _LEVEL + np.kron(common, np.eye(replicates))
    at = seen * replicates + chain
    told = np.linalg.solve(every[np.ix_(at, at)] + own * np.eye(at.size), every[at]).T
    left = every - told @ every[at]
    return told, 0.5 * (left + left.T) + own * np.eye(len(every))


def _greedy(gram: FloatArray, cross: FloatArray, count: int, settled: list[int]) -> list[int]:
    """Which pairs explain most, one after the other.

    Args:
        gram: (2 m, 2 m), products of the pairs' features: m scores, then m collapses.
        cross: (2 m, t), their products with what is to be explained.
        count: How many to choose, at most m without the settled.
        settled: Pairs that explain what they do beforehand.
    """
    m = len(gram) // 2
    begin = np.diag(gram).copy()
    chosen: list[int] = []
    for turn in range(len(settled) + count):
        size, both = np.diag(gram), gram[np.arange(m), np.arange(m) + m]
        counts = size[m:] > 1e-6 * np.maximum(begin[m:], 1.0)
        slope = np.divide(both, size[m:], out=np.zeros(m), where=counts)
        rest = size[:m] - slope * both
        score = cross[:m] - slope[:, None] * cross[m:]
        tells = rest > 1e-6 * begin[:m]
        gain = np.divide((score**2).sum(axis=1), rest, out=np.zeros(m), where=tells)
        gain += np.divide((cross[m:] ** 2).sum(axis=1), size[m:], out=np.zeros(m), where=counts)
        gain[chosen] = -1.0
        best = int(np.argmax(gain >= gain.max() * (1 - _NEAR)))
        best = settled[turn] if turn < len(settled) else best
        chosen.append(best)
        for column, usable in ((best + m, counts[best]), (best, tells[best])):
            if usable:
                row = gram[column] / gram[column, column]
                cross = cross - np.outer(row, cross[column])
                gram = gram - np.outer(row, gram[column])
    return chosen[len(settled) :]


@lru_cache(maxsize=4)
def _fixed(samples: int, pairs: int) -> tuple[FloatArray, FloatArray]:
    """(S, pairs) each: fixed numbers, standard normal and uniform."""
    random = np.random.default_rng(11)
    return random.standard_normal((samples, pairs)), random.random((samples, pairs))


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
