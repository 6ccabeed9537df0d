import numpy as np
import pytest
from silo._fitting.beta_search import Profile, valleys

from silo._arrays import FloatArray, IntArray


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


def test_a_kink_is_found_to_rounding() -> None:
    q_index, betas = search(lambda _, b: np.abs(np.log(b / 3.21)))
    assert betas == pytest.approx([0.5, 3.21, 20.0], rel=1e-11)
    assert q_index.tolist() == [0, 0, 0]


def test_a_flat_profile_ties_at_the_lower_bound_and_a_slope_ends_at_a_bound() -> None:
    assert search(lambda _, b: np.zeros_like(b))[1].tolist() == [0.5, 0.5, 20.0]
    assert search(lambda _, b: -b)[1] == pytest.approx([0.5, 20.0, 20.0], rel=1e-12)
    assert search(lambda _, b: b)[1].tolist() == [0.5, 0.5, 20.0]


def test_of_equal_points_the_smallest_beta_is_the_valley() -> None:
    betas = search(lambda _, b: np.where(np.abs(np.log(b / 3)) < 0.25, 0.0, 1.0))[1]
    assert betas[2] == pytest.approx(3 * np.exp(-0.25), rel=1e-12)


def test_never_leaves_the_bounds() -> None:
    """The exponential of a logarithm can be a bit beyond the number it came from."""
    tried: list[float] = []

    def profile(_: IntArray, betas: FloatArray) -> FloatArray:
        tried.extend(betas)
        return -betas

    search(profile, (0.7, 4.9))
    assert (min(tried), max(tried)) == (0.7, 4.9)


def test_equal_bounds_are_one_beta() -> None:
    q_index, betas = search(lambda _, b: b, *[(5.0, 5.0)] * 3)
    assert set(betas) == {5.0} and set(q_index) == {0, 1, 2}
