"""Curves of rates against what is known: what each loses, and whether two can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from silo._arrays import FloatArray
from silo.landscape.belief import CycleBelief, Loss, Verdict

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
