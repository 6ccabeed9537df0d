from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from silo._misses import fewest_misses
from silo.curve import FloatArray


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


@settings(max_examples=40, deadline=None)
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
    row, epsilon, delta = fewest_misses(shapes, low, high)
    rates = epsilon + delta * shapes[row]
    hit = (rates >= low * (1 - 1e-9)) & (rates <= high * (1 + 1e-9))
    assert epsilon >= 0 and delta >= 0 and epsilon + delta > 0
    assert n - hit.sum() == fewest_by_subsets(shapes[0], low, high)
    worst = max((low - rates).max(), (rates - high).max(), 0.0)
    assert worst == pytest.approx(least_violation(shapes[0], low, high, list(np.flatnonzero(hit))), abs=1e-8)


def test_takes_the_row_with_the_fewest() -> None:
    shapes = np.array([[0.0, 0.1, 1.0]] * 20 + [[0.0, 0.5, 1.0]] + [[0.0, 0.2, 1.0]] * 20)
    low = np.array([0.1, 0.5, 0.9])
    row, epsilon, delta = fewest_misses(shapes, low, low + 0.001)
    assert row == 20
    assert epsilon + delta * shapes[row] == pytest.approx(low + 0.0005, abs=0.0005 + 1e-9)


def test_hits_all_of_a_small_polygon_beside_an_axis() -> None:
    shapes = np.array([[0.5, 1.0]])
    low = np.array([0.11, 0.21])
    _, epsilon, delta = fewest_misses(shapes, low, low + 1e-4)
    assert (epsilon, delta) == pytest.approx((0.01, 0.2), abs=5e-4)


def test_equal_counts_go_to_the_smallest_violation() -> None:
    shapes = np.zeros((1, 3))
    low = np.array([0.1, 0.5, 0.6])
    _, epsilon, delta = fewest_misses(shapes, low, low + 0.01)
    assert epsilon == pytest.approx(0.5) and delta == 0
