"""Confidence of a fit: draws of what is known of the landscape, their optima and intervals, a fit to each."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from silo import checks
from silo._arrays import BoolArray, FloatArray, IntArray
from silo.curve import SiloCurve, check_cycles, depth, shape
from silo.errors import InvalidInput
from silo.fit.branch_and_bound import Items, parameter_ranges
from silo.fit.least_squares import (
    EXACT_LOSS,
    WITHIN_SLACK,
    Problem,
    Targets,
    Weighting,
    betas_at,
    free_part,
    make_problem,
    minima,
    silo_family,
    weights_of,
)
from silo.landscape import CycleBelief
from silo.measured import SLACK, grid_interval

Parameter = Literal["q", "beta", "epsilon", "delta"]

# Brackets around a minimum shrink to less than 1e-7 of log beta: far below what draws differ by.
_ZOOM_ROUNDS = 6
_LEVEL = 0.9
_RANGED: tuple[Parameter, ...] = ("beta", "epsilon", "delta")


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnFits:
    """B fits, each to a draw of all cycles' optima and intervals. Rates are learning rates.

    Attributes:
        pruning_rate: p of all curves.
        cycles: (n,), the measured cycles that say something, ascending.
        optima: (B, n), the drawn optima.
        low: (B, n), the lower ends of their intervals.
        high: (B, n), the upper ends.
        low_cut: (B, n), whether the grid ended there.
        high_cut: (B, n), whether the grid ended there.
        q: (B,), of the least-squares curves.
        beta: (B,).
        epsilon: (B,).
        delta: (B,).
        feasible: (B,), whether some SILO curve lies in all the drawn intervals.
        densities: of all curves.
    """

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
    densities: tuple[float, ...] = ()

    @property
    def draws(self) -> int:
        """B."""
        return int(self.q.size)

    @property
    def constant(self) -> BoolArray:
        """(B,), whether some constant rate lies in all the drawn intervals; ends cut off bound nothing."""
        low = np.where(self.low_cut, 0.0, self.low).max(axis=1)
        high = np.where(self.high_cut, np.inf, self.high).min(axis=1)
        return np.asarray(low <= high * (1 + SLACK))

    def interval(self, name: Parameter, level: float = _LEVEL) -> tuple[float, float]:
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
        deep, delay = (depth(m, self.densities, self.pruning_rate) for m in (grid, self.q))
        rates = self.epsilon + self.delta * shape(deep, delay, self.beta, self.pruning_rate)
        low, high = np.quantile(rates, _tails(level), axis=-1)
        return low, high

    def inside(self, curve: SiloCurve) -> dict[int, float]:
        """Per cycle the share of drawn intervals that the curve lies in; ends cut off bound nothing."""
        rates = curve.max_lr(self.cycles)
        above = self.low_cut | (rates >= self.low * (1 - SLACK))
        below = self.high_cut | (rates <= self.high * (1 + SLACK))
        shares = (above & below).mean(axis=0)
        return dict(zip(self.cycles.tolist(), shares.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Its summary, ready for JSON: 90 % ranges, and per cycle those of the optimum."""
        low, high = np.quantile(self.optima, _tails(_LEVEL), axis=0)
        values, counts = np.unique(self.q, return_counts=True)
        return {
            "draws": self.draws,
            "level": _LEVEL,
            **{name: list(self.interval(name)) for name in ("beta", "epsilon", "delta")},
            "q": {str(q): count / self.draws for q, count in zip(values, counts.tolist(), strict=True)},
            "feasible": float(self.feasible.mean()),
            "constant": float(self.constant.mean()),
            "optima": {
                str(m): ends
                for m, *ends in zip(self.cycles.tolist(), low.tolist(), high.tolist(), strict=True)
            },
        }

    def __str__(self) -> str:
        ranges = ", ".join("{} {:.3g} to {:.3g}".format(name, *self.interval(name)) for name in _RANGED)
        values, counts = np.unique(self.q, return_counts=True)
        shares = ", ".join(
            f"{q} in {percent(count / self.draws)}"
            for q, count in zip(values.tolist(), counts.tolist(), strict=True)
        )
        some, constant = percent(float(self.feasible.mean())), percent(float(self.constant.mean()))
        return (
            f"Of {self.draws:,} least-squares curves of draws of what the trainings tell, 90 % have\n"
            f"  {ranges}\n"
            f"  q: {shares}\n"
            f"  in {some} of the draws some SILO curve is in all intervals, in {constant} some constant rate"
        )


def percent(share: float) -> str:
    """Three digits, never rounded to all or nothing: of 1,000 draws, 999 are not all."""
    if math.isnan(share):
        return "–"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return "under 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def _tails(level: float) -> tuple[float, float]:
    share = checks.finite("level", level)
    if not 0 < share < 1:
        raise InvalidInput(f"level must lie between 0 and 1, both excluded, not {level!r}: give 0.95")
    return (1 - share) / 2, (1 + share) / 2


def drawn_fits(
    beliefs: Iterable[CycleBelief],
    *,
    pruning_rate: float,
    draws: int = 300,
    q_values: Sequence[int] = range(0, 6),
    beta_bounds: tuple[float, float] = (0.5, 20.0),
    weighting: Weighting = "interval",
    densities: Sequence[float] = (),
) -> DrawnFits | None:
    """Fits the least-squares curve to each of several draws, as ``fit_curve`` does to the means.

    Args:
        beliefs: What is known of the cycles, as ``learn`` returns it: draws of all cycles together.
        pruning_rate: p, in (0, 1).
        draws: B, at least 1, at most those of the beliefs.
        q_values: as for ``fit_curve``.
        beta_bounds: as for ``fit_curve``.
        weighting: as for ``fit_curve``.
        densities: as for ``fit_curve``.

    Returns:
        None where no cycle says anything.

    Raises:
        InvalidInput: a value is outside its range.
    """
    if checks.whole("draws", draws) < 1:
        raise InvalidInput("draws must be at least 1, not 0: give 300")
    told = [belief for belief in beliefs if not belief.silent]
    if not told:
        return None
    stated = [
        grid_interval(belief.cycle, belief.rates.tolist(), belief.optimum(), *belief.stated)
        for belief in told
    ]
    problem = make_problem(stated, pruning_rate, q_values, beta_bounds, weighting, densities)
    ends = [_drawn(belief, draws) for belief in told]
    optima, low, high, low_cut, high_cut = (np.stack(column, axis=1) for column in zip(*ends, strict=True))
    scale = high.max(axis=1, keepdims=True)
    searched, _ = free_part(problem, len(told))
    targets = Targets(optima=optima / scale, weights=weights_of((high - low) / scale, weighting))
    family = silo_family(searched.logits, searched.beta_bounds)
    best = minima(family, targets, rounds=_ZOOM_ROUNDS).best(EXACT_LOSS)
    return DrawnFits(
        pruning_rate=problem.pruning_rate,
        cycles=np.array([belief.cycle for belief in told]),
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
        densities=problem.densities,
    )


def _drawn(
    belief: CycleBelief, draws: int
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, BoolArray]:
    """Optima, lower and upper ends, and whether those are cut off; (B,) each."""
    best, first, last = (index[:draws] for index in belief.ends)
    rates = belief.rates
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
