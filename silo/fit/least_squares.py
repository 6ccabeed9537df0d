"""Weighted least squares: in the two numbers that a curve is linear in, and over a whole family of curves."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.curve import SiloCurve
from silo.fit.families import Family, Kind, betas_at
from silo.fit.problem import Problem

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
