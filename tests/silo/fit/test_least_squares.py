from typing import get_args

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from silo._arrays import FloatArray, IntArray
from silo.fit.least_squares import Family, Kind, LinearFits, Members, Targets, least_squares, losses, minima
from tests.effort import tries

KINDS = get_args(Kind)


def solved_by_another(shape: FloatArray, optima: FloatArray, weights: FloatArray, kind: Kind) -> float:
    """The smallest loss, by scipy's and numpy's solvers."""
    root = np.sqrt(weights)
    columns = {"scaled": [shape], "flat": [np.ones_like(shape)]}.get(kind, [np.ones_like(shape), shape])
    matrix, values = root[:, None] * np.stack(columns, axis=1), root * optima
    if kind == "rising":
        return float(nnls(matrix, values)[1] ** 2)
    numbers = np.linalg.lstsq(matrix, values, rcond=None)[0]
    return float(((matrix @ numbers - values) ** 2).sum())


def example(seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(6, n) rising shapes, some of them 0, with (6, n) optima and weights."""
    random = np.random.default_rng(seed)
    n = random.integers(1, 13)
    shapes = np.sort(random.uniform(size=(6, n)) ** random.uniform(0.2, 5), axis=1)
    shapes[random.uniform(size=shapes.shape) < 0.2] = 0
    optima = random.uniform(0.01, 1, (6, n))
    weights = random.uniform(0.1, 1, (6, n))
    return shapes, optima, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_scipy_and_numpy_find_and_moments_give_the_same_losses(kind: Kind) -> None:
    for seed in range(tries(40)):
        shapes, optima, weights = example(seed)
        found = least_squares(shapes, optima, weights, kind)
        if kind == "rising":
            assert (found.level >= 0).all() and (found.slope >= 0).all()
        assert kind != "scaled" or not found.level.any()
        assert kind != "flat" or not found.slope.any()
        for k in range(6):
            residuals = optima[k] - found.level[k] - found.slope[k] * shapes[k]
            assert found.loss[k] == pytest.approx(weights[k] @ residuals**2, rel=1e-9, abs=1e-20)
            other = solved_by_another(shapes[k], optima[k], weights[k], kind)
            assert found.loss[k] == pytest.approx(other, rel=1e-9, abs=1e-20)
        by_moments = losses(shapes, optima, weights, kind)
        pairs = zip(optima, weights, strict=True)
        exact = np.array([least_squares(shapes, y, w, kind).loss for y, w in pairs])
        assert by_moments.shape == (6, 6) and (by_moments >= 0).all()
        # The moments' roundings: of the order of 1e-16, but more where a shape hardly varies.
        clear = (np.ptp(shapes, axis=1) > 0.03) | (np.ptp(shapes, axis=1) == 0)
        assert by_moments[:, clear] == pytest.approx(exact[:, clear], rel=1e-7, abs=1e-11)


def members(*loss: float, problem: list[int] | None = None) -> Members:
    zero = np.zeros(len(loss))
    return Members(
        problem=np.array(problem or [0] * len(loss)),
        branch=np.arange(len(loss)),
        place=zero[:, None],
        fits=LinearFits(level=zero, slope=zero, loss=np.array(loss)),
    )


def test_each_problem_has_its_best_and_ties_go_to_the_first() -> None:
    assert members(3.0, 1 + 1e-13, 1.0).best(0.0).branch.tolist() == [1]
    assert members(3.0, 1 + 1e-11, 1.0).best(0.0).branch.tolist() == [2]
    assert members(3.0, 1 + 1e-11, 1.0).best(1e-10).branch.tolist() == [1]
    best = members(3.0, 1.0, 2.0, 0.5, 0.2, 0.2, problem=[0, 0, 1, 2, 2, 2]).best(0.0)
    assert (best.problem.tolist(), best.branch.tolist()) == ([0, 1, 2], [1, 2, 4])


def waves(branches: IntArray, places: FloatArray) -> FloatArray:
    """Shapes of many valleys; the branch is the number of the wave, the places its phase and its damping."""
    steps = np.arange(8.0)
    damping = places[:, 1:2] if places.shape[1] > 1 else 0.2
    rates = np.cos((branches[:, None] + 1) * 0.4 * steps + places[:, :1]) * np.exp(-damping * steps)
    return np.asarray(0.5 + rates / 2)


def family(d: int) -> Family:
    upper = np.array([2 * np.pi, 1.0])[:d]
    return Family(
        shapes=waves, kind="rising", branches=3, lower=np.zeros(d), upper=upper, points=[61, 25][d - 1]
    )


def many_targets(count: int) -> Targets:
    random = np.random.default_rng(0)
    weights = random.uniform(0.1, 1, (count, 8))
    optima = random.uniform(0.2, 1, (count, 8))
    return Targets(optima=optima, weights=weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("d", [1, 2])
def test_no_start_of_another_minimiser_ends_lower(d: int) -> None:
    targets, searched = many_targets(3), family(d)
    best = minima(searched, targets).best(0.0)
    random = np.random.default_rng(1)
    bounds = list(zip(searched.lower, searched.upper, strict=True))
    for problem in range(3):
        target = targets.optima[problem], targets.weights[problem]

        def loss(place: FloatArray, branch: int, target: tuple[FloatArray, FloatArray] = target) -> float:
            return solved_by_another(waves(np.array([branch]), place[None])[0], *target, "rising")

        found = [
            minimize(loss, start, args=(branch,), bounds=bounds, method="Nelder-Mead").fun
            for branch in range(3)
            for start in random.uniform(searched.lower, searched.upper, (6, d))
        ]
        assert best.fits.loss[problem] <= min(found) + 1e-12
        assert best.fits.loss[problem] == pytest.approx(min(found), rel=1e-4)


def test_a_problem_among_more_than_are_worked_on_at_a_time_is_fitted_as_alone() -> None:
    targets, searched = many_targets(150), family(1)
    together = minima(searched, targets).best(0.0)
    assert together.problem.tolist() == list(range(150))
    for k in (0, 63, 64, 149):
        alone = minima(searched, targets[k : k + 1]).best(0.0)
        assert (alone.branch[0], alone.place[0, 0]) == (together.branch[k], together.place[k, 0])
        assert alone.fits.loss[0] == together.fits.loss[k]


def test_every_branch_has_its_lowest_place_and_all_are_in_order() -> None:
    found = minima(family(1), many_targets(3))
    keys = list(zip(found.problem, found.branch, found.place[:, 0], strict=True))
    assert keys == sorted(keys)
    assert {(p, b, 0.0) for p in range(3) for b in range(3)} <= set(keys)
