import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from silo._fitting.margin import largest_margin

from silo._arrays import FloatArray


def by_scipy(shape: FloatArray, low: FloatArray, high: FloatArray) -> float:
    ones = np.ones_like(shape)
    bounded = np.isfinite(high)
    rows = np.concatenate([np.stack([-ones, -shape, ones], 1), np.stack([ones, shape, ones], 1)[bounded]])
    ends = np.concatenate([-low, high[bounded]])
    bounds = [(0, None), (0, None), (None, None)]
    return float(-linprog([0, 0, -1], A_ub=rows, b_ub=ends, bounds=bounds, method="highs").fun)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 25), cut=st.sampled_from([0.0, 0.3, 0.9]))
def test_is_the_linear_program_that_scipy_solves(seed: int, n: int, cut: float) -> None:
    random = np.random.default_rng(seed)
    shapes = np.sort(random.uniform(size=(3, n)), axis=1)
    shapes[:, : n // 4] = 0
    low = random.uniform(0.01, 0.6, n) + random.choice([0, 0.3]) * shapes[0]
    high = np.minimum(low + random.uniform(0, 0.6, n), 1.0)
    low[random.uniform(size=n) < cut] = 0.0
    high[random.uniform(size=n) < cut] = np.inf
    high[random.integers(n)] = 0.9
    best = largest_margin(shapes, low, high, 1.0)
    assert (best.epsilon >= 0).all() and (best.delta >= 0).all()
    assert (best.epsilon + best.delta > 0).all()
    for k, shape in enumerate(shapes):
        rates = best.epsilon[k] + best.delta[k] * shape
        reached = min((rates - low).min(), (high - rates).min())
        assert best.margin[k] == pytest.approx(reached, abs=1e-12)
        assert best.margin[k] == pytest.approx(by_scipy(shape, low, high), abs=1e-9)


def test_ties_go_to_the_smallest_delta() -> None:
    best = largest_margin(np.array([[0.0, 1.0]]), np.array([0.4, 0.2]), np.array([0.6, 1.0]), 1.0)
    assert (best.epsilon[0], best.delta[0], best.margin[0]) == pytest.approx((0.5, 0.0, 0.1))
    best = largest_margin(np.array([[0.0, 1.0]]), np.array([0.4, 0.6]), np.array([0.6, 1.0]), 1.0)
    assert (best.epsilon[0], best.delta[0], best.margin[0]) == pytest.approx((0.5, 0.2, 0.1))


def test_epsilon_stays_at_zero_where_it_would_be_negative() -> None:
    best = largest_margin(np.array([[0.5, 1.0]]), np.array([0.1, 0.9]), np.array([0.2, 1.0]), 1.0)
    assert best.epsilon[0] == 0
    assert (best.delta[0], best.margin[0]) == pytest.approx((2.2 / 3, -0.5 / 3))


def test_without_an_upper_end_it_is_flat() -> None:
    best = largest_margin(np.array([[0.0, 1.0]]), np.array([0.2, 0.5]), np.full(2, np.inf), 0.8)
    assert (best.epsilon[0], best.delta[0], best.margin[0]) == pytest.approx((0.8, 0.0, 0.3))
