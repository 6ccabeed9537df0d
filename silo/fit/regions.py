"""What the data leave open of a fit: for each q the region that lies in every interval, and fits of draws."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from silo import checks
from silo._arrays import BoolArray, FloatArray, IntArray
from silo.curve import SiloCurve, check_cycles, depth, shape
from silo.errors import InvalidInput
from silo.fit.branch_and_bound import Items, Ranges, parameter_ranges
from silo.fit.fewest_misses import fewest_misses
from silo.fit.least_squares import (
    BETA_POINTS,
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

#: R values for R pairs of (index of q, beta).
Profile = Callable[[IntArray, FloatArray], FloatArray]

#: Margins this close, of rates divided by the highest one, are equal.
EXACT_MARGIN = 1e-12
_ROUNDING = 1e-15
_ZOOM_POINTS = 17
_ZOOM_ROUNDS = 12


@dataclass(frozen=True, kw_only=True)
class Margins:
    """R solutions.

    Attributes:
        epsilon: (R,), at least 0.
        delta: (R,), at least 0.
        margin: (R,): the distance to the nearest end; below 0 it is minus the distance outside.
    """

    epsilon: FloatArray
    delta: FloatArray
    margin: FloatArray


def most_central(problem: Problem, found: Ranges) -> list[tuple[SiloCurve, float]]:
    """Per q the curve with the largest margin, and that margin, of rates divided by the scale.

    Args:
        problem: the intervals.
        found: the ranges for each q: where there are any, only their β are searched.
    """
    flat = float(problem.optima.max())
    lowest, highest = problem.beta_bounds
    lower = np.where(found.empty, lowest, np.exp(-found.highest[:, 1])).clip(lowest, highest)
    upper = np.where(found.empty, highest, np.exp(found.highest[:, 0])).clip(lowest, highest)

    def margins(q_index: IntArray, betas: FloatArray) -> Margins:
        return widest_margin(problem.shapes(q_index, betas), *problem.outermost_ends(), flat)

    q_index, betas = valleys(lambda i, b: -margins(i, b).margin, lower, upper)
    tried = margins(q_index, betas)
    best = []
    for k in range(len(problem.q_values)):
        rows = np.flatnonzero(q_index == k)
        curves = [
            problem.curve(k, float(betas[row]), float(tried.epsilon[row]), float(tried.delta[row]))
            for row in rows
        ]
        hits = np.array([not problem.missed(curve) for curve in curves])
        row = _first_of_largest(tried.margin[rows], hits)
        shape = problem.shapes(q_index[rows[[row]]], betas[rows[[row]]])[0]
        best.append((curves[row], problem.margin(tried.epsilon[rows[row]] + tried.delta[rows[row]] * shape)))
    return best


def _first_of_largest(margins: FloatArray, hits: BoolArray) -> int:
    """The first of the largest margins; of those that hit all intervals, if any does."""
    allowed = np.where(hits | ~hits.any(), margins, -np.inf)
    largest = allowed.max()
    return int(np.argmax(allowed >= largest - EXACT_MARGIN * (1 + abs(largest))))


def widest_margin(shapes: FloatArray, low: FloatArray, high: FloatArray, flat: float) -> Margins:
    """Maximises t over ε ≥ 0, δ ≥ 0 with low + t ≤ ε + δ·s ≤ high − t: a linear program, solved exactly.

    Among equal margins it takes the smallest δ.

    Args:
        shapes: (R, n), s in [0, 1].
        low: (n,), at least 0; 0 bounds nothing.
        high: (n,), above 0; infinite where there is no upper end.
        flat: where all of ``high`` is infinite there is no maximum: ε = ``flat`` with δ = 0 is returned. At
            least as high as all of ``low``, above 0.
    """
    zero = np.zeros(shapes.shape[0])
    if not np.isfinite(high).any():
        return Margins(epsilon=zero + flat, delta=zero, margin=zero + flat - low.max())
    # With U = min(high − δ·s) and L = max(low − δ·s), ε has the margin min(U − ε, ε − L). Its best is the
    # middle, ε = (U + L) / 2 with margin (U − L) / 2; where that is below 0 it is ε = 0, and U, then the
    # smaller of U and −L, is the margin. Both cases are f(δ) = min((U − L) / 2, U), as (U − L) / 2 ≤ U if and
    # only if U + L ≥ 0. U, the least of straight lines in δ, is concave, L is convex, so f is concave and
    # made of straight pieces, each of which lies above f elsewhere. Take one that rises and one that does
    # not: where the two cross is the most that f can be. If f is that there, it is the maximum; if not, the
    # piece of f there replaces the one it is like. No piece is met twice and there are finitely many, so this
    # ends.
    left = _piece(shapes, low, high, zero)
    right = _last_piece(shapes, low, high)
    delta = zero
    open_rows = left[1] > 0
    for _ in range(4 * low.size + 4):
        if not open_rows.any():
            break
        crossing = (right[0] - left[0]) / np.where(open_rows, left[1] - right[1], 1.0)
        delta = np.where(open_rows, np.maximum(crossing, 0.0), delta)
        piece = _piece(shapes, low, high, delta)
        gap = left[0] + left[1] * delta - piece[0] - piece[1] * delta
        open_rows &= gap > _ROUNDING * (1 + np.abs(piece[0]))
        rising = piece[1] > 0
        left = np.where(open_rows & rising, piece, left)
        right = np.where(open_rows & ~rising, piece, right)
    upper = (high - delta[:, None] * shapes).min(axis=1)
    lower = (low - delta[:, None] * shapes).max(axis=1)
    margin = np.minimum((upper - lower) / 2, upper)
    return Margins(epsilon=np.maximum((upper + lower) / 2, 0.0), delta=delta, margin=margin)


def valleys(profile: Profile, lower: FloatArray, upper: FloatArray) -> tuple[IntArray, FloatArray]:
    """The minima of ``profile`` over beta, for each q.

    No random starts: every local minimum of a grid with equal ratios is bracketed by its neighbours, and each
    bracket shrinks to the neighbours of its lowest of 17 points, 12 times, which leaves less than 1e-12 of
    log beta. A valley narrower than the grid's steps can be missed. Both bounds of beta are always among the
    results, so that a profile that does not depend on beta ties at the lower one.

    Args:
        profile: gives one finite value per pair of (index of q, beta); called with many pairs at a time.
        lower: (number of q,), the lowest beta for each, above 0.
        upper: (number of q,), the highest.

    Returns:
        The index of q and the beta of each, at least two per q; sorted by q, then beta.
    """
    n_q = lower.size
    logs = np.linspace(np.log(lower), np.log(upper), BETA_POINTS, axis=1)
    rows = np.arange(n_q).repeat(BETA_POINTS)
    bounds = np.stack([lower, upper])
    values = profile(rows, np.exp(logs).ravel().clip(*bounds[:, rows])).reshape(logs.shape)
    walled = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    rows, columns = np.nonzero((values < walled[:, :-2]) & (values <= walled[:, 2:]))
    left = logs[rows, np.maximum(columns - 1, 0)]
    right = logs[rows, np.minimum(columns + 1, BETA_POINTS - 1)]
    found = _zoom(profile, rows, left, right, bounds)
    all_rows = np.concatenate([rows, np.arange(n_q), np.arange(n_q)])
    all_betas = np.concatenate([found, lower, upper])
    order = np.lexsort((all_betas, all_rows))
    return all_rows[order], all_betas[order]


def _zoom(
    profile: Profile, rows: IntArray, left: FloatArray, right: FloatArray, bounds: FloatArray
) -> FloatArray:
    steps = np.linspace(0.0, 1.0, _ZOOM_POINTS)
    each = np.arange(rows.size)
    many = np.repeat(rows, steps.size)
    lowest = left
    for _ in range(_ZOOM_ROUNDS):
        logs = left[:, None] + (right - left)[:, None] * steps
        betas = np.exp(logs).ravel().clip(*bounds[:, many])
        best = profile(many, betas).reshape(logs.shape).argmin(axis=1)
        lowest = betas.reshape(logs.shape)[each, best]
        left = logs[each, np.maximum(best - 1, 0)]
        right = logs[each, np.minimum(best + 1, steps.size - 1)]
    return lowest


def _piece(shapes: FloatArray, low: FloatArray, high: FloatArray, delta: FloatArray) -> FloatArray:
    """(2, R): intercept and slope in δ of the piece of min((U − L) / 2, U) that holds at ``delta``."""
    each = np.arange(delta.size)
    falling = delta[:, None] * shapes
    i = (high - falling).argmin(axis=1)
    j = (low - falling).argmax(axis=1)
    between = np.stack([(high[i] - low[j]) / 2, (shapes[each, j] - shapes[each, i]) / 2])
    # Where the middle of U and L is negative, ε is 0 and U, the nearer of the two, is the margin.
    no_epsilon = np.stack([high[i], -shapes[each, i]])
    smaller = no_epsilon[0] + no_epsilon[1] * delta < between[0] + between[1] * delta
    return np.where(smaller, no_epsilon, between)


def _last_piece(shapes: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(2, R): intercept and slope of the piece of (U − L) / 2 that holds as δ → ∞; the slope is at most 0."""
    each = np.arange(shapes.shape[0])
    bounded = np.isfinite(high)
    # Shapes grow with the cycle, so ties stand together: the lowest upper end, the highest lower end of
    # them.
    top = np.where(bounded, shapes, -1.0).max(axis=1, keepdims=True)
    bottom = shapes.min(axis=1, keepdims=True)
    i = np.where(bounded & (shapes == top), high, np.inf).argmin(axis=1)
    j = np.where(shapes == bottom, low, -np.inf).argmax(axis=1)
    return np.stack([(high[i] - low[j]) / 2, (shapes[each, j] - shapes[each, i]) / 2])


Range = tuple[float, float]

# A δ of so many times the other rates bounds nothing: its curve has hardly begun to rise.
_OUT_OF_PROPORTION = 1e3


@dataclass(frozen=True, kw_only=True)
class Region:
    """The parameters that the intervals leave for one q, within the betas that were asked for.

    An end that the grid cut off bounds nothing. The ranges are those of the region's three coordinates: not
    every combination of them is inside. They are reached, and fall short of the truth by at most 1e-6 of
    log β and a share of 1e-4 of ε and δ.

    Attributes:
        q: pruning cycles before the curve starts to rise.
        beta: lowest and highest β of a curve in every interval; None where there is none, which is then
            proven: every β was excluded, not only those of a grid.
        epsilon: lowest and highest ε, learning rates; None where there is none.
        delta: lowest and highest δ, learning rates; the highest is infinite where nothing bounds it.
        curve: the curve in all intervals with the largest distance to their ends; where there is none, the
            one outside the fewest.
        margin: the largest distance to the ends of all intervals that a curve with this q keeps, a learning
            rate of at least 0, with 0 as an end where the lower one is cut off; where none lies in all
            intervals it is below 0, and its size is the smallest worst violation.
        missed_cycles: the cycles whose intervals ``curve`` is outside of; no curve with this q misses fewer.
    """

    q: int
    beta: Range | None
    epsilon: Range | None
    delta: Range | None
    curve: SiloCurve
    margin: float
    missed_cycles: tuple[int, ...]

    @property
    def empty(self) -> bool:
        """Whether no curve with this q lies in every interval."""
        return self.beta is None

    def shown(self, name: str) -> Range | None:
        """The range of ``beta``, ``epsilon`` or ``delta`` as it is to be read.

        A highest δ out of all proportion to the rates is shown as infinite: with β at its bound and few
        cycles beyond q, the curve at the last of them may have made a billionth of its rise.
        """
        ends: Range | None = getattr(self, name)
        if name != "delta" or ends is None or self.epsilon is None:
            return ends
        far = ends[1] > _OUT_OF_PROPORTION * max(ends[0], self.epsilon[1])
        return (ends[0], float("inf")) if far else ends

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: ranges as lists, no bound as null."""
        ranges = {name: getattr(self, name) for name in ("beta", "epsilon", "delta")}
        return {
            "q": self.q,
            "empty": self.empty,
            **{name: None if r is None else [_or_none(end) for end in r] for name, r in ranges.items()},
            "curve": self.curve.to_dict(),
            "margin": self.margin,
            "missed_cycles": list(self.missed_cycles),
        }

    def __str__(self) -> str:
        ranges = {name: self.shown(name) for name in ("beta", "epsilon", "delta")}
        words = [f"{name} {_in_words(ends)}" for name, ends in ranges.items() if ends is not None]
        if not words:
            missed = ", ".join(map(str, self.missed_cycles))
            return f"q={self.q}: none; at least {len(self.missed_cycles)} missed, such as m = {missed}"
        return f"q={self.q}: " + ", ".join(words)


def regions(problem: Problem) -> tuple[Region, ...]:
    """One region per q of the problem, ascending; it is empty exactly if its curve misses an interval."""
    found = parameter_ranges(items_of(problem), problem.beta_bounds)
    central = most_central(problem, found)
    curves = [curve for curve, _ in central]
    outside = np.array([k for k, curve in enumerate(curves) if problem.missed(curve)], dtype=np.intp)
    if outside.size:
        fewest = fewest_misses(items_of(problem, outside), problem.beta_bounds)
        numbers = zip(fewest.beta.tolist(), fewest.epsilon.tolist(), fewest.delta.tolist(), strict=True)
        for k, (beta, epsilon, delta) in zip(outside.tolist(), numbers, strict=True):
            curves[k] = problem.curve(k, beta, epsilon, delta)
    built = []
    for k, (curve, (_, margin)) in enumerate(zip(curves, central, strict=True)):
        missed = problem.missed(curve)
        built.append(
            Region(
                q=problem.q_values[k],
                curve=curve,
                margin=(margin if missed else max(margin, 0.0)) * problem.scale,
                missed_cycles=missed,
                **(
                    {"beta": None, "epsilon": None, "delta": None}
                    if missed
                    else _ranges(problem, found, k, curve)
                ),
            )
        )
    return tuple(built)


def items_of(problem: Problem, q_index: IntArray | None = None) -> Items:
    """The problem once per q, or per index given."""
    index = np.arange(len(problem.q_values)) if q_index is None else q_index
    shape = (index.size, len(problem.intervals))
    return Items(
        logits=problem.logits[index],
        low=np.broadcast_to(problem.low, shape),
        high=np.broadcast_to(problem.high, shape),
        slack=WITHIN_SLACK,
    )


def best_region(problem: Problem, found: tuple[Region, ...]) -> Region:
    """The region whose curve is outside the fewest intervals, then keeps the largest distance to all ends.

    Among equals it is that of the smallest q.
    """
    fewest = min(len(region.missed_cycles) for region in found)
    rivals = [region for region in found if len(region.missed_cycles) == fewest]
    cycles = [interval.cycle for interval in problem.intervals]
    margins = [problem.margin(region.curve.max_lr(cycles) / problem.scale) for region in rivals]
    return next(r for r, margin in zip(rivals, margins, strict=True) if margin >= max(margins) - EXACT_MARGIN)


def _ranges(problem: Problem, found: Ranges, k: int, curve: SiloCurve) -> dict[str, Range]:
    if found.empty[k]:
        # Roundings decide, and have let in one curve alone.
        return {name: (getattr(curve, name),) * 2 for name in ("beta", "epsilon", "delta")}
    log_high, log_low, *others = found.highest[k].tolist()
    delta_high, delta_low, epsilon_high, epsilon_low = (value * problem.scale for value in others)
    lowest, highest = betas_at(np.array([[-log_low], [log_high]]), problem.beta_bounds).tolist()
    # No rate is −0.0.
    return {
        "beta": (lowest, highest),
        "epsilon": (0.0 - epsilon_low, epsilon_high),
        "delta": (0.0 - delta_low, delta_high),
    }


def _or_none(end: float) -> float | None:
    return None if end == float("inf") else end


def _in_words(ends: Range) -> str:
    low, high = ends
    return f"{low:.4g} and above" if high == float("inf") else f"{low:.4g} to {high:.4g}"


Parameter = Literal["q", "beta", "epsilon", "delta"]

# Brackets around a minimum shrink to less than 1e-7 of log beta: far below what draws differ by.
_DRAWN_ZOOM_ROUNDS = 6
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
    best = minima(family, targets, rounds=_DRAWN_ZOOM_ROUNDS).best(EXACT_LOSS)
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
