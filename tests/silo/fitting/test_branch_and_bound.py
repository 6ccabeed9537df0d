import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from silo._fitting.branch_and_bound import Items, cut, find_regions, halves

from silo._arrays import FloatArray
from tests.silo.fitting.all_lines import reach

BOUNDS = (0.5, 20.0)
LOGS = (np.log(0.5), np.log(20.0))


def example(seed: int, count: int = 4) -> Items:
    """Intervals around a curve, or around nothing, some of their ends cut off; ``count`` of them."""
    random = np.random.default_rng(seed)
    n = random.integers(2, 8)
    logits = np.sort(random.normal(0, 2, (count, n)), axis=1)
    logits[:, : n // 4] = -np.inf
    betas = np.exp(random.uniform(*LOGS, (count, 1)))
    noise = random.choice([0, 0.1, 0.3], (count, 1)) * random.normal(size=(count, n))
    rates = (0.3 + 0.6 * expit(betas * logits)) * np.exp(noise)
    low, high = rates * random.uniform(0.8, 1, (count, n)), rates * random.uniform(1, 1.2, (count, n))
    cuts = random.uniform(size=(2, count, n)) < random.choice([0, 0.25])
    return Items(
        logits=logits, low=np.where(cuts[0], 0, low), high=np.where(cuts[1], np.inf, high), slack=1e-9
    )


def by_grid(items: Items, k: int, logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The six highest numbers of item k over a grid of log β, and of each β alone."""
    shapes = expit(np.exp(logs)[:, None] * items.logits[k])
    _, lines = reach(shapes, items.low[k], items.high[k])
    six = np.column_stack([logs, -logs, lines])
    six[np.isneginf(lines[:, 0])] = -np.inf
    return six.max(axis=0), six


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_curve_of_a_grid_is_beyond_the_ranges_and_their_ends_are_reached(seed: int) -> None:
    items = example(seed)
    found = find_regions(items, BOUNDS)
    for k in range(4):
        everywhere, _ = by_grid(items, k, np.linspace(*LOGS, 801))
        assert not found.empty[k] or np.isneginf(everywhere[0])
        if found.empty[k]:
            continue
        high, low = found.highest[k, 0], -found.highest[k, 1]
        inside, each = by_grid(items, k, np.linspace(low, high, 801))
        finite = np.isfinite(found.highest[k])
        slack = np.where(np.arange(6) < 2, 1e-6, 1e-4 * np.abs(found.highest[k])) + 1e-12
        for grid in (everywhere, inside):
            assert (grid[finite] <= (found.highest[k] + slack)[finite]).all()
        # Between its ends a range changes by less than this per step of the fine grid.
        ends, _ = by_grid(widened(items), k, np.array([low, high]))
        assert (ends[0], ends[1]) == (high, -low)
        steps = np.abs(np.diff(np.where(np.isfinite(each), each, 0.0), axis=0)).max(axis=0)
        assert (inside >= found.highest[k] - steps - 1e-6)[finite].all()
        assert (np.isinf(inside) == ~finite).all()


def widened(items: Items) -> Items:
    """As far out as the points that are tried may be."""
    return Items(
        logits=items.logits,
        low=items.low * (1 - 1.01e-9),
        high=items.high * (1 + 1.01e-9),
        slack=0.0,
    )


def narrow(moved: float = 0.0) -> Items:
    """Only betas within a share of about 1e-7 of 3.3 have a curve in these, and none if one is moved."""
    logits = np.array([[-np.inf, -2.0, 0.5, 1.0, 4.0]])
    rates = 0.1 + 0.5 * expit(3.3 * logits)
    rates[0, 2] *= 1 + moved
    return Items(logits=logits, low=rates * (1 - 1e-7), high=rates * (1 + 1e-7), slack=1e-9)


def test_a_region_between_the_points_of_any_grid_is_found() -> None:
    found = find_regions(narrow(), BOUNDS)
    assert not found.empty[0]
    assert (found.highest[0, 0], -found.highest[0, 1]) == pytest.approx((np.log(3.3),) * 2, abs=1e-5)
    assert found.highest[0, 0] > np.log(3.3) > -found.highest[0, 1]
    assert find_regions(narrow(moved=2e-6), BOUNDS).empty[0]


def test_intervals_without_width_hold_a_curve_within_the_slack() -> None:
    logits = np.array([[-np.inf, -2.0, 0.5, 1.0, 4.0]])
    rates = 0.1 + 0.5 * expit(3.3 * logits)
    found = find_regions(Items(logits=logits, low=rates, high=rates, slack=1e-9), BOUNDS)
    assert (found.highest[0, 0], -found.highest[0, 1]) == pytest.approx((np.log(3.3),) * 2, abs=1e-6)
    assert found.highest[0, [2, 4]] == pytest.approx([0.5, 0.1], rel=1e-7)
    exact = find_regions(Items(logits=logits, low=rates, high=rates, slack=0.0), BOUNDS)
    assert exact.empty[0]


def test_items_do_not_know_of_each_other() -> None:
    items = example(7, count=6)
    together = find_regions(items, BOUNDS)
    assert 0 < together.empty.sum() < 6
    for k in range(6):
        one = Items(logits=items.logits[[k]], low=items.low[[k]], high=items.high[[k]], slack=items.slack)
        alone = find_regions(one, BOUNDS)
        assert alone.empty[0] == together.empty[k]
        assert alone.highest[0].tolist() == together.highest[k].tolist()


def test_without_ranges_it_only_says_which_are_empty() -> None:
    for items in (example(7, count=6), narrow(), narrow(moved=2e-6)):
        assert (find_regions(items, BOUNDS, ranges=False).empty == find_regions(items, BOUNDS).empty).all()


def test_equal_bounds_are_one_beta() -> None:
    items = example(7, count=6)
    found = find_regions(items, (3.0, 3.0))
    for k in range(6):
        grid, _ = by_grid(items, k, np.log([3.0]))
        assert found.empty[k] == np.isneginf(grid[0])
        assert found.highest[k] == pytest.approx(grid, rel=1e-7, abs=1e-8)


def test_the_parts_cover_the_axis_of_every_item() -> None:
    rows, left, right = cut(2, BOUNDS, 4)
    assert rows.tolist() == [0] * 4 + [1] * 4
    for k in (0, 1):
        ends = left[rows == k], right[rows == k]
        assert (ends[0][0], ends[1][-1]) == LOGS and (ends[0][1:] == ends[1][:-1]).all()
    halved = halves(rows, left, right, rows == 1)
    assert set(halved[0]) == {1} and sum(halved[2] - halved[1]) == pytest.approx(LOGS[1] - LOGS[0])
