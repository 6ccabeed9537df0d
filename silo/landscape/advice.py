"""More trainings that would tell what can't be told yet: how many, and at which rates.

    advice = advise(beliefs, max_lr=curve.max_lr)
    print(advice.sentence(seconds=12.0))

New trainings are simulated from the draws themselves: one draw is taken for the truth, trainings of it get
the noise that the replicates showed, and the draws are conditioned on them. That is the linear update of
draws by their own covariance (Matheron's rule), some milliseconds, where learning anew from the old and the
simulated trainings takes a third of a second each time. A rate that collapses now and then counts as one that
is steadily worse. On two recorded landscapes (9 searches with three replicates) it said that 10, 21, 33 and
49 % of the cycles would be settled by 1, 2, 4 and 8 more, and 21, 25, 36 and 48 % were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo.landscape.belief import SURE, CycleBelief
from silo.landscape.parts import PRIOR
from silo.measured import cycles_in_words

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
