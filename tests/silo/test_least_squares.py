import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from silo._least_squares import least_squares


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_is_the_non_negative_least_squares_of_scipy(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    shapes = np.sort(random.uniform(size=(6, n)) ** random.uniform(0.2, 5), axis=1)
    shapes[random.uniform(size=shapes.shape) < 0.2] = 0
    optima = random.uniform(0.01, 1, n)
    weights = random.uniform(0.1, 1, n)
    weights /= weights.sum()
    lines = least_squares(shapes, optima, weights)
    assert (lines.epsilon >= 0).all() and (lines.delta >= 0).all()
    for k, row in enumerate(shapes):
        root = np.sqrt(weights)
        _, norm = nnls(root[:, None] * np.stack([np.ones(n), row], axis=1), root * optima)
        assert lines.loss[k] == pytest.approx(norm**2, rel=1e-9, abs=1e-20)
        residuals = optima - lines.epsilon[k] - lines.delta[k] * row
        assert lines.loss[k] == pytest.approx(weights @ residuals**2, rel=1e-9, abs=1e-20)


def test_each_case_of_the_active_set() -> None:
    half = np.array([0.5, 0.5])
    both = least_squares(np.array([[0.0, 1.0]]), np.array([0.2, 0.5]), half)
    assert (both.epsilon[0], both.delta[0]) == pytest.approx((0.2, 0.3))
    no_rise = least_squares(np.array([[0.0, 1.0]]), np.array([0.5, 0.2]), half)
    assert (no_rise.epsilon[0], no_rise.delta[0]) == (0.35, 0)
    no_start = least_squares(np.array([[0.5, 1.0]]), np.array([0.1, 0.5]), half)
    assert (no_start.epsilon[0], no_start.delta[0]) == pytest.approx((0, 0.44))
    flat = least_squares(np.zeros((1, 2)), np.array([0.1, 0.5]), half)
    assert (flat.epsilon[0], flat.delta[0]) == (0.3, 0)
