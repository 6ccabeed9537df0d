"""A fit's input as arrays: rates divided by the highest one, so that every solver works near 1."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy.special import expit

from silo import checks
from silo._arrays import FloatArray, IntArray
from silo.curve import SiloCurve, logit_gamma
from silo.depth import check_densities, depth
from silo.errors import InvalidInput
from silo.intervals import SLACK, CycleInterval, check_intervals

Weighting = Literal["interval", "uniform"]

# A curve whose shapes are all below this counts as flat: to see it rise takes a δ beyond all sense.
_SMALLEST_RISE = 1e-70
# Below this a shape counts as 0: with any other δ, its rise is far below the last bits of the rates.
_SMALLEST_SHAPE = 1e-100
#: A little less than SLACK, so that a curve on such an end is inside whatever the last bits of its rates are.
WITHIN_SLACK = SLACK * (1 - 1e-4)
# The paper's defaults, for when there are too few cycles to fit them.
_DEFAULT_Q = 1
_DEFAULT_BETA = 5.0
# So many cycles are needed to fit a parameter beside epsilon and delta.
_CYCLES_FOR_BETA, _CYCLES_FOR_Q = 3, 4

#: Of rates divided by the highest one, squared: residuals of 1e-10 are as good as none.
EXACT_LOSS = 1e-20
#: No interval counts as narrower than this share of the highest rate.
_NARROWEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The data to fit and the parameters allowed. Arrays of length n have one entry per cycle, in order.

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
        densities: λ of cycles 0, 1, … where p is not what was pruned; else none.
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
    densities: tuple[float, ...] = ()

    def shapes(self, q_index: IntArray, betas: FloatArray) -> FloatArray:
        """(R, n): the curve's shape at every cycle, for R pairs of an index into ``q_values`` and a beta."""
        return shapes_of(self.logits[q_index], betas)

    def outermost_ends(self) -> tuple[FloatArray, FloatArray]:
        """``low`` and ``high`` as far out as ``CycleInterval.compatible`` lets a rate be."""
        return self.low * (1 - WITHIN_SLACK), self.high * (1 + WITHIN_SLACK)

    def margin(self, rates: FloatArray) -> float:
        """The distance of ``rates``, (n,) and divided by ``scale``, from the nearest end; below 0 outside.

        Where the lower end is cut off, 0 takes its place.
        """
        return float(np.minimum(rates - self.low, self.high - rates).min())

    def missed(self, curve: SiloCurve) -> tuple[int, ...]:
        """The cycles whose intervals the curve is outside of; an end that is cut off bounds nothing."""
        rates = curve.max_lr([interval.cycle for interval in self.intervals]).tolist()
        pairs = zip(self.intervals, rates, strict=True)
        return tuple(interval.cycle for interval, rate in pairs if not interval.compatible(rate))

    def curve(self, q_index: int, beta: float, epsilon: float, delta: float) -> SiloCurve:
        """The curve of one solution, back in learning rates."""
        return SiloCurve(
            q=self.q_values[q_index],
            beta=beta,
            epsilon=epsilon * self.scale,
            delta=delta * self.scale,
            pruning_rate=self.pruning_rate,
            densities=self.densities,
        )


def shapes_of(logits: FloatArray, betas: FloatArray) -> FloatArray:
    """(R, n): the shapes for (R, n) logits of γ and (R,) betas."""
    values = np.asarray(expit(betas[:, None] * logits), dtype=np.float64)
    flat = values.max(axis=1, keepdims=True) < _SMALLEST_RISE
    return np.where(flat | (values < _SMALLEST_SHAPE), 0.0, values)


def make_problem(
    intervals: Iterable[CycleInterval],
    pruning_rate: float,
    q_values: Iterable[int],
    beta_bounds: tuple[float, float],
    weighting: Weighting,
    densities: Sequence[float] = (),
) -> Problem:
    """Checks what the user gave and lays it out.

    Raises:
        InvalidInput: a value is missing or outside its range.
    """
    ordered = check_intervals(intervals)
    rate = checks.pruning_rate(pruning_rate)
    delays = _check_q_values(q_values)
    if weighting not in get_args(Weighting):
        raise InvalidInput(
            f"there is no weighting {weighting!r}: {checks.nearest(str(weighting), get_args(Weighting))}"
        )
    left = check_densities(densities)
    cycles = depth([interval.cycle for interval in ordered], left, rate)
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
        weights=weights_of(np.array([i.high - i.low for i in ordered]) / scale, weighting),
        logits=logit_gamma(cycles, depth(np.array(delays)[:, None], left, rate), rate),
        densities=left,
    )


def free_part(problem: Problem, cycles: int) -> tuple[Problem, tuple[str, ...]]:
    """The problem as least squares search it for so many cycles, and which of q and beta are set in it.

    No more parameters are fitted than there are cycles: q is set first, then beta.
    """
    if cycles >= _CYCLES_FOR_Q:
        return problem, ()
    q = min(range(len(problem.q_values)), key=lambda k: abs(problem.q_values[k] - _DEFAULT_Q))
    part = replace(problem, q_values=(problem.q_values[q],), logits=problem.logits[[q]])
    if cycles >= _CYCLES_FOR_BETA:
        return part, ("q",)
    beta = min(max(_DEFAULT_BETA, problem.beta_bounds[0]), problem.beta_bounds[1])
    return replace(part, beta_bounds=(beta, beta)), ("q", "beta")


def _check_q_values(q_values: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(q_values, Iterable):
        raise InvalidInput(f"q_values must be a list of integers, not {q_values!r}: give range(0, 6)")
    delays = tuple(sorted({checks.whole("each of q_values", q) for q in q_values}))
    if not delays:
        raise InvalidInput(f"q_values must not be empty, not {q_values!r}: give range(0, 6)")
    return delays


def _check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise InvalidInput(f"beta_bounds must be two numbers, not {bounds!r}: give (0.5, 20.0)") from None
    lower, upper = checks.positive("beta_bounds", lower), checks.positive("beta_bounds", upper)
    if lower > upper:
        raise InvalidInput(f"beta_bounds must ascend, not {bounds!r}: give (0.5, 20.0)")
    return lower, upper


def weights_of(widths: FloatArray, weighting: Weighting) -> FloatArray:
    """(..., n) weights for (..., n) widths of intervals, of rates divided by the highest one."""
    if weighting == "uniform":
        return np.full(widths.shape, 1 / widths.shape[-1])
    half = widths / 2
    narrowest = np.where(half > 0, half, 1.0).min(axis=-1, keepdims=True)
    half = np.maximum(half, np.maximum(narrowest, _NARROWEST))
    weights = (half.min(axis=-1, keepdims=True) / half) ** 2
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float64)
