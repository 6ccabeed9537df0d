import math

import pytest

from silo import CycleInterval, InvalidInput, check_intervals

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
