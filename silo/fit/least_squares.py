"""A fit's data as arrays, families of curves that may fit it, and the best of each by least squares."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, get_args

import numpy as np
from scipy.special import expit

from silo import checks
from silo._arrays import BoolArray, FloatArray, IntArray
from silo.curve import SiloCurve, check_densities, depth, logit_gamma
from silo.errors import InvalidInput
from silo.measured import SLACK, CycleInterval, check_intervals

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


def shapes_of(logits: FloatArray, betas: FloatArray, top: FloatArray | None = None) -> FloatArray:
    """(R, n): the shapes for (R, n) logits of γ and (R,) betas.

    ``top``, (R,), is the highest logit of the curve where it is not among ``logits``.
    """
    values = np.asarray(expit(betas[:, None] * logits), dtype=np.float64)
    highest = values.max(axis=1, keepdims=True) if top is None else expit(betas * top)[:, None]
    flat = highest < _SMALLEST_RISE
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


#: What the two numbers a and b of a + b·s may be: any; both at least 0; a = 0; b = 0.
Kind = Literal["free", "rising", "scaled", "flat"]

# Points per branch of a grid over log β: dS/d(log β) = z·S·(1 − S) with z = logit(S) stays below 0.23, so a
# shape changes over unit steps of log β. Between the default bounds the grid's steps are 0.015.
BETA_POINTS = 241

#: (R, n) shapes for R branches (indices) and (R, d) places.
Shapes = Callable[[IntArray, FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Curves that differ by a branch (a choice among few) and a place (d real numbers), besides a and b.

    Attributes:
        shapes: the shapes of R members.
        kind: what a and b may be.
        branches: how many branches there are.
        lower: (d,), the lowest place; d may be 0.
        upper: (d,), the highest place.
        points: how many points of a grid are tried between the two, in each of the d directions.
    """

    shapes: Shapes
    kind: Kind
    branches: int
    lower: FloatArray
    upper: FloatArray
    points: int

    def grid(self) -> tuple[IntArray, FloatArray]:
        """Every branch at every point: (branches · points^d,) branches, with as many places."""
        axes = [np.linspace(a, b, self._points(a, b)) for a, b in zip(self.lower, self.upper, strict=True)]
        mesh = np.meshgrid(*axes, indexing="ij")
        places = np.stack([axis.ravel() for axis in mesh], axis=1) if mesh else np.zeros((1, 0))
        return (
            np.repeat(np.arange(self.branches), places.shape[0]),
            np.tile(places, (self.branches, 1)),
        )

    def grid_shape(self) -> tuple[int, ...]:
        """(branches, points, ...): how the grid is laid out."""
        return (
            self.branches,
            *(self._points(a, b) for a, b in zip(self.lower, self.upper, strict=True)),
        )

    def steps(self) -> FloatArray:
        """(d,): the distance between neighbours of the grid."""
        counts = np.array(self.grid_shape()[1:], dtype=np.float64)
        return np.asarray((self.upper - self.lower) / np.maximum(counts - 1, 1))

    def _points(self, lowest: float, highest: float) -> int:
        return self.points if lowest < highest else 1


def silo_family(logits: FloatArray, beta_bounds: tuple[float, float]) -> Family:
    """SILO's curves over some cycles.

    Args:
        logits: (number of q, n), log(γ / (1 − γ)) at each cycle.
        beta_bounds: lowest and highest beta.
    """
    lower, upper = np.log(np.array([beta_bounds])).T

    def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
        return shapes_of(logits[branches], betas_at(places, beta_bounds))

    return Family(
        shapes=shapes,
        kind="rising",
        branches=logits.shape[0],
        lower=lower,
        upper=upper,
        points=BETA_POINTS,
    )


def betas_at(places: FloatArray, beta_bounds: tuple[float, float]) -> FloatArray:
    """(R,) betas of (R, 1) places; the bounds are what they are, not what exp makes of their logarithms."""
    lowest, highest = beta_bounds
    betas = np.exp(places[:, 0])
    betas = np.where(places[:, 0] <= np.log(lowest), lowest, betas)
    return np.where(places[:, 0] >= np.log(highest), highest, betas).clip(lowest, highest)


# A spread of the shapes below this is none: b would be a quotient of roundings.
_NO_SPREAD = 1e-200
# Points per direction that a bracket is cut into, by the number of directions.
_ZOOM_POINTS = {1: 17, 2: 7}
# At most so many minima of the grid are refined per problem, the lowest first.
_MOST_MINIMA = 16
# Problems at a time: keeps the largest array at a few tens of MB.
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class LinearFits:
    """R curves a + b·s, each with the a and b that fit best.

    Attributes:
        level: (R,), a.
        slope: (R,), b.
        loss: (R,), the weighted mean of the squared residuals.
    """

    level: FloatArray
    slope: FloatArray
    loss: FloatArray


def least_squares(shapes: FloatArray, optima: FloatArray, weights: FloatArray, kind: Kind) -> LinearFits:
    """The exact minimum of Σ w·(y − a − b·s)².

    Where the free minimum of a ``"rising"`` fit has a negative number, the problem being convex, the minimum
    has a zero one: it is the better of the best flat one (b = 0) and the best one through the origin (a =
    0). Neither needs a check of its own: all y are positive, so their other number is too.

    Args:
        shapes: (R, n), s; for ``"rising"`` in [0, 1].
        optima: (R, n) or (n,), y, all positive.
        weights: (R, n) or (n,), w, at least 0, each row summing to 1.
        kind: what a and b may be.
    """
    optima, weights = np.broadcast_to(optima, shapes.shape), np.broadcast_to(weights, shapes.shape)
    mean_shape, mean_optimum = _mean(weights, shapes), _mean(weights, optima)
    spread = shapes - mean_shape[:, None]
    slope = _quotient(_mean(weights, spread * (optima - mean_optimum[:, None])), _mean(weights, spread**2))
    through_origin = _quotient(_mean(weights, shapes * optima), _mean(weights, shapes**2))
    zero = np.zeros_like(slope)
    free, flat, scaled = (
        (mean_optimum - slope * mean_shape, slope),
        (mean_optimum, zero),
        (zero, through_origin),
    )
    # A free minimum without spread is the flat one, which the order of the three puts first.
    tried = {"free": [free], "flat": [flat], "scaled": [scaled], "rising": [free, flat, scaled]}[kind]
    levels, slopes = (np.stack(numbers) for numbers in zip(*tried, strict=True))
    residuals = optima - levels[:, :, None] - slopes[:, :, None] * shapes
    losses = np.einsum("krn,rn->kr", residuals**2, weights)
    negative = (levels < 0) | (slopes < 0) if kind == "rising" else np.zeros(losses.shape, dtype=np.bool_)
    best = np.where(negative, np.inf, losses).argmin(axis=0)
    each = np.arange(best.size)
    return LinearFits(level=levels[best, each], slope=slopes[best, each], loss=losses[best, each])


def losses(shapes: FloatArray, optima: FloatArray, weights: FloatArray, kind: Kind) -> FloatArray:
    """(P, R): the loss of every shape for every one of P problems, from their moments.

    A matrix product each instead of a row per pair: fast, and as exact as differences of moments are. Where
    the shapes hardly differ, or the loss is below 1e-15, it is a rough guess.

    Args:
        shapes: (R, n).
        optima: (P, n), all positive.
        weights: (P, n), each row summing to 1.
        kind: what a and b may be.
    """
    weighted = weights * optima
    mean_shape, mean_optimum = weights @ shapes.T, weighted.sum(axis=1)[:, None]
    squares, product = weights @ (shapes**2).T, weighted @ shapes.T
    total = (weighted * optima).sum(axis=1)[:, None]
    covariance = product - mean_shape * mean_optimum
    variance = np.maximum(squares - mean_shape**2, 0.0)
    slope = _quotient(covariance, variance)
    flat = total - mean_optimum**2
    free = flat - slope * covariance
    scaled = total - _quotient(product, squares) * product
    if kind == "rising":
        bounded = np.where(mean_optimum - slope * mean_shape < 0, scaled, free)
        found = np.where(covariance <= 0, flat, bounded)
    else:
        found = {"free": free, "flat": np.broadcast_to(flat, free.shape), "scaled": scaled}[kind]
    return np.asarray(np.maximum(found, 0.0), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Targets:
    """P problems: what their curves should go through.

    Attributes:
        optima: (P, n), all positive, near 1.
        weights: (P, n), at least 0, each row summing to 1.
    """

    optima: FloatArray
    weights: FloatArray

    def __getitem__(self, part: slice) -> "Targets":
        return Targets(optima=self.optima[part], weights=self.weights[part])


@dataclass(frozen=True, kw_only=True)
class Members:
    """L members of a family, each fitted to one of P problems.

    Attributes:
        problem: (L,), which problem it is fitted to.
        branch: (L,).
        place: (L, d).
        fits: (L,), their other two numbers, and their losses.
    """

    problem: IntArray
    branch: IntArray
    place: FloatArray
    fits: LinearFits

    def best(self, slack: float) -> "Members":
        """Each problem's first member whose loss is within ``slack`` plus 1e-12 of its smallest."""
        smallest = np.full(self.problem.max() + 1, np.inf)
        np.minimum.at(smallest, self.problem, self.fits.loss)
        near = np.flatnonzero(self.fits.loss <= smallest[self.problem] * (1 + 1e-12) + slack)
        _, firsts = np.unique(self.problem[near], return_index=True)
        return self[near[firsts]]

    def __getitem__(self, index: IntArray | BoolArray) -> "Members":
        fits = self.fits
        return Members(
            problem=self.problem[index],
            branch=self.branch[index],
            place=self.place[index],
            fits=LinearFits(level=fits.level[index], slope=fits.slope[index], loss=fits.loss[index]),
        )


def minima(family: Family, targets: Targets, *, rounds: int = 12) -> Members:
    """The local minima of the least-squares loss over a family's branches and places.

    No random starts: the family's whole grid is computed, every local minimum on it is bracketed by its
    neighbours, and each bracket shrinks ``rounds`` times to the neighbours of its lowest point. A valley
    narrower than the grid's steps can be missed. Every branch's lowest place is among the results, so that a
    loss that does not depend on the place ties there.

    Args:
        family: the curves.
        targets: the problems.
        rounds: how often brackets shrink: eightfold with d = 1, threefold with d = 2.

    Returns:
        At least one member per problem and branch, sorted by problem, then branch, then place.
    """
    branches, places = family.grid()
    shapes = family.shapes(branches, places)
    found = []
    for start in range(0, targets.optima.shape[0], _CHUNK):
        part = targets[start : start + _CHUNK]
        values = _on_grid(shapes, part, family.kind)
        problem, point = np.nonzero(_lowest(values, _local(values, family.grid_shape())))
        place = _zoom(family, part, problem, branches[point], places[point], rounds)
        n = part.optima.shape[0]
        problem = np.concatenate([problem, np.arange(n).repeat(family.branches)])
        branch = np.concatenate([branches[point], np.tile(np.arange(family.branches), n)])
        place = np.concatenate([place, np.tile(family.lower, (n * family.branches, 1))])
        order = np.lexsort((*place.T[::-1], branch, problem))
        found.append(_fit(family, part, problem[order], branch[order], place[order], first=start))
    return _joined(found)


def _fit(
    family: Family, targets: Targets, problem: IntArray, branch: IntArray, place: FloatArray, first: int = 0
) -> Members:
    """Members with these branches and places; ``first`` is the number of the targets' first problem."""
    shapes = family.shapes(branch, place)
    fits = least_squares(shapes, targets.optima[problem], targets.weights[problem], family.kind)
    return Members(problem=problem + first, branch=branch, place=place, fits=fits)


def _on_grid(shapes: FloatArray, targets: Targets, kind: Kind) -> FloatArray:
    """(P, R): the losses of R shapes: exact for one problem, by moments for many, where that takes long."""
    if targets.optima.shape[0] == 1:
        return least_squares(shapes, targets.optima[0], targets.weights[0], kind).loss[None]
    return losses(shapes, targets.optima, targets.weights, kind)


def _local(values: FloatArray, shape: tuple[int, ...]) -> BoolArray:
    """(P, R): whether losses on a grid are below their neighbours before, and not above those after."""
    grid = values.reshape(-1, *shape)
    inner = len(shape) - 1
    walled = np.pad(grid, ((0, 0), (0, 0), *[(1, 1)] * inner), constant_values=np.inf)
    low = np.ones(grid.shape, dtype=np.bool_)
    for offset in product((0, 1, 2), repeat=inner):
        window = tuple(slice(o, o + size) for o, size in zip(offset, shape[1:], strict=True))
        neighbour = walled[(slice(None), slice(None), *window)]
        if offset != (1,) * inner:
            low &= grid < neighbour if offset < (1,) * inner else grid <= neighbour
    return low.reshape(values.shape)


def _lowest(values: FloatArray, low: BoolArray) -> BoolArray:
    """``low`` without all but the few lowest of each problem; (P, R)."""
    if low.sum(axis=1).max() <= _MOST_MINIMA:
        return low
    candidates = np.where(low, values, np.inf)
    limit = np.partition(candidates, _MOST_MINIMA - 1, axis=1)[:, _MOST_MINIMA - 1]
    return np.asarray(low & (candidates <= limit[:, None]), dtype=np.bool_)


def _zoom(
    family: Family, targets: Targets, problem: IntArray, branch: IntArray, place: FloatArray, rounds: int
) -> FloatArray:
    """(L, d): the lowest place within a step of the grid of each."""
    count, d = place.shape
    if d == 0:
        return place
    ticks = np.linspace(-1.0, 1.0, _ZOOM_POINTS[d])
    offsets = np.array(list(product(ticks, repeat=d)))
    k = offsets.shape[0]
    reach = np.tile(family.steps(), (count, 1))
    for _ in range(rounds):
        tried = (place[:, None, :] + reach[:, None, :] * offsets).clip(family.lower, family.upper)
        fitted = _fit(family, targets, problem.repeat(k), branch.repeat(k), tried.reshape(-1, d))
        place = tried[np.arange(count), fitted.fits.loss.reshape(-1, k).argmin(axis=1)]
        reach = reach * (2 / (ticks.size - 1))
    return place


def _joined(parts: list[Members]) -> Members:
    def join(arrays: list[FloatArray]) -> FloatArray:
        return np.concatenate(arrays)

    return Members(
        problem=np.concatenate([part.problem for part in parts]),
        branch=np.concatenate([part.branch for part in parts]),
        place=join([part.place for part in parts]),
        fits=LinearFits(
            level=join([part.fits.level for part in parts]),
            slope=join([part.fits.slope for part in parts]),
            loss=join([part.fits.loss for part in parts]),
        ),
    )


def _mean(weights: FloatArray, values: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("rn,rn->r", weights, values), dtype=np.float64)


def _quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    enough = denominator > _NO_SPREAD
    return np.where(enough, numerator / np.where(enough, denominator, 1.0), 0.0)


def curves_of(problem: Problem, members: Members) -> list[SiloCurve]:
    """Members of SILO's family as curves."""
    betas = betas_at(members.place, problem.beta_bounds)
    numbers = zip(members.branch, betas, members.fits.level, members.fits.slope, strict=True)
    return [problem.curve(int(k), *map(float, rest)) for k, *rest in numbers]
