"""Confidence from the replicates: resampled trainings, new optima and intervals, new fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from silo import checks
from silo._arrays import BoolArray, FloatArray, IntArray
from silo.accuracies import TOLERANCE, CycleAccuracies, check_accuracies, check_tolerance, optimized
from silo.curve import SiloCurve, check_cycles, shape
from silo.errors import InvalidInput
from silo.fit.branch_and_bound import Items
from silo.fit.families import betas_at, silo_family
from silo.fit.least_squares import Targets, minima
from silo.fit.parameter_ranges import parameter_ranges
from silo.fit.problem import (
    EXACT_LOSS,
    WITHIN_SLACK,
    Problem,
    Weighting,
    free_part,
    make_problem,
    weights_of,
)
from silo.intervals import SLACK

Unit = Literal["cycle", "chain"]

# Brackets around a minimum shrink to less than 1e-7 of log beta: far below what resampling moves.
_ZOOM_ROUNDS = 6
_LEVEL = 0.95
_RANGED = ("beta", "epsilon", "delta")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """B fits to resampled trainings. Rates are learning rates.

    Attributes:
        seed: of the resampling: the same seed gives the same numbers.
        unit: what was drawn together, see ``bootstrap``.
        pruning_rate: p of all curves.
        cycles: (n,), the measured cycles, ascending.
        optima: (B, n), the optima of the resampled trainings.
        low: (B, n), the lower ends of their intervals.
        high: (B, n), the upper ends.
        low_cut: (B, n), whether the grid ended there.
        high_cut: (B, n), whether the grid ended there.
        q: (B,), of the least-squares curves.
        beta: (B,).
        epsilon: (B,).
        delta: (B,).
        feasible: (B,), whether some curve lies in all the resampled intervals.
    """

    seed: int
    unit: Unit
    pruning_rate: float
    cycles: IntArray
    optima: FloatArray
    low: FloatArray
    high: FloatArray
    low_cut: BoolArray
    high_cut: BoolArray
    q: IntArray
    beta: FloatArray
    epsilon: FloatArray
    delta: FloatArray
    feasible: BoolArray

    @property
    def resamples(self) -> int:
        """B."""
        return int(self.q.size)

    def interval(
        self, name: Literal["q", "beta", "epsilon", "delta"], level: float = _LEVEL
    ) -> tuple[float, float]:
        """The central share ``level`` of a parameter's values (percentile interval).

        Raises:
            InvalidInput: there is no such parameter, or ``level`` is not between 0 and 1.
        """
        if name not in ("q", "beta", "epsilon", "delta"):
            known = checks.nearest(str(name), ("q", "beta", "epsilon", "delta"))
            raise InvalidInput(f"a curve has no parameter {name!r}: {known}")
        low, high = np.quantile(getattr(self, name), _tails(level))
        return float(low), float(high)

    def band(self, cycles: npt.ArrayLike, level: float = _LEVEL) -> tuple[FloatArray, FloatArray]:
        """The central share ``level`` of the curves' rates at each cycle, one by one.

        Args:
            cycles: m, of any shape, at least 0; not only whole ones.
            level: strictly between 0 and 1.

        Returns:
            Lowest and highest, of that shape each; (1,) for a number.

        Raises:
            InvalidInput: a cycle is negative or not finite, or ``level`` not between 0 and 1.
        """
        grid = np.atleast_1d(check_cycles(cycles))[..., None]
        rates = self.epsilon + self.delta * shape(grid, self.q, self.beta, self.pruning_rate)
        low, high = np.quantile(rates, _tails(level), axis=-1)
        return low, high

    def inside(self, curve: SiloCurve) -> dict[int, float]:
        """Per cycle the share of resampled intervals that the curve lies in; ends cut off bound nothing."""
        rates = curve.max_lr(self.cycles)
        above = self.low_cut | (rates >= self.low * (1 - SLACK))
        below = self.high_cut | (rates <= self.high * (1 + SLACK))
        shares = (above & below).mean(axis=0)
        return dict(zip(self.cycles.tolist(), shares.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Its summary, ready for JSON: 95 % intervals, and per cycle those of the optimum."""
        low, high = np.quantile(self.optima, _tails(_LEVEL), axis=0)
        values, counts = np.unique(self.q, return_counts=True)
        return {
            "resamples": self.resamples,
            "seed": self.seed,
            "unit": self.unit,
            "level": _LEVEL,
            **{name: list(self.interval(name)) for name in ("beta", "epsilon", "delta")},
            "q": {str(q): count / self.resamples for q, count in zip(values, counts.tolist(), strict=True)},
            "feasible": float(self.feasible.mean()),
            "optima": {
                str(m): ends
                for m, *ends in zip(self.cycles.tolist(), low.tolist(), high.tolist(), strict=True)
            },
        }

    def __str__(self) -> str:
        summary = self.to_dict()
        ranges = [f"{name} {low:.4g} to {high:.4g}" for name in _RANGED for low, high in [summary[name]]]
        shares = ", ".join(f"{q} in {_percent(share)}" for q, share in summary["q"].items())
        return (
            f"{self.resamples} resamples by {self.unit} (seed {self.seed}), 95 % intervals:\n"
            f"  {', '.join(ranges)}; q = {shares}\n"
            f"  a curve in every interval exists in {_percent(summary['feasible'])} of them"
        )


def _percent(share: float) -> str:
    """A share of the resamples to three digits: 2 of 1,000 are not none, 999 are not all."""
    return f"{100 * share:.3g} %"


def _tails(level: float) -> tuple[float, float]:
    share = checks.finite("level", level)
    if not 0 < share < 1:
        raise InvalidInput(f"level must lie between 0 and 1, both excluded, not {level!r}: give 0.95")
    return (1 - share) / 2, (1 + share) / 2


def bootstrap(
    accuracies: Sequence[CycleAccuracies],
    *,
    pruning_rate: float,
    resamples: int = 1000,
    seed: int = 0,
    unit: Unit = "cycle",
    tolerance: float = TOLERANCE,
    q_values: Sequence[int] = range(0, 6),
    beta_bounds: tuple[float, float] = (0.5, 20.0),
    weighting: Weighting = "interval",
) -> Bootstrap:
    """Resamples the trainings, and fits the least-squares curve to each resample as ``fit_curve`` does.

    A resample draws r − 1 of a cycle's r replicates with replacement, so that the means vary as much as means
    of r independent trainings do (Rao and Wu, JASA 83, 1988); r draws would vary too little by (r − 1) / r. A
    replicate is drawn for all candidates of a cycle together, since they share their seed: what makes one
    replicate better than another does not count as noise between rates.

    Args:
        accuracies: one per measured cycle, in any order, each with two replicates or more.
        pruning_rate: p, in (0, 1).
        resamples: B, at least 1.
        seed: of the resampling, at least 0.
        unit: ``"cycle"`` draws anew for each cycle: trainings of different cycles vary independently.
            ``"chain"`` draws whole replicates for all cycles together, since a replicate's networks descend
            from each other; with few replicates there are few different resamples. It needs the same number
            of replicates in each cycle.
        tolerance: of the interval, an absolute share of accuracy.
        q_values: as for ``fit_curve``.
        beta_bounds: as for ``fit_curve``.
        weighting: as for ``fit_curve``.

    Raises:
        InvalidInput: a value is missing or outside its range, or a cycle has one replicate only.
    """
    measured = check_accuracies(accuracies)
    intervals = [one.interval(tolerance) for one in measured]
    problem = make_problem(intervals, pruning_rate, q_values, beta_bounds, weighting)
    count, start = checks.whole("resamples", resamples), checks.whole("seed", seed)
    if count < 1:
        raise InvalidInput("resamples must be at least 1, not 0: give 1000")
    draws = _draws(measured, count, start, unit)
    ends = [
        _resampled(one, counts, check_tolerance(tolerance))
        for one, counts in zip(measured, draws, strict=True)
    ]
    optima, low, high, low_cut, high_cut = (np.stack(column, axis=1) for column in zip(*ends, strict=True))
    scale = high.max(axis=1, keepdims=True)
    searched, _ = free_part(problem, len(measured))
    targets = Targets(optima=optima / scale, weights=weights_of((high - low) / scale, weighting))
    family = silo_family(searched.logits, searched.beta_bounds)
    best = minima(family, targets, rounds=_ZOOM_ROUNDS).best(EXACT_LOSS)
    return Bootstrap(
        seed=start,
        unit=unit,
        pruning_rate=problem.pruning_rate,
        cycles=np.array([one.cycle for one in measured]),
        optima=optima,
        low=low,
        high=high,
        low_cut=low_cut.astype(np.bool_),
        high_cut=high_cut.astype(np.bool_),
        q=np.array(searched.q_values)[best.branch],
        beta=betas_at(best.place, searched.beta_bounds),
        epsilon=best.fits.level * scale[:, 0],
        delta=best.fits.slope * scale[:, 0],
        feasible=_feasible(
            problem, np.where(low_cut, 0.0, low / scale), np.where(high_cut, np.inf, high / scale)
        ),
    )


def _draws(measured: Sequence[CycleAccuracies], count: int, seed: int, unit: Unit) -> list[FloatArray]:
    """Per cycle (B, r): the weight of each replicate in each resample; rows sum to 1."""
    if unit not in get_args(Unit):
        raise InvalidInput(f"there is no unit {unit!r}: {checks.nearest(str(unit), get_args(Unit))}")
    for one in measured:
        if one.replicates < 2:
            raise InvalidInput(
                f"a bootstrap needs two replicates or more, not {one.replicates} as in cycle {one.cycle}: "
                "train each candidate with several seeds"
            )
    random = np.random.default_rng(seed)
    if unit == "cycle":
        return [_weights(random, count, one.replicates) for one in measured]
    if len({one.replicates for one in measured}) > 1:
        raise InvalidInput(
            f"unit 'chain' needs the same number of replicates in each cycle, not "
            f"{[one.replicates for one in measured]}: give unit 'cycle'"
        )
    return [_weights(random, count, measured[0].replicates)] * len(measured)


def _weights(random: np.random.Generator, count: int, replicates: int) -> FloatArray:
    drawn = random.multinomial(replicates - 1, np.full(replicates, 1 / replicates), size=count)
    return np.asarray(drawn / (replicates - 1), dtype=np.float64)


def _resampled(
    one: CycleAccuracies, weights: FloatArray, tolerance: float
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, BoolArray]:
    """Optima, lower and upper ends, and whether those are cut off; (B,) each."""
    best, first, last = optimized(weights @ one.accuracies.T, tolerance)
    rates = one.rates
    return rates[best], rates[first], rates[last], first == 0, last == rates.size - 1


def _feasible(problem: Problem, low: FloatArray, high: FloatArray) -> BoolArray:
    """(B,): whether some curve lies in all intervals, whose ends are (B, n)."""
    n_q = problem.logits.shape[0]
    items = Items(
        logits=np.tile(problem.logits, (low.shape[0], 1)),
        low=low.repeat(n_q, axis=0),
        high=high.repeat(n_q, axis=0),
        slack=WITHIN_SLACK,
    )
    empty = parameter_ranges(items, problem.beta_bounds, only_empty=True).empty
    return np.asarray(~empty.reshape(-1, n_q).all(axis=1), dtype=np.bool_)
