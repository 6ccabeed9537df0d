from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from silo._fitting.lines import Kind, least_squares, losses

from silo._arrays import FloatArray

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


def example(seed: int, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(6, n) rising shapes, some of them 0, with (6, n) optima and weights."""
    random = np.random.default_rng(seed)
    shapes = np.sort(random.uniform(size=(6, n)) ** random.uniform(0.2, 5), axis=1)
    shapes[random.uniform(size=shapes.shape) < 0.2] = 0
    optima = random.uniform(0.01, 1, (6, n))
    weights = random.uniform(0.1, 1, (6, n))
    return shapes, optima, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_is_what_scipy_and_numpy_find(kind: Kind, seed: int, n: int) -> None:
    shapes, optima, weights = example(seed, n)
    lines = least_squares(shapes, optima, weights, kind)
    if kind == "rising":
        assert (lines.level >= 0).all() and (lines.slope >= 0).all()
    for k in range(6):
        residuals = optima[k] - lines.level[k] - lines.slope[k] * shapes[k]
        assert lines.loss[k] == pytest.approx(weights[k] @ residuals**2, rel=1e-9, abs=1e-20)
        other = solved_by_another(shapes[k], optima[k], weights[k], kind)
        assert lines.loss[k] == pytest.approx(other, rel=1e-9, abs=1e-20)
        assert kind != "scaled" or lines.level[k] == 0
        assert kind != "flat" or lines.slope[k] == 0


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_moments_give_the_same_losses_for_every_pair(kind: Kind, seed: int, n: int) -> None:
    shapes, optima, weights = example(seed, n)
    found = losses(shapes, optima, weights, kind)
    assert found.shape == (6, 6) and (found >= 0).all()
    exact = [least_squares(shapes, y, w, kind).loss for y, w in zip(optima, weights, strict=True)]
    # The moments' roundings: of the order of 1e-16, but more where a shape hardly varies.
    clear = np.ptp(shapes, axis=1) > 0.03
    assert found[:, clear] == pytest.approx(np.array(exact)[:, clear], rel=1e-7, abs=1e-11)
    flat = np.ptp(shapes, axis=1) == 0
    assert found[:, flat] == pytest.approx(np.array(exact)[:, flat], rel=1e-7, abs=1e-11)


def test_each_case_of_the_active_set() -> None:
    half = np.array([0.5, 0.5])
    both = least_squares(np.array([[0.0, 1.0]]), np.array([0.2, 0.5]), half, "rising")
    assert (both.level[0], both.slope[0]) == pytest.approx((0.2, 0.3))
    no_rise = least_squares(np.array([[0.0, 1.0]]), np.array([0.5, 0.2]), half, "rising")
    assert (no_rise.level[0], no_rise.slope[0]) == (0.35, 0)
    no_start = least_squares(np.array([[0.5, 1.0]]), np.array([0.1, 0.5]), half, "rising")
    assert (no_start.level[0], no_start.slope[0]) == pytest.approx((0, 0.44))
    zero = least_squares(np.zeros((1, 2)), np.array([0.1, 0.5]), half, "rising")
    assert (zero.level[0], zero.slope[0]) == (0.3, 0)
    free = least_squares(np.array([[0.0, 1.0]]), np.array([0.5, 0.2]), half, "free")
    assert (free.level[0], free.slope[0]) == pytest.approx((0.5, -0.3))
