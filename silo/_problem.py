"""A fit's input as arrays: rates divided by the highest one, so that every solver works near 1."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from silo import _checks
from silo.curve import FloatArray, SiloCurve, logit_gamma
from silo.errors import InvalidInput
from silo.intervals import SLACK, CycleInterval, check_intervals

IntArray = npt.NDArray[np.intp]
Weighting = Literal["interval", "uniform"]

#: Below this a shape counts as 0: no rate that a computer can hold would show at that cycle.
_SMALLEST_SHAPE = 1e-100
# A little less than SLACK, so that a curve on such an end is inside whatever the last bits of its rates are.
_WITHIN_SLACK = SLACK * (1 - 1e-4)
#: No interval counts as narrower than this share of the highest rate.
_NARROWEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is fitted. Arrays of length n have one entry per cycle, in the order of the cycles.

    Attributes:
        intervals: n of them, sorted by cycle.
        pruning_rate: p, in (0, 1).
        q_values: the q that may be chosen, ascending.
        beta_bounds: lowest and highest beta.
        scale: the highest rate among the intervals; the rates below are divided by it.
        optima: (n,), in (0, 1].
        low: (n,), in [0, 1]; 0 where the end is cut off: a rate is positive anyway.
        high: (n,), in (0, 1], or infinite where the end is cut off.
        weights: (n,), positive, summing to 1.
        logits: (number of q, n): log(γ / (1 − γ)).
    """

    intervals: tuple[CycleInterval, ...]
    pruning_rate: float
    q_values: tuple[int, ...]
    beta_bounds: tuple[float, float]
    scale: float
    optima: FloatArray
    low: FloatArray
    high: FloatArray
    weights: FloatArray
    logits: FloatArray

    def shapes(self, q_index: IntArray, betas: FloatArray) -> FloatArray:
        """(R, n): the curve's shape at every cycle, for R pairs of an index into ``q_values`` and a beta."""
        values = expit(betas[:, None] * self.logits[q_index])
        return np.where(values < _SMALLEST_SHAPE, 0.0, values)

    def outermost_ends(self) -> tuple[FloatArray, FloatArray]:
        """``low`` and ``high`` as far out as ``CycleInterval.compatible`` lets a rate be."""
        return self.low * (1 - _WITHIN_SLACK), self.high * (1 + _WITHIN_SLACK)

    def margin(self, rates: FloatArray) -> float:
        """How far ``rates``, (n,) and divided by ``scale``, keep from the nearest end; below 0 outside."""
        return float(np.minimum(rates - self.low, self.high - rates).min())

    def curve(self, q_index: int, beta: float, epsilon: float, delta: float) -> SiloCurve:
        """The curve of one solution, back in learning rates."""
        return SiloCurve(
            q=self.q_values[q_index],
            beta=beta,
            epsilon=epsilon * self.scale,
            delta=delta * self.scale,
            pruning_rate=self.pruning_rate,
        )


def make_problem(
    intervals: Iterable[CycleInterval],
    pruning_rate: float,
    q_values: Iterable[int],
    beta_bounds: tuple[float, float],
    weighting: Weighting,
) -> Problem:
    """Checks what the user gave and lays it out.

    Raises:
        InvalidInput: a value is missing or outside its range.
    """
    ordered = check_intervals(intervals)
    rate = _checks.pruning_rate(pruning_rate)
    delays = _check_q_values(q_values)
    if weighting not in get_args(Weighting):
        raise InvalidInput(
            f"there is no weighting {weighting!r}: {_checks.nearest(str(weighting), get_args(Weighting))}"
        )
    cycles = np.array([interval.cycle for interval in ordered], dtype=np.float64)
    scale = max(interval.high for interval in ordered)
    return Problem(
        intervals=ordered,
        pruning_rate=rate,
        q_values=delays,
        beta_bounds=_check_bounds(beta_bounds),
        scale=scale,
        optima=np.array([interval.optimum for interval in ordered]) / scale,
        low=np.array([0.0 if interval.low_cut else interval.low for interval in ordered]) / scale,
        high=np.array([np.inf if interval.high_cut else interval.high for interval in ordered]) / scale,
        weights=_weights(ordered, scale, weighting),
        logits=logit_gamma(cycles, np.array(delays)[:, None], rate),
    )


def _check_q_values(q_values: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(q_values, Iterable):
        raise InvalidInput(f"q_values must be a list of integers, not {q_values!r}: give range(0, 6)")
    delays = tuple(sorted({_checks.whole("each of q_values", q) for q in q_values}))
    if not delays:
        raise InvalidInput(f"q_values must not be empty, not {q_values!r}: give range(0, 6)")
    return delays


def _check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise InvalidInput(f"beta_bounds must be two numbers, not {bounds!r}: give (0.5, 20.0)") from None
    lower, upper = _checks.positive("beta_bounds", lower), _checks.positive("beta_bounds", upper)
    if lower > upper:
        raise InvalidInput(f"beta_bounds must ascend, not {bounds!r}: give (0.5, 20.0)")
    return lower, upper


def _weights(intervals: tuple[CycleInterval, ...], scale: float, weighting: Weighting) -> FloatArray:
    if weighting == "uniform":
        return np.full(len(intervals), 1 / len(intervals))
    half = np.array([(interval.high - interval.low) / 2 for interval in intervals]) / scale
    narrowest = half[half > 0].min(initial=1.0)
    half = np.maximum(half, max(narrowest, _NARROWEST))
    weights = (half.min() / half) ** 2
    return np.asarray(weights / weights.sum(), dtype=np.float64)
