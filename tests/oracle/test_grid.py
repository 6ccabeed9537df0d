import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.cycles import Grid, chunks, linear_values, log_values, stepped_values


def test_stepped_values_are_the_papers_grid_to_the_last_digit():
    values = stepped_values(0.002, 0.1, 0.002)
    assert len(values) == 50
    assert values[:3] == (0.002, 0.004, 0.006)
    assert values[-1] == 0.1


def test_linear_values_include_both_ends():
    assert linear_values(0.1, 0.5, 5) == (0.1, 0.2, 0.3, 0.4, 0.5)


def test_log_values_have_a_constant_ratio():
    assert log_values(1e-4, 1e-1, 4) == (1e-4, 1e-3, 1e-2, 1e-1)


def test_a_linear_grid_extends_by_its_step_and_stops_before_zero():
    grid = Grid(values=(0.002, 0.004, 0.006), scale="linear", limit=3)
    assert [grid.above(n) for n in (1, 2, 3, 4)] == [0.008, 0.01, 0.012, None]
    assert grid.below(1) is None


def test_a_log_grid_extends_by_its_ratio():
    grid = Grid(values=(0.01, 0.1), scale="log", limit=2)
    assert [grid.above(1), grid.above(2), grid.above(3)] == [1.0, 10.0, None]
    assert [grid.below(1), grid.below(2)] == [0.001, 0.0001]


def test_an_extension_stops_where_numbers_end_or_can_not_be_told_apart():
    far = Grid(values=(1e-200, 1.0), scale="log", limit=9)
    assert [far.above(n) for n in (1, 2)] == [1e200, None]
    assert far.below(1) is None
    near = Grid(values=(0.1, 0.1000001), scale="log", limit=3)
    assert near.above(1) is None


def test_a_limit_of_zero_turns_extension_off():
    grid = Grid(values=(0.01, 0.1), scale="log", limit=0)
    assert grid.above(1) is None
    assert grid.below(1) is None


@given(st.integers(1, 60), st.integers(1, 20))
def test_chunks_are_the_fewest_and_as_even_as_can_be(count, size):
    values = list(range(count))
    split = chunks(values, size)
    assert [v for chunk in split for v in chunk] == values
    assert len(split) == -(-count // size)
    lengths = [len(chunk) for chunk in split]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("points", [2, 3, 17])
def test_grids_ascend(points):
    for values in (linear_values(0.003, 0.7, points), log_values(0.003, 0.7, points)):
        assert len(values) == points
        assert list(values) == sorted(set(values))
