""""""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo import CycleAccuracies, CycleInterval, InvalidInput, check_intervals, fit_curve
from silo.measured import check_accuracies, intervals_and_accuracies, optimized

GOOD = {"cycle": 3, "optimum": 0.05, "low": 0.04, "high": 0.06}


def interval(**changes: object) -> CycleInterval:
    return CycleInterval(**(GOOD | changes))  # type: ignore[arg-type]


def test_contains_the_stated_ends() -> None:
    cut = interval(low_cut=True, high_cut=True)
    for rate, hit in [(0.04, True), (0.06, True), (0.05, True), (0.0399, False), (0.0601, False)]:
        assert interval().contains(rate) is hit
        assert cut.contains(rate) is hit
        assert interval().compatible(rate) is hit


def test_a_cut_end_bounds_nothing() -> None:
    assert interval(low_cut=True).compatible(1e-9)
    assert not interval(low_cut=True).compatible(0.07)
    assert interval(high_cut=True).compatible(5.0)
    assert not interval(high_cut=True).compatible(0.03)


def test_slack_is_relative() -> None:
    small = interval(optimum=5e-9, low=4e-9, high=6e-9)
    assert small.contains(6e-9 * (1 + 0.9e-9))
    assert not small.contains(6e-9 * (1 + 1.1e-9))
    assert small.contains(6.5e-9, slack=0.1)
    assert not interval().contains(0.06 * (1 + 1e-15), slack=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cycle", -1),
        ("optimum", 0.07),
        ("low", 0.0),
        ("high", math.inf),
        ("high", "0.06"),
        ("low_cut", 1),
        ("high_cut", None),
    ],
)
def test_bad_values_are_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as raised:
        interval(**{name: value})
    message = str(raised.value)
    assert name in message and repr(value) in message and "cycle" in message and "\n" not in message


def test_intervals_are_sorted() -> None:
    first, second = interval(cycle=2), interval(cycle=7)
    assert check_intervals(iter([second, first])) == (first, second)


@pytest.mark.parametrize("bad", [[], [interval(), interval(low=0.03)], [(3, 0.05, 0.04, 0.06)], None])
def test_bad_collections_are_refused(bad: object) -> None:
    with pytest.raises(InvalidInput, match=r"empty|cycle 3 was given twice|must be a"):
        check_intervals(bad)  # type: ignore[arg-type]


IMAGES = 1000
GRID = [0.01, 0.02, 0.04, 0.08, 0.16]


def slowly(scores: list[int], tolerance: int) -> tuple[int, int, int]:
    """The rule, in whole numbers, where equal is equal."""
    best = max(range(len(scores)), key=lambda i: (scores[i], -i))
    first = last = best
    while first > 0 and scores[first - 1] >= scores[best] - tolerance:
        first -= 1
    while last + 1 < len(scores) and scores[last + 1] >= scores[best] - tolerance:
        last += 1
    return best, first, last


def measured(*means: float, cycle: int = 2) -> CycleAccuracies:
    """One replicate, on the first rates of the grid."""
    return CycleAccuracies(
        cycle=cycle, rates=np.array(GRID[: len(means)]), accuracies=np.array(means)[:, None]
    )


@st.composite
def counts(draw: st.DrawFn) -> list[list[list[int]]]:
    """Right answers of IMAGES, (sets of trainings, candidates, replicates), near each other: ties abound."""
    n, r = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    row = st.lists(st.integers(930, 940), min_size=r, max_size=r)
    return draw(st.lists(st.lists(row, min_size=n, max_size=n), min_size=1, max_size=5))


@given(right=counts(), tolerance=st.integers(0, 12))
def test_optimized_is_the_rule_for_all_sets_at_once(right: list[list[list[int]]], tolerance: int) -> None:
    means = (np.array(right) / IMAGES).mean(axis=2)
    replicates = len(right[0][0])
    found = optimized(means, tolerance / IMAGES)
    expected = [slowly([sum(row) for row in one], tolerance * replicates) for one in right]
    assert list(zip(*(index.tolist() for index in found), strict=True)) == expected


@given(right=counts(), tolerance=st.integers(0, 12), seed=st.integers(0, 9))
def test_an_interval_is_the_rule_whatever_the_order_of_the_replicates(
    right: list[list[list[int]]], tolerance: int, seed: int
) -> None:
    one = np.array(right[0])
    rates = np.cumsum(np.arange(1, one.shape[0] + 1)) / 100
    shuffled = one[:, np.random.default_rng(seed).permutation(one.shape[1])]
    best, first, last = slowly(one.sum(axis=1).tolist(), tolerance * one.shape[1])
    cycle = CycleAccuracies(cycle=4, rates=rates, accuracies=shuffled / IMAGES)
    assert cycle.replicates == one.shape[1]
    assert cycle.interval(tolerance / IMAGES) == CycleInterval(
        cycle=4,
        optimum=rates[best],
        low=rates[first],
        high=rates[last],
        low_cut=first == 0,
        high_cut=last == one.shape[0] - 1,
    )


def test_half_a_percent_below_the_best_is_within_it_and_a_little_more_is_not() -> None:
    assert measured(0.1, 0.895, 0.9, 0.895, 0.1).interval().low == GRID[1]
    assert measured(0.1, 0.895, 0.9, 0.895, 0.1).interval().high == GRID[3]
    outside = measured(0.1, 0.895 - 1e-9, 0.9, 0.895 - 1e-9, 0.1).interval()
    assert (outside.low, outside.high) == (GRID[2], GRID[2])


def test_accuracies_are_copies_that_nobody_can_change() -> None:
    rates, accuracies = np.array([0.1, 0.2]), np.array([[0.5, 0.6], [0.7, 0.8]])
    cycle = CycleAccuracies(cycle=np.int64(3), rates=rates, accuracies=accuracies)  # type: ignore[arg-type]
    rates[0], accuracies[0, 0] = 9, 9
    assert (cycle.rates[0], cycle.accuracies[0, 0], type(cycle.cycle)) == (0.1, 0.5, int)
    for array in (cycle.rates, cycle.accuracies):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    plain = CycleAccuracies(cycle=0, rates=[1, 2], accuracies=[[0, 1], [1, 0]])  # type: ignore[arg-type]
    assert plain.rates.dtype == plain.accuracies.dtype == np.float64


@pytest.mark.parametrize(
    ("name", "value", "shown", "advice"),
    [
        ("cycle", -1, "-1", "give an int"),
        ("rates", [0.1, 0.2], r"\(3, 2\)", r"here \(2, r\)"),
        ("rates", [0.1, 0.1, 0.2], r"\[0.1, 0.1, 0.2\]", "each once"),
        ("rates", [0.0, 0.1, 0.2], r"\[0.0, 0.1, 0.2\]", "positive"),
        ("rates", [0.1, math.nan, 0.2], "nan", "give one per candidate"),
        ("rates", [], r"\[\]", "give one per candidate"),
        ("rates", ["0.1", "0.2", "0.3"], "'0.1'", "give one per candidate"),
        ("accuracies", [[95.3, 96], [97, 98], [90, 91]], "95.3", r"95.3 % is 0.953"),
        ("accuracies", [[-0.1, 0.6], [0.7, 0.8], [0.6, 0.7]], "-0.1", r"\[0, 1\]"),
        ("accuracies", [[0.5, math.nan], [0.7, 0.8], [0.6, 0.7]], "nan", "one number per replicate"),
        ("accuracies", [[0.5, 0.6], [0.7], [0.6, 0.7]], r"\[0.7\]", "one number per replicate"),
        ("accuracies", [[True, False]] * 3, "True", "one number per replicate"),
        ("accuracies", [[], [], []], r"\(3, 0\)", r"here \(3, r\)"),
    ],
)
def test_bad_input_is_named_in_one_line(name: str, value: object, shown: str, advice: str) -> None:
    good: dict[str, object] = {
        "cycle": 2,
        "rates": [0.1, 0.2, 0.3],
        "accuracies": [[0.5, 0.6], [0.7, 0.8], [0.6, 0.7]],
    }
    with pytest.raises(InvalidInput, match=rf"not .*{shown}") as raised:
        CycleAccuracies(**(good | {name: value}))  # type: ignore[arg-type]
    message = str(raised.value)
    assert re.search(advice, message) and "\n" not in message
    assert name in message or "here (2, r)" in message
    assert name == "cycle" or "cycle 2" in message


@pytest.mark.parametrize("tolerance", [-0.001, 50, math.nan, None])
def test_a_bad_tolerance_is_named(tolerance: object) -> None:
    with pytest.raises(InvalidInput, match=rf"tolerance must .*not {tolerance!r}: "):
        measured(0.5, 0.6).interval(tolerance)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="tolerance"):
        fit_curve([measured(0.5, 0.6).interval()], pruning_rate=0.2, tolerance=tolerance)  # type: ignore[arg-type]


def test_accuracies_come_in_the_order_of_their_cycles() -> None:
    later, earlier = measured(0.5, cycle=7), measured(0.6, cycle=3)
    assert check_accuracies(iter([later, earlier])) == (earlier, later)
    intervals, accuracies = intervals_and_accuracies((one for one in (later, earlier)), 0.005)
    assert accuracies == (earlier, later) and intervals == (earlier.interval(), later.interval())
    assert intervals_and_accuracies(iter(intervals[::-1]), 0.005) == (intervals, ())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "accuracies must be a list of CycleAccuracies, not None"),
        ([], "accuracies must not be empty: give"),
        ([measured(0.5), 3], "accuracies must be of type CycleAccuracies, not 3"),
        ([measured(0.5), measured(0.6)], "accuracies of cycle 2 were given twice: give them once"),
    ],
)
def test_what_are_no_accuracies_is_said(value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_accuracies(value)  # type: ignore[arg-type]


def test_intervals_and_accuracies_do_not_mix() -> None:
    mixed = [measured(0.5, cycle=0), measured(0.6, cycle=1).interval()]
    for either in (mixed, mixed[::-1]):
        with pytest.raises(InvalidInput, match="must be of type CycleAccuracies, not CycleInterval"):
            intervals_and_accuracies(either, 0.005)  # type: ignore[arg-type]
