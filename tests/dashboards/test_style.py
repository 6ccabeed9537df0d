import pytest

from dashboards.style import (
    density_text,
    log_ticks,
    padded,
    percent_text,
    plain_rate_text,
    rate_text,
)
from oracle.measure import BY_ACCURACY

IN_UNITS = {0.042: "4.2", 0.106: "10.6", 0.0413216: "4.132", 0.1: "10", 3e-4: "0.03", 1.5e-8: "0.0000015"}
PLAIN = {0.0413216: "0.04132", 0.00001: "0.00001", 1.0: "1", 250.0: "250"}
SHARES = {0.005: "0.5 %"}
DENSITIES = {1.0: "100", 0.8: "80.0", 0.4096: "41.0", 0.0572: "5.72", 0.00204: "0.204"}


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (rate_text, IN_UNITS),
        (plain_rate_text, PLAIN),
        (density_text, DENSITIES),
        (percent_text, {0.005: "0.5 %"}),
    ],
)
def test_numbers_have_few_digits_and_no_exponent(write, texts):
    assert {value: write(value) for value in texts} == texts


def test_accuracies_are_in_percent():
    assert BY_ACCURACY.text(0.97678, 0.0043) == "97.68 ± 0.43"
    assert BY_ACCURACY.text(0.97678) == "97.68"


def test_ticks_of_a_log_axis_are_few_and_inside():
    assert log_ticks(0.011, 0.26) == ([0.02, 0.05, 0.1, 0.2], ["0.02", "0.05", "0.1", "0.2"])
    values, texts = log_ticks(1e-6, 10.0)
    assert texts == ["0.000001", "0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "10"]
    assert values == pytest.approx([10.0**k for k in range(-6, 2)])


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [(1.0, 2.0, [0.9, 2.1]), (0.02, 0.02 + 1e-17, [0.018, 0.022]), (0.0, 0.0, [-0.05, 0.05])],
)
def test_an_axis_has_room_even_around_a_single_value(low, high, ends):
    assert padded(low, high, 0.1, around=0.5) == pytest.approx(ends)
