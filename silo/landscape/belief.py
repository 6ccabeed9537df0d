"""What is known of one cycle, counted in draws; what curves of rates lose; and what would tell more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo.landscape.parts import PRIOR
from silo.measured import cycles_in_words, optimized

Verdict = Literal["inside", "outside", "unknown"]

#: A verdict is stated at this chance or more.
SURE = 0.9
#: Two humps are stated where so many draws have a valley between them, half the tolerance deep or more.
_HUMPS = 0.5


class Loss(NamedTuple):
    """What a rate loses against the cycle's best.

    Attributes:
        mean: Its mean.
        low: Lower end of the 90 % range.
        high: Upper end.
        within: Chance that it is at most the tolerance.
    """

    mean: float
    low: float
    high: float
    within: float

    @property
    def verdict(self) -> Verdict:
        """Whether a rate is within the tolerance of the best, if that can be told."""
        if np.isnan(self.within):
            return "unknown"
        return "inside" if self.within >= SURE else "outside" if self.within <= 1 - SURE else "unknown"


@dataclass(frozen=True, kw_only=True, eq=False)
class CycleBelief:
    """What the trainings tell of one cycle's rates.

    Attributes:
        cycle: m.
        rates: (n,), the cycle's candidates, ascending.
        trained: (n,), in how many replicates each was trained.
        tolerance: How far below the best a score may be.
        draws: (S, n), draws of the mean score that infinitely many replicates would have, up to a level that
            is common to a draw's rates; None where the cycle says nothing: at no rate anything was learned.
        noise: Standard deviation of a training's score at one rate, as the replicates tell it.
        jumped: Chance that the cycle's curve has nothing to do with that of the cycle before.
        alike: Whether all its trainings reached the very same score.
    """

    cycle: int
    rates: FloatArray
    trained: IntArray
    tolerance: float
    draws: FloatArray | None
    noise: float
    jumped: float
    alike: bool = False

    @property
    def silent(self) -> bool:
        """Whether the cycle says nothing of the rates."""
        return self.draws is None

    @cached_property
    def ends(self) -> tuple[IntArray, IntArray, IntArray]:
        """(S,) each: indices of the optimum and the interval's two ends, per draw."""
        assert self.draws is not None, "a silent cycle has no draws: ask ``silent`` first"
        return optimized(self.draws, self.tolerance)

    @cached_property
    def inside(self) -> FloatArray:
        """(n,), the chance that each candidate lies in the optimized interval; NaN where nothing is known."""
        if self.draws is None:
            return np.full(self.rates.size, np.nan)
        _, low, high = self.ends
        index = np.arange(self.rates.size)
        return np.asarray(((index >= low[:, None]) & (index <= high[:, None])).mean(axis=0))

    @cached_property
    def best(self) -> FloatArray:
        """(n,), the chance that each candidate is the optimum; NaN where nothing is known."""
        if self.draws is None:
            return np.full(self.rates.size, np.nan)
        return np.bincount(self.ends[0], minlength=self.rates.size) / len(self.draws)

    @cached_property
    def means(self) -> FloatArray:
        """(n,), the mean loss of each candidate against the best; NaN where nothing is known."""
        if self.draws is None:
            return np.full(self.rates.size, np.nan)
        return np.asarray((self.draws.max(axis=1, keepdims=True) - self.draws).mean(axis=0))

    def optimum(self, among: IntArray | None = None) -> int:
        """Index of the candidate that loses least on average, the smaller rate among equals.

        Args:
            among: Indices to choose from, all by default.
        """
        known = np.arange(self.rates.size) if among is None else np.asarray(among)
        return int(known[np.argmin(self.means[known])])

    @cached_property
    def stated(self) -> tuple[int, int]:
        """Indices of the likeliest interval's ends: the run around the optimum that is rather in than out."""
        first = last = self.optimum()
        while first > 0 and self.inside[first - 1] >= 0.5:
            first -= 1
        while last < self.rates.size - 1 and self.inside[last + 1] >= 0.5:
            last += 1
        return first, last

    @cached_property
    def sure(self) -> float:
        """Chance that both ends of the likeliest interval are right within a step of the grid."""
        if self.draws is None:
            return float("nan")
        _, low, high = self.ends
        first, last = self.stated
        return float(((abs(low - first) <= 1) & (abs(high - last) <= 1)).mean())

    def end_range(self, end: Literal["low", "high"], level: float = 0.9) -> tuple[float, float]:
        """The central share ``level`` of an end's rates, as candidates; NaN where nothing is known."""
        if self.draws is None:
            return float("nan"), float("nan")
        at = self.ends[1 if end == "low" else 2]
        tails = (1 - level) / 2, (1 + level) / 2
        first, last = np.quantile(at, tails, method="closest_observation").astype(int)
        return float(self.rates[first]), float(self.rates[last])

    def core(self) -> tuple[float, float] | None:
        """The rates that are surely inside: the run of candidates with a chance of 0.9; None without one."""
        return self._run(SURE)

    def reach(self) -> tuple[float, float] | None:
        """The rates that may be inside: all beyond them are outside with a chance of 0.9."""
        return self._run(1 - SURE)

    def _run(self, chance: float) -> tuple[float, float] | None:
        at = np.flatnonzero(self.inside >= chance)
        return (float(self.rates[at[0]]), float(self.rates[at[-1]])) if at.size else None

    def losses(self, rate: float) -> FloatArray:
        """(S,), what a rate loses against the best: linear in ln(max_lr) between candidates.

        Beyond the candidates it is taken to lose what the grid's end loses.
        """
        assert self.draws is not None, "a silent cycle has no draws: ask ``silent`` first"
        inside = min(max(rate, float(self.rates[0])), float(self.rates[-1]))
        at = float(np.interp(np.log(inside), np.log(self.rates), np.arange(self.rates.size)))
        left = min(int(at), max(self.rates.size - 2, 0))
        right = min(left + 1, self.rates.size - 1)
        value = (1 - (at - left)) * self.draws[:, left] + (at - left) * self.draws[:, right]
        return np.asarray(self.draws.max(axis=1) - value)

    def loss(self, rate: float) -> Loss:
        """What a rate loses against the best of the candidates; NaN where that is not known.

        Beyond the grid nothing is known of a rate, unless the grid's end is outside already.
        """
        nothing = Loss(*[float("nan")] * 4)
        if self.draws is None:
            return nothing
        lost = self.losses(rate)
        low, high = np.quantile(lost, (0.05, 0.95))
        found = Loss(
            mean=float(lost.mean()),
            low=float(low),
            high=float(high),
            within=float((lost <= self.tolerance).mean()),
        )
        slack = 1e-9
        beyond = not self.rates[0] * (1 - slack) <= rate <= self.rates[-1] * (1 + slack)
        return nothing if beyond and found.verdict != "outside" else found

    @cached_property
    def two_humps(self) -> bool:
        """Whether two humps, rather than one, reach to within the tolerance of the best.

        The interval is a run of rates around the best one: it tells half then, and which half is luck.
        """
        if self.draws is None or self.rates.size < 3:
            return False
        up = np.maximum.accumulate(self.draws, axis=1)
        down = np.maximum.accumulate(self.draws[:, ::-1], axis=1)[:, ::-1]
        lower = np.minimum(up, down)
        good = lower >= self.draws.max(axis=1, keepdims=True) - self.tolerance
        valley = good & (lower - self.draws > self.tolerance / 2)
        return bool(valley.any(axis=1).mean() >= _HUMPS)


# Candidates for the best constant: 200 over the grid, a few for each of its values.
_CONSTANTS = 200
_SAME = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedCurve:
    """A curve of rates, at each cycle that says something.

    Attributes:
        rates: Its rate per cycle.
        beliefs: The cycles, without the silent ones.
    """

    rates: FloatArray
    beliefs: tuple[CycleBelief, ...]

    @cached_property
    def losses(self) -> tuple[Loss, ...]:
        """What it loses at each cycle."""
        pairs = zip(self.beliefs, self.rates, strict=True)
        return tuple(belief.loss(float(rate)) for belief, rate in pairs)

    @cached_property
    def draws(self) -> FloatArray:
        """(S, cycles), what it loses per draw; beyond a cycle's grid what the grid's end loses."""
        pairs = zip(self.beliefs, self.rates, strict=True)
        return np.stack([belief.losses(float(rate)) for belief, rate in pairs], axis=1)

    def cycles(self, verdict: Verdict) -> tuple[int, ...]:
        """The cycles at which it is inside, outside, or where that can't be told."""
        pairs = zip(self.beliefs, self.losses, strict=True)
        return tuple(belief.cycle for belief, loss in pairs if loss.verdict == verdict)

    @property
    def known(self) -> bool:
        """Whether it is known at each of the cycles what it loses: it isn't beyond a grid."""
        return not any(np.isnan(loss.mean) for loss in self.losses)

    @property
    def mean(self) -> Loss:
        """What it loses on average over the cycles, and the chance that it is within the tolerance in all.

        NaN where it leaves a cycle's grid, as nothing is known there.
        """
        if not self.known:
            return Loss(*[float("nan")] * 4)
        lost = self.draws.mean(axis=1)
        low, high = np.quantile(lost, (0.05, 0.95))
        limits = np.array([belief.tolerance for belief in self.beliefs])
        everywhere = float((self.draws <= limits).all(axis=1).mean())
        return Loss(mean=float(lost.mean()), low=float(low), high=float(high), within=everywhere)

    def better_than(self, other: JudgedCurve, same: float = _SAME) -> float:
        """The chance that it loses less than another one, on average over the cycles.

        Args:
            other: The other one, of the same cycles.
            same: What differs by no more than this share of the tolerance is the same, and counts half.

        Returns:
            NaN where one of them isn't known.
        """
        if not (self.known and other.known):
            return float("nan")
        gap = other.draws.mean(axis=1) - self.draws.mean(axis=1)
        alike = abs(gap) <= same * max(belief.tolerance for belief in self.beliefs)
        return float(((gap > 0) & ~alike).mean() + 0.5 * alike.mean())


def judge(beliefs: Sequence[CycleBelief], max_lr: Callable[[int], float]) -> JudgedCurve | None:
    """A curve against what is known of the cycles; None where no cycle says anything.

    Args:
        beliefs: What is known, as ``learn`` returns it: draws of all cycles together.
        max_lr: Cycle to rate.
    """
    told = tuple(belief for belief in beliefs if not belief.silent)
    if not told:
        return None
    return JudgedCurve(rates=np.array([float(max_lr(belief.cycle)) for belief in told]), beliefs=told)


def best_constant(beliefs: Sequence[CycleBelief]) -> JudgedCurve | None:
    """The constant rate that loses least on average; None where no cycle says anything."""
    told = [belief for belief in beliefs if not belief.silent]
    if not told:
        return None
    low, high = min(each.rates[0] for each in told), max(each.rates[-1] for each in told)
    tried = np.unique(np.concatenate([np.geomspace(low, high, _CONSTANTS), *(each.rates for each in told)]))
    mean = np.zeros(tried.size)
    for each in told:  # loss is linear in the draws, so the mean draw tells the mean loss
        at = np.interp(np.log(tried), np.log(each.rates), -each.means)
        mean += at
    best = float(tried[int(mean.argmax())])
    return judge(told, lambda _: best)


#: The numbers of more replicates that are tried.
NUMBERS = (1, 2, 4, 8, 16)
_MOST = 0.5
# Simulated searches: a few are enough for "most", and large searches get fewer.
_SIMULATIONS, _FEWEST, _DRAWS = 12, 4, 512
_SIZE_OF_ALL = 150
# So many cycles apart draws tell nothing of each other: what 512 of them seem to share is luck.
_FAR = 4
_LEVEL = 1e4
# A training tells less than its noise alone would have it, as what the model supposes is open, too: on two
# recorded landscapes twice the replicates were needed.
_WEIGHT = 0.5


@dataclass(frozen=True, kw_only=True)
class MoreTrainings:
    """Trainings that would settle most of the cycles that can't be told.

    Attributes:
        replicates: More replicates.
        rates: Rates of each of these cycles, ascending.
        trainings: In all, those that a new chain of networks needs on its way included.
        settled: Share of the cycles that they would settle, by simulation.
    """

    replicates: int
    rates: tuple[tuple[float, ...], ...]
    trainings: int
    settled: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What would make known what can't be told.

    Attributes:
        about: The curve's ``verdict``, or the interval's ``ends``.
        cycles: The cycles where that can't be told.
        some: At the rates that are in doubt, and their neighbours; None where no number up to 16 would do.
        whole: At the whole grid of every cycle, as a search with more replicates trains it; None likewise.
    """

    about: Literal["verdict", "ends"]
    cycles: tuple[int, ...]
    some: MoreTrainings | None
    whole: MoreTrainings | None

    def sentence(self, seconds: float | None = None) -> str:
        """The advice in a sentence or two.

        Args:
            seconds: Mean time of a training, if known.
        """
        if not self.cycles:
            return "Nothing is left to be told."
        which = cycles_in_words(self.cycles)
        if self.some is None and self.whole is None:
            return f"No number of more replicates up to {NUMBERS[-1]} would settle most of {which}."
        said = []
        if self.whole is not None:
            it_takes = f"{_more(self.whole)} ({_size(self.whole, seconds)})"
            said.append(f"{it_takes} of every cycle's whole grid {self._settles(self.whole)}.")
        if self.some is not None and (self.whole is None or self.some.trainings < self.whole.trainings):
            most = max(map(len, self.some.rates))
            rates = f"at {most} rate{'s' * (most != 1)}" + " or fewer of each" * (len(self.some.rates) > 1)
            said.append(
                f"{_more(self.some)} {rates} ({_size(self.some, seconds)}) {self._settles(self.some)}."
            )
        return " ".join(said)

    def _settles(self, plan: MoreTrainings) -> str:
        count, which = len(self.cycles), cycles_in_words(self.cycles)
        settled = min(count, max(1, round(plan.settled * count)))
        those = which if settled == count else f"{settled} of {count} ({which})"
        return f"would probably settle {those}"


def advise(beliefs: Sequence[CycleBelief], max_lr: Callable[[int], float] | None = None) -> Advice:
    """What would make known what can't be told of a search; the same beliefs give the same advice.

    New trainings are simulated from the draws themselves: one draw is taken for the truth, trainings of it
    get the noise that the replicates showed, and the draws are conditioned on them. That is the linear update
    of draws by their own covariance (Matheron's rule), some milliseconds, where learning anew from the old
    and the simulated trainings takes a third of a second each time. A rate that collapses now and then counts
    as one that is steadily worse. On two recorded landscapes (9 searches with three replicates) it said that
    10, 21, 33 and 49 % of the cycles would be settled by 1, 2, 4 and 8 more, and 21, 25, 36 and 48 % were.

    Args:
        beliefs: What is known, as ``learn`` returns it.
        max_lr: A curve, cycle to rate: whether it is inside is to be told. Without one it is to be told
            within a step of the grid where the intervals end.
    """
    in_doubt = [
        each
        for each in beliefs
        if not each.silent and not _settled(each, max_lr) and not _beyond(each, max_lr)
    ]
    about: Literal["verdict", "ends"] = "ends" if max_lr is None else "verdict"
    if not in_doubt:
        return Advice(about=about, cycles=(), some=None, whole=None)
    last = in_doubt[-1].cycle
    on_the_way = last + 1 - len(in_doubt)
    picked = [_doubtful(each) for each in in_doubt]
    every = [np.arange(each.rates.size) for each in in_doubt]
    grid = sum(each.rates.size for each in beliefs)
    return Advice(
        about=about,
        cycles=tuple(each.cycle for each in in_doubt),
        some=_fewest(in_doubt, picked, max_lr, sum(map(len, picked)) + on_the_way),
        whole=_fewest(in_doubt, every, max_lr, grid),
    )


def _beyond(belief: CycleBelief, max_lr: Callable[[int], float] | None) -> bool:
    """Whether a curve leaves the grid, where no replicate of its candidates tells anything."""
    return max_lr is not None and math.isnan(belief.loss(float(max_lr(belief.cycle))).within)


def _settled(belief: CycleBelief, max_lr: Callable[[int], float] | None) -> bool:
    if max_lr is None:
        return belief.sure >= SURE
    return belief.loss(float(max_lr(belief.cycle))).verdict != "unknown"


def _doubtful(belief: CycleBelief) -> IntArray:
    """Indices of the rates that may be inside or not, their neighbours, and the best one to compare with."""
    doubt = np.flatnonzero((belief.inside > 1 - SURE) & (belief.inside < SURE))
    near = np.concatenate([doubt - 1, doubt, doubt + 1, [belief.optimum()]])
    return np.unique(near.clip(0, belief.rates.size - 1)).astype(np.intp)


def _fewest(
    beliefs: Sequence[CycleBelief],
    picked: Sequence[IntArray],
    max_lr: Callable[[int], float] | None,
    trainings: int,
) -> MoreTrainings | None:
    """The smallest number of more replicates that settles most; it is taken that more settle more."""
    simulated = _Simulated(beliefs, picked)
    low, high, best = 0, len(NUMBERS), None
    while low < high:
        middle = (low + high) // 2
        share = simulated.settled(NUMBERS[middle], max_lr)
        if share > _MOST:
            high, best = middle, share
        else:
            low = middle + 1
    if best is None:
        return None
    return MoreTrainings(
        replicates=NUMBERS[low],
        rates=tuple(tuple(each.rates[at].tolist()) for each, at in zip(beliefs, picked, strict=True)),
        trainings=NUMBERS[low] * trainings,
        settled=best,
    )


class _Simulated:
    """Searches with more replicates, of which draws are the truth; scores are in tolerances."""

    def __init__(self, beliefs: Sequence[CycleBelief], picked: Sequence[IntArray]) -> None:
        self._beliefs, self._picked = beliefs, picked
        self._draws = np.concatenate([_lowest_at_clip(each) for each in beliefs], axis=1)
        starts = np.cumsum([0, *(each.rates.size for each in beliefs)])
        self._seen = np.concatenate([at + start for at, start in zip(picked, starts[:-1], strict=True)])
        self._ends = starts[1:-1]
        place = np.repeat(np.arange(len(beliefs)), [each.rates.size for each in beliefs])
        cycle = np.array([each.cycle for each in beliefs])[place]
        centred = self._draws - self._draws.mean(axis=0)
        near = (1 - abs(cycle[:, None] - cycle[self._seen]) / _FAR).clip(0)
        self._shared = near * (centred.T @ centred[:, self._seen]) / (len(centred) - 1)
        self._noise, self._level = self._covariances(cycle[self._seen])

    def _covariances(self, cycle: IntArray) -> tuple[FloatArray, FloatArray]:
        """Of a replicate's noise as the model has it, and of a cycle's level, of which nothing is known."""
        x = np.concatenate([np.log(b.rates[at]) for b, at in zip(self._beliefs, self._picked, strict=True)])
        scale = np.concatenate(
            [
                np.full(at.size, b.noise / b.tolerance)
                for b, at in zip(self._beliefs, self._picked, strict=True)
            ]
        )
        same = np.equal.outer(cycle, cycle)
        gap = np.subtract.outer(x, x)
        alike = sum(PRIOR.shared) / len(PRIOR.shared) * np.exp(-0.5 * (gap / PRIOR.shared_length) ** 2)
        own = np.eye(x.size) * (1 - sum(PRIOR.shared) / len(PRIOR.shared))
        lasting = PRIOR.lasting * (abs(gap) < 1e-9) * ~same
        noise = np.outer(scale, scale) * (same * (alike + PRIOR.replicate) + own + lasting)
        return noise, _LEVEL * same

    def settled(self, replicates: int, max_lr: Callable[[int], float] | None) -> float:
        """Share of the cycles that so many more replicates settle, over the simulated searches."""
        noise = self._noise / (_WEIGHT * replicates)
        prior = self._shared[self._seen]
        gain = np.linalg.solve(prior + noise + self._level, self._shared.T).T
        random = np.random.default_rng(replicates)
        root = np.linalg.cholesky(noise + 1e-9 * np.eye(noise.shape[0]))
        scores = self._draws[:, self._seen] + random.standard_normal((len(self._draws), len(noise))) @ root.T
        kept = self._draws - scores @ gain.T
        count = max(_FEWEST, min(_SIMULATIONS, _SIMULATIONS * _SIZE_OF_ALL // self._draws.shape[1]))
        told = 0
        for at in range(count):
            found = kept + gain @ scores[at]  # the draw ``at`` is the truth, and is none of those that judge
            known = np.split(np.delete(found, at, axis=0), self._ends, axis=1)
            told += sum(
                _settled(replace(belief, draws=draws * belief.tolerance), max_lr)
                for belief, draws in zip(self._beliefs, known, strict=True)
            )
        return float(told / (count * len(self._beliefs)))


def _lowest_at_clip(belief: CycleBelief) -> FloatArray:
    """(S, n), what is below the best in tolerances; all that is lost is alike."""
    assert belief.draws is not None, "a silent cycle is not asked for"
    draws = belief.draws[:_DRAWS]
    return np.asarray(((draws - draws.max(axis=1, keepdims=True)) / belief.tolerance).clip(-PRIOR.clip))


def _more(plan: MoreTrainings) -> str:
    return f"{plan.replicates} more replicate{'s' * (plan.replicates != 1)}"


def _size(plan: MoreTrainings, seconds: float | None) -> str:
    text = f"{plan.trainings:,} trainings"
    if seconds is None or not math.isfinite(seconds):
        return text
    work = plan.trainings * seconds
    if work < 120:
        return f"{text}, about {work:.0f} seconds of work"
    if work < 7200:
        return f"{text}, about {work / 60:.0f} minutes of work"
    return f"{text}, about {work / 3600:.1f} hours of work"
