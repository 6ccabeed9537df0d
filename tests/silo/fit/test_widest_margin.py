import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from silo._arrays import FloatArray, IntArray
from silo.fit.regions import Profile, valleys, widest_margin
from tests.effort import tries


def by_scipy(shape: FloatArray, low: FloatArray, high: FloatArray) -> float:
    ones = np.ones_like(shape)
    bounded = np.isfinite(high)
    rows = np.concatenate([np.stack([-ones, -shape, ones], 1), np.stack([ones, shape, ones], 1)[bounded]])
    ends = np.concatenate([-low, high[bounded]])
    bounds = [(0, None), (0, None), (None, None)]
    return float(-linprog([0, 0, -1], A_ub=rows, b_ub=ends, bounds=bounds, method="highs").fun)


@settings(max_examples=tries(40), deadline=None)
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
    best = widest_margin(shapes, low, high, 1.0)
    assert (best.epsilon >= 0).all() and (best.delta >= 0).all()
    assert (best.epsilon + best.delta > 0).all()
    for k, shape in enumerate(shapes):
        rates = best.epsilon[k] + best.delta[k] * shape
        reached = min((rates - low).min(), (high - rates).min())
        assert best.margin[k] == pytest.approx(reached, abs=1e-12)
        assert best.margin[k] == pytest.approx(by_scipy(shape, low, high), abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "low", "high", "expected"),
    [
        # Ties go to the smallest delta.
        ([0.0, 1.0], [0.4, 0.2], [0.6, 1.0], (0.5, 0.0, 0.1)),
        ([0.0, 1.0], [0.4, 0.6], [0.6, 1.0], (0.5, 0.2, 0.1)),
        # Epsilon stays at 0 where it would be negative.
        ([0.5, 1.0], [0.1, 0.9], [0.2, 1.0], (0.0, 2.2 / 3, -0.5 / 3)),
        # Without an upper end the line is flat, at what was asked for.
        ([0.0, 1.0], [0.2, 0.5], [np.inf, np.inf], (0.8, 0.0, 0.3)),
    ],
)
def test_worked_by_hand(
    shape: list[float], low: list[float], high: list[float], expected: tuple[float, ...]
) -> None:
    best = widest_margin(np.array([shape]), np.array(low), np.array(high), 0.8)
    assert (best.epsilon[0], best.delta[0], best.margin[0]) == pytest.approx(expected)


def search(profile: Profile, *bounds: tuple[float, float]) -> tuple[IntArray, FloatArray]:
    """``valleys`` with one pair of bounds of beta per q; the default bounds where none is given."""
    lower, upper = np.array(bounds or [(0.5, 20.0)]).T
    return valleys(profile, lower, upper)


def test_finds_every_valley_of_every_q_between_its_own_bounds() -> None:
    def waves(q_index: IntArray, betas: FloatArray) -> FloatArray:
        return np.cos(4 * np.log(betas) + q_index)

    bounds = (0.5, 20.0), (0.5, 20.0), (1.0, 3.0)
    q_index, betas = search(waves, *bounds)
    assert (np.diff(q_index) >= 0).all()
    for q, (lowest, highest) in enumerate(bounds):
        phases = (np.pi * np.arange(-9, 10, 2) - q) / 4
        inside = np.exp(phases[(phases > np.log(lowest)) & (phases < np.log(highest))])
        found = betas[q_index == q]
        # A cosine is flat to rounding within 1e-8 of its minimum.
        assert inside.size and all(np.abs(found / beta - 1).min() < 1e-7 for beta in inside)
        assert (found[0], found[-1]) == (lowest, highest) and (np.diff(found) >= 0).all()


def test_kinks_ties_and_slopes_end_where_they_should() -> None:
    assert search(lambda _, b: np.abs(np.log(b / 3.21)))[1] == pytest.approx([0.5, 3.21, 20.0], rel=1e-11)
    assert search(lambda _, b: np.zeros_like(b))[1].tolist() == [0.5, 0.5, 20.0]
    assert search(lambda _, b: b)[1].tolist() == [0.5, 0.5, 20.0]
    betas = search(lambda _, b: np.where(np.abs(np.log(b / 3)) < 0.25, 0.0, 1.0))[1]
    assert betas[2] == pytest.approx(3 * np.exp(-0.25), rel=1e-12)
    assert set(search(lambda _, b: b, *[(5.0, 5.0)] * 3)[1]) == {5.0}


def test_never_leaves_the_bounds() -> None:
    """The exponential of a logarithm can be a bit beyond the number it came from."""
    tried: list[float] = []

    def profile(_: IntArray, betas: FloatArray) -> FloatArray:
        tried.extend(betas)
        return -betas

    search(profile, (0.7, 4.9))
    assert (min(tried), max(tried)) == (0.7, 4.9)
