from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import expit

from silo._arrays import FloatArray
from silo.fit.branch_and_bound import Extents, Items, extents, parameter_ranges
from tests.effort import tries

BOUNDS = (0.5, 20.0)


def by_scipy(shape: FloatArray, low: FloatArray, high: FloatArray) -> list[float] | None:
    """The lowest and highest δ, then ε, by linear programs; None where no line lies in all intervals."""
    line, bounded = np.stack([np.ones_like(shape), shape], axis=1), np.isfinite(high)
    rows, ends = np.concatenate([-line, line[bounded]]), np.concatenate([-low, high[bounded]])
    found = []
    for cost in ([0, 1], [0, -1], [1, 0], [-1, 0]):
        result = linprog(cost, A_ub=rows, b_ub=ends, bounds=(0, None), method="highs")
        if result.status == 2:
            return None
        found.append(abs(result.fun) if result.status == 0 else np.inf)
    return found


def numbers(found: Extents, row: int) -> list[float]:
    both = (found.delta_low, found.delta_high, found.epsilon_low, found.epsilon_high)
    return [float(ends[row]) for ends in both]


@st.composite
def examples(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shapes with ties, 0 and 1 among them; intervals around a line or around nothing, some ends cut."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 9))
    shape = np.sort(random.choice([0.0, 1.0, *random.uniform(size=n)], n))
    rates = random.uniform(0.05, 0.5) + random.uniform(0, 0.5) * shape
    rates *= np.exp(draw(st.sampled_from([0.0, 0.1, 0.5])) * random.normal(size=n))
    low, high = rates * random.uniform(0.7, 1, n), rates * random.uniform(1, 1.3, n)
    cut = draw(st.sampled_from([0.0, 0.3, 1.0]))
    low[random.uniform(size=n) < cut] = 0.0
    high[random.uniform(size=n) < cut] = np.inf
    return shape, low, high


@settings(max_examples=tries(60), deadline=None)
@given(example=examples())
def test_is_what_linear_programs_find(example: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    shape, low, high = (array[None] for array in example)
    found, other = extents(shape, shape, low, high), by_scipy(*example)
    if found.empty[0] or other is None:
        # Whether a line fits or not is never a matter of roundings here, but both must say the same.
        assert found.empty[0] and other is None
    else:
        assert numbers(found, 0) == pytest.approx(other, rel=1e-7, abs=1e-9)


@settings(max_examples=tries(60), deadline=None)
@given(example=examples(), seed=st.integers(0, 2**32 - 1), width=st.sampled_from([1e-3, 0.03, 0.3]))
def test_no_shape_between_has_a_line_beyond(
    example: tuple[FloatArray, FloatArray, FloatArray], seed: int, width: float
) -> None:
    """Any shapes between two that grow, as long as they grow too."""
    shape, low, high = example
    random = np.random.default_rng(seed)
    below = np.minimum(shape, shape * random.uniform(1 - width, 1))
    above = np.maximum(shape, 1 - (1 - shape) * random.uniform(1 - width, 1))
    below, above = np.maximum.accumulate(below), np.maximum.accumulate(above)
    shares = np.concatenate([random.uniform(size=(20, shape.size)), np.zeros((1, shape.size))])
    shares[-2] = 1.0
    between = np.maximum.accumulate(below + shares * (above - below), axis=1)
    between = np.concatenate([between, shape[None]]).clip(below, above)
    bound = extents(below[None], above[None], low[None], high[None])
    exact = extents(between, between, np.tile(low, (22, 1)), np.tile(high, (22, 1)))
    if bound.empty[0]:
        assert exact.empty.all()
        return
    delta_low, delta_high, epsilon_low, epsilon_high = numbers(bound, 0)
    real = ~exact.empty
    assert (exact.delta_low[real] >= delta_low * (1 - 1e-12)).all()
    assert (exact.delta_high[real] <= delta_high * (1 + 1e-12)).all()
    assert (exact.epsilon_low[real] >= epsilon_low - 1e-12).all()
    assert (exact.epsilon_high[real] <= epsilon_high + 1e-12).all()


def test_narrow_bounds_of_the_shapes_tell_what_wide_ones_cannot() -> None:
    low, high = np.array([[0.1, 0.1, 0.5]]), np.array([[0.2, 0.2, 0.6]])
    shape = np.array([[0.0, 0.9, 1.0]])
    assert extents(shape, shape, low, high).empty[0]
    assert extents(shape - [[0, 0.05, 0]], shape, low, high).empty[0]
    assert not extents(shape - [[0, 0.8, 0]], shape, low, high).empty[0]


def around_beta(width: float, moved: float = 0.0) -> Items:
    """Intervals around a curve with beta = 3.3, one of them moved."""
    logits = np.array([[-np.inf, -2.0, 0.5, 1.0, 4.0]])
    rates = 0.1 + 0.5 * expit(3.3 * logits)
    rates[0, 2] *= 1 + moved
    return Items(logits=logits, low=rates * (1 - width), high=rates * (1 + width), slack=1e-9)


def test_a_region_between_the_points_of_any_grid_is_found() -> None:
    """Only betas within a share of about 1e-7 of 3.3 have a curve in these, and none if one is moved."""
    found = parameter_ranges(around_beta(1e-7), BOUNDS)
    assert (found.highest[0, 0], -found.highest[0, 1]) == pytest.approx((np.log(3.3),) * 2, abs=1e-5)
    assert found.highest[0, 0] > np.log(3.3) > -found.highest[0, 1]
    assert parameter_ranges(around_beta(1e-7, moved=2e-6), BOUNDS).empty[0]


def test_intervals_without_width_hold_a_curve_within_the_slack() -> None:
    items = around_beta(0.0)
    found = parameter_ranges(items, BOUNDS)
    assert (found.highest[0, 0], -found.highest[0, 1]) == pytest.approx((np.log(3.3),) * 2, abs=1e-6)
    assert found.highest[0, [2, 4]] == pytest.approx([0.5, 0.1], rel=1e-7)
    assert parameter_ranges(replace(items, slack=0.0), BOUNDS).empty[0]


def test_items_do_not_know_of_each_other_and_emptiness_alone_is_the_same() -> None:
    some = [around_beta(width, moved) for width in (1e-7, 0.02) for moved in (0.0, 2e-6, 0.5)]
    arrays = (np.concatenate([getattr(one, name) for one in some]) for name in ("logits", "low", "high"))
    logits, low, high = arrays
    items = Items(logits=logits, low=low, high=high, slack=1e-9)
    together = parameter_ranges(items, BOUNDS)
    assert together.empty.tolist() == [False, True, True, False, False, True]
    assert together.empty.tolist() == parameter_ranges(items, BOUNDS, only_empty=True).empty.tolist()
    for k, one in enumerate(some):
        assert parameter_ranges(one, BOUNDS).highest[0].tolist() == together.highest[k].tolist()


def test_equal_bounds_are_one_beta() -> None:
    items = around_beta(0.02)
    found = parameter_ranges(items, (3.3, 3.3)).highest[0]
    exact = by_scipy(expit(3.3 * items.logits[0]), items.low[0], items.high[0])
    assert exact is not None
    assert found.tolist() == pytest.approx(
        [np.log(3.3), -np.log(3.3), exact[1], -exact[0], exact[3], -exact[2]], rel=1e-7
    )
