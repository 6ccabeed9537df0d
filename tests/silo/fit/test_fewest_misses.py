from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import expit, logit

from silo._arrays import FloatArray
from silo.curve import logit_gamma
from silo.fit.branch_and_bound import Items
from silo.fit.fewest_misses import FewestMisses, fewest_misses
from tests.effort import tries

BOUNDS = (0.5, 20.0)
SLACK = 1e-9
# Beyond the slack by no more than roundings.
OUTSIDE = 1.0001 * SLACK


def items(logits: FloatArray, low: FloatArray, high: FloatArray) -> Items:
    return Items(logits=logits, low=low, high=high, slack=SLACK)


def of_shapes(shapes: FloatArray, low: FloatArray, high: FloatArray) -> FewestMisses:
    """The fewest misses of lines with fixed shapes (K, n): a curve's at beta = 1."""
    with np.errstate(divide="ignore"):
        logits = np.asarray(logit(shapes))
    same = np.broadcast_to(low, shapes.shape), np.broadcast_to(high, shapes.shape)
    return fewest_misses(items(logits, *same), (1.0, 1.0))


def least_violation(shape: FloatArray, low: FloatArray, high: FloatArray, kept: list[int]) -> float | None:
    """The smallest worst violation of a line that lies in all of ``kept``, None where there is none."""
    soft = np.where(np.isin(np.arange(shape.size), kept), 0.0, -1.0)
    bounded = np.isfinite(high)
    ones = np.ones_like(shape)
    rows = np.concatenate([np.stack([-ones, -shape, soft], 1), np.stack([ones, shape, soft], 1)[bounded]])
    ends = np.concatenate([-low, high[bounded]])
    result = linprog([0, 0, 1], A_ub=rows, b_ub=ends, bounds=(0, None), method="highs")
    return float(result.fun) if result.status == 0 else None


def fewest_by_subsets(shape: FloatArray, low: FloatArray, high: FloatArray) -> int:
    for missed in range(shape.size + 1):
        for kept in combinations(range(shape.size), shape.size - missed):
            if least_violation(shape, low, high, list(kept)) is not None:
                return missed
    raise AssertionError("a line can miss all")


@settings(max_examples=tries(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), cut=st.sampled_from([0.0, 0.2]))
def test_no_subset_of_intervals_that_a_line_can_hit_is_larger(seed: int, n: int, cut: float) -> None:
    random = np.random.default_rng(seed)
    shapes = np.sort(random.uniform(size=(1, n)), axis=1)
    shapes[:, : n // 3] = 0
    low = random.uniform(0.01, 0.9, n)
    high = np.minimum(low + random.uniform(0.01, 0.2, n), 1.0)
    low[random.uniform(size=n) < cut] = 0.0
    high[random.uniform(size=n) < cut] = np.inf
    high[0] = 1.0
    found = of_shapes(shapes, low, high)
    epsilon, delta = found.epsilon[0], found.delta[0]
    rates = epsilon + delta * shapes[0]
    hit = (rates >= low * (1 - OUTSIDE)) & (rates <= high * (1 + OUTSIDE))
    assert epsilon >= 0 and delta >= 0 and epsilon + delta > 0
    assert found.misses[0] == n - hit.sum() == fewest_by_subsets(shapes[0], low, high)
    worst = max((low - rates).max(), (rates - high).max(), 0.0)
    least = least_violation(shapes[0], low, high, list(np.flatnonzero(hit)))
    assert worst == pytest.approx(least, rel=1e-6, abs=1e-8)


def test_finds_the_one_beta_between_the_points_of_any_grid() -> None:
    """A curve misses one interval, if its beta is within a share of about 1e-6 of 3.3, or else two."""
    logits = np.array([[-np.inf, -2.0, -0.5, 0.5, 1.0, 4.0]])
    rates = 0.1 + 0.5 * expit(3.3 * logits)
    rates[0, 2] *= 1.5
    found = fewest_misses(items(logits, rates * (1 - 1e-6), rates * (1 + 1e-6)), BOUNDS)
    assert found.misses.tolist() == [1]
    assert found.beta[0] == pytest.approx(3.3, rel=1e-4)
    assert (found.epsilon[0], found.delta[0]) == pytest.approx((0.1, 0.5), rel=1e-4)


def test_hits_all_of_a_small_polygon_beside_an_axis() -> None:
    low = np.array([0.11, 0.21])
    found = of_shapes(np.array([[0.5, 1.0]]), low, low + 1e-4)
    assert found.misses[0] == 0
    assert (found.epsilon[0], found.delta[0]) == pytest.approx((0.01, 0.2), abs=5e-4)


def test_of_all_betas_with_equal_counts_takes_that_of_the_smallest_violation() -> None:
    """The second interval lies below the first; how far the curve misses it by falls with beta."""
    logits, low = np.array([[-np.inf, -0.02, 3.0]]), np.array([[0.1, 0.01, 0.9]])
    found = fewest_misses(items(logits, low, low + 0.01), BOUNDS)
    rates = found.epsilon[0] + found.delta[0] * expit(found.beta[0] * logits[0])
    assert (found.misses[0], found.beta[0]) == (1, pytest.approx(20.0))
    assert rates[1] == pytest.approx(0.1 + 0.8 * expit(-0.02 * 20), abs=1e-6)


def test_of_200_intervals_without_width_finds_the_six_that_one_curve_goes_through() -> None:
    """Any three others have a curve of their own: what is proven is that no seven have one."""
    random = np.random.default_rng(0)
    logits = logit_gamma(np.arange(200), 1, 0.05)[None]
    rates = random.uniform(0.1, 0.9, (1, 200))
    on_curve = [2, 9, 20, 31, 50, 90]
    rates[0, on_curve] = (0.1 + 0.7 * expit(3.3 * logits[0]))[on_curve]
    found = fewest_misses(items(logits, rates, rates), BOUNDS)
    assert found.misses.tolist() == [194]
    assert (found.beta[0], found.epsilon[0], found.delta[0]) == pytest.approx((3.3, 0.1, 0.7), rel=1e-6)


@settings(max_examples=tries(10), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([0.0, 1e-7]), planted=st.integers(4, 8))
def test_of_narrow_intervals_no_fewer_are_missed_than_by_the_curve_that_they_lie_around(
    seed: int, width: float, planted: int
) -> None:
    random = np.random.default_rng(seed)
    logits = logit_gamma(np.arange(30), 1, 0.1)[None]
    on_curve = random.choice(np.arange(2, 30), planted, replace=False)
    rates = random.uniform(0.1, 0.9, (1, 30))
    rates[0, on_curve] = (0.1 + 0.7 * expit(random.uniform(1, 8) * logits[0]))[on_curve]
    found = fewest_misses(items(logits, rates * (1 - width), rates * (1 + width)), BOUNDS)
    assert found.misses[0] <= 30 - planted
    hit = found.epsilon[0] + found.delta[0] * expit(found.beta[0] * logits[0])
    inside = np.abs(hit / rates[0] - 1) <= width + OUTSIDE
    assert found.misses[0] == 30 - np.count_nonzero(inside)


def test_where_nothing_is_bounded_from_above_a_flat_line_hits_all() -> None:
    found = of_shapes(np.array([[0.2, 0.9]]), np.array([0.3, 0.5]), np.array([np.inf, np.inf]))
    assert (found.misses[0], found.epsilon[0], found.delta[0]) == (0, pytest.approx(0.5), 0.0)
