import numpy as np
import pytest
from scipy.optimize import minimize, nnls
from silo._fitting.best_fit import Members, Targets, minima
from silo._fitting.families import Family
from silo._fitting.lines import Lines

from silo._arrays import FloatArray, IntArray


def members(*losses: float, problem: list[int] | None = None) -> Members:
    loss = np.array(losses)
    zero = np.zeros_like(loss)
    return Members(
        problem=np.array(problem or [0] * loss.size),
        branch=np.arange(loss.size),
        place=zero[:, None],
        lines=Lines(level=zero, slope=zero, loss=loss),
    )


def test_ties_go_to_the_first() -> None:
    assert members(3.0, 1 + 1e-13, 1.0).best(0.0).branch.tolist() == [1]
    assert members(3.0, 1 + 1e-11, 1.0).best(0.0).branch.tolist() == [2]
    assert members(3.0, 1 + 1e-11, 1.0).best(1e-10).branch.tolist() == [1]


def test_each_problem_has_its_best() -> None:
    best = members(3.0, 1.0, 2.0, 0.5, 0.2, 0.2, problem=[0, 0, 1, 2, 2, 2]).best(0.0)
    assert (best.problem.tolist(), best.branch.tolist()) == ([0, 1, 2], [1, 2, 4])
    assert best.lines.loss.tolist() == [1.0, 2.0, 0.2]


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
    targets, searched = many_targets(4), family(d)
    best = minima(searched, targets).best(0.0)
    random = np.random.default_rng(1)
    for problem in range(4):
        root = np.sqrt(targets.weights[problem])

        def loss(place: FloatArray, branch: int, root: FloatArray = root, problem: int = problem) -> float:
            shape = waves(np.array([branch]), place[None])[0]
            matrix = root[:, None] * np.stack([np.ones(8), shape], axis=1)
            return float(nnls(matrix, root * targets.optima[problem])[1] ** 2)

        bounds = list(zip(searched.lower, searched.upper, strict=True))
        starts = random.uniform(searched.lower, searched.upper, (12, d))
        found = [
            minimize(loss, start, args=(branch,), bounds=bounds, method="Nelder-Mead").fun
            for branch in range(3)
            for start in starts
        ]
        assert best.lines.loss[problem] <= min(found) + 1e-12
        assert best.lines.loss[problem] == pytest.approx(min(found), rel=1e-4)


def test_a_problem_among_many_is_fitted_as_alone() -> None:
    """There are more than are worked on at a time."""
    targets, searched = many_targets(150), family(1)
    together = minima(searched, targets).best(0.0)
    assert together.problem.tolist() == list(range(150))
    for k in (0, 63, 64, 149):
        alone = minima(searched, targets[k : k + 1]).best(0.0)
        assert (alone.branch[0], alone.place[0, 0]) == (together.branch[k], together.place[k, 0])
        assert alone.lines.loss[0] == together.lines.loss[k]


def test_every_branch_has_its_lowest_place_and_all_are_in_order() -> None:
    found = minima(family(1), many_targets(3))
    keys = list(zip(found.problem, found.branch, found.place[:, 0], strict=True))
    assert keys == sorted(keys)
    assert {(p, b, 0.0) for p in range(3) for b in range(3)} <= set(keys)


def test_a_family_of_one_shape_has_one_member_per_branch() -> None:
    nowhere = np.zeros(0)
    one = Family(
        shapes=lambda branches, _: np.tile(np.linspace(0, 1, 8), (branches.size, 1)),
        kind="free",
        branches=1,
        lower=nowhere,
        upper=nowhere,
        points=1,
    )
    targets = many_targets(2)
    best = minima(one, targets).best(0.0)
    for k in range(2):
        slope, level = np.polyfit(np.linspace(0, 1, 8), targets.optima[k], 1, w=np.sqrt(targets.weights[k]))
        assert (best.lines.level[k], best.lines.slope[k]) == pytest.approx((level, slope))
