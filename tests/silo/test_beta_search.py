import numpy as np
import pytest

from silo._beta_search import beta_grid, first_of_best, valleys
from silo._problem import IntArray
from silo.curve import FloatArray


def test_finds_every_valley_of_every_q() -> None:
    def waves(q_index: IntArray, betas: FloatArray) -> FloatArray:
        return np.cos(4 * np.log(betas) + q_index)

    q_index, betas = valleys(waves, 2, (0.5, 20.0))
    for q in (0, 1):
        phases = (np.pi * np.arange(-9, 10, 2) - q) / 4
        inside = np.exp(phases[(phases > np.log(0.5)) & (phases < np.log(20))])
        found = betas[q_index == q]
        # A cosine is flat to rounding within 1e-8 of its minimum.
        assert all(np.abs(found / beta - 1).min() < 1e-7 for beta in inside)
        assert found[0] == 0.5 and (np.diff(found) >= 0).all()


def test_a_kink_is_found_to_rounding() -> None:
    q_index, betas = valleys(lambda _, b: np.abs(np.log(b / 3.21)), 1, (0.5, 20.0))
    assert betas[1] == pytest.approx(3.21, rel=1e-11)
    assert q_index.tolist() == [0, 0]


def test_a_flat_profile_ties_at_the_lower_bound_and_a_slope_ends_at_a_bound() -> None:
    assert set(valleys(lambda _, b: np.zeros_like(b), 1, (0.5, 20.0))[1]) == {0.5}
    assert valleys(lambda _, b: -b, 1, (0.5, 20.0))[1].max() == pytest.approx(20.0, rel=1e-12)
    assert valleys(lambda _, b: b, 1, (0.5, 20.0))[1].max() == 0.5


def test_equal_bounds_are_one_beta() -> None:
    q_index, betas = valleys(lambda _, b: b, 3, (5.0, 5.0))
    assert set(betas) == {5.0} and set(q_index) == {0, 1, 2}
    assert beta_grid(2, (5.0, 5.0))[0].tolist() == [0, 1]


def test_ties_go_to_the_first() -> None:
    assert first_of_best(np.array([3.0, 1 + 1e-13, 1.0]), 0.0) == 1
    assert first_of_best(np.array([3.0, 1 + 1e-11, 1.0]), 0.0) == 2
    assert first_of_best(np.array([3.0, 1 + 1e-11, 1.0]), 1e-10) == 1
    assert first_of_best(np.array([3.0, -1 + 1e-13, -1.0]), 0.0) == 1
