import math
from dataclasses import replace

import pytest

from silo import CycleInterval, InvalidInput, Region, SiloCurve, fit_curve, load_table
from tests.silo.fit.consistency import around


def flat(*optima: float, cycles: list[int] | None = None, **cuts: bool) -> list[CycleInterval]:
    where = cycles or range(len(optima))
    pairs = zip(where, optima, strict=True)
    return [CycleInterval(cycle=m, optimum=r, low=r * 0.9, high=r * 1.1, **cuts) for m, r in pairs]


def test_table_10_golden() -> None:
    fit = fit_curve(load_table(10).intervals, pruning_rate=0.2)
    curve = fit.curve
    assert (curve.q, fit.feasible_q, fit.missed_cycles) == (1, (1,), ())
    assert (curve.beta, curve.epsilon, curve.delta) == pytest.approx((3.798, 0.03998, 0.0613), rel=1e-3)
    assert all(fit.inside.values())
    # The narrowest interval, [3.6, 4.2], bounds the margin.
    assert fit.margin == pytest.approx(0.003)


def test_table_11_has_a_curve_in_all_intervals_though_the_papers_is_not() -> None:
    table = load_table(11)
    fit = fit_curve(table.intervals, pruning_rate=0.2)
    assert [i.cycle for i in table.intervals if not i.contains(table.curve.max_lr(i.cycle))] == [3, 7]
    assert fit.hitting is not None
    assert all(i.contains(fit.hitting.max_lr(i.cycle), slack=0.0) for i in table.intervals)
    curve = fit.curve
    assert (curve.q, fit.feasible_q) == (1, (0, 1, 2, 3))
    assert (curve.beta, curve.epsilon, curve.delta) == pytest.approx((3.233, 0.03396, 0.02865), rel=1e-3)
    assert fit.margin == pytest.approx(0.0035306, rel=1e-4)
    best = fit.hitting
    assert (best.q, best.beta, best.epsilon, best.delta) == pytest.approx(
        (1, 2.996, 0.03247, 0.03344), rel=1e-3
    )


def test_table_10_leaves_only_q_1() -> None:
    regions = fit_curve(load_table(10).intervals, pruning_rate=0.2).regions
    assert [region.q for region in regions] == list(range(6))
    assert [len(region.missed_cycles) for region in regions] == [1, 0, 1, 1, 1, 2]
    check_ranges(regions[1], beta=(1.748, 9.030), epsilon=(0.0360, 0.0420), delta=(0.0560, 0.07055))
    assert (regions[1].curve.beta, regions[1].margin) == pytest.approx((2.484, 0.003), rel=1e-3)


def test_table_11_leaves_four_q() -> None:
    regions = fit_curve(load_table(11).intervals, pruning_rate=0.2).regions
    assert [len(region.missed_cycles) for region in regions] == [0, 0, 0, 0, 1, 2]
    check_ranges(regions[0], beta=(2.642, 6.478), epsilon=(0.028, 0.03266), delta=(0.02168, 0.03059))
    check_ranges(regions[1], beta=(1.238, 20.0), epsilon=(0.028, 0.036), delta=(0.01801, 0.04808))
    check_ranges(regions[2], beta=(0.7379, 2.305), epsilon=(0.028, 0.036), delta=(0.03705, 0.06128))
    check_ranges(regions[3], beta=(0.5, 1.155), epsilon=(0.034, 0.036), delta=(0.042, 0.06102))
    assert max(region.margin for region in regions) == regions[1].margin
    assert regions[4].beta is regions[4].epsilon is regions[4].delta is None and regions[4].margin < 0


def check_ranges(region: Region, **expected: tuple[float, float]) -> None:
    for name, ends in expected.items():
        assert getattr(region, name) == pytest.approx(ends, rel=3e-4)


def test_a_region_reads_as_it_is() -> None:
    regions = fit_curve(load_table(10).intervals, pruning_rate=0.2).regions
    assert str(regions[1]) == "q=1: beta 1.748 to 9.03, epsilon 0.036 to 0.042, delta 0.056 to 0.07055"
    assert str(regions[5]) == "q=5: none; at least 2 missed, such as m = 5, 7"
    unbounded = fit_curve(flat(0.02, 0.05, high_cut=True), pruning_rate=0.2).regions[0]
    assert str(unbounded) == "q=0: beta 0.5 to 20, epsilon 0.018 and above, delta 0 and above"
    assert unbounded.to_dict()["delta"] == [0.0, None] and unbounded.to_dict()["beta"] == [0.5, 20.0]
    assert regions[0].to_dict()["beta"] is None and regions[0].to_dict()["empty"] is True


def test_a_delta_out_of_all_proportion_reads_as_unbounded() -> None:
    for scale in (1.0, 100.0):
        level = [
            CycleInterval(cycle=m, optimum=0.03 * scale, low=0.02 * scale, high=0.04 * scale)
            for m in range(3)
        ]
        fit = fit_curve(level, pruning_rate=0.2, q_values=[0, 1])
        for region in fit.regions:
            assert str(region).endswith(f"epsilon {0.02 * scale:g} to {0.04 * scale:g}, delta 0 and above")
            assert 1e3 < region.to_dict()["delta"][1] < math.inf
        assert any("delta is unidentified by the intervals: nothing bounds it" in note for note in fit.notes)


def test_an_interval_without_width_weighs_as_the_narrowest_with_one() -> None:
    points = [CycleInterval(cycle=0, optimum=0.05, low=0.05, high=0.05)]
    result = [*points, CycleInterval(cycle=1, optimum=0.03, low=0.02, high=0.04)]
    assert fit_curve(result, pruning_rate=0.2).curve.epsilon == pytest.approx(0.04)
    assert fit_curve(points, pruning_rate=0.2).curve.epsilon == 0.05


def test_points_on_a_curve_are_feasible_though_they_have_no_width() -> None:
    true = SiloCurve(q=2, beta=4.2, epsilon=0.03, delta=0.07, pruning_rate=0.2)
    fit = fit_curve(around(true, list(range(12)), width=0.0), pruning_rate=0.2)
    assert fit.feasible_q == (2,) and fit.margin == pytest.approx(0, abs=1e-9) and fit.margin >= 0


def test_narrow_intervals_are_all_hit_but_the_one_that_is_moved() -> None:
    """They leave so little that only a beta within a few percent hits the others."""
    true = SiloCurve(q=1, beta=4.2, epsilon=0.03, delta=0.07, pruning_rate=0.2)
    result = around(true, list(range(20)), width=0.001)
    rate = result[8].optimum
    result[8] = CycleInterval(cycle=8, optimum=rate * 1.015, low=rate * 1.005, high=rate * 1.025)
    assert fit_curve(result, pruning_rate=0.2).missed_cycles == (8,)


def test_a_curve_within_the_slack_of_the_ends_counts_for_both_criteria() -> None:
    """A curve of the steepest beta misses these by about 1e-9 of an end, on one side or on the other."""
    result = [
        CycleInterval(cycle=0, optimum=0.01, low=0.01, high=0.01, low_cut=True),
        CycleInterval(cycle=6, optimum=0.03, low=0.03, high=0.03, high_cut=True),
        CycleInterval(cycle=7, optimum=0.01, low=0.01, high=0.03, low_cut=True),
    ]
    fit = fit_curve(result, pruning_rate=0.2)
    assert fit.hitting is not None and fit.margin == 0 and not fit.missed_cycles


def test_falling_rates_give_a_flat_curve_that_says_so() -> None:
    fit = fit_curve(flat(0.08, 0.06, 0.05, 0.04, 0.03), pruning_rate=0.2)
    assert fit.curve.delta == 0 and fit.hitting is None and fit.missed_cycles and fit.margin < 0
    assert (fit.curve.q, fit.curve.beta) == (0, 0.5)
    assert any("q and beta mean nothing" in note for note in fit.notes)


@pytest.mark.parametrize("cycles", [[4], [0, 5]])
def test_under_three_cycles_q_and_beta_are_the_papers(cycles: list[int]) -> None:
    true = SiloCurve(q=1, beta=5, epsilon=0.03, delta=0.04, pruning_rate=0.2)
    fit = fit_curve(around(true, cycles), pruning_rate=0.2)
    assert (fit.curve.q, fit.curve.beta) == (1, 5)
    assert any("q = 1" in note and "beta = 5" in note and "set" in note for note in fit.notes)
    inside = fit_curve(around(true, cycles), pruning_rate=0.2, q_values=[2, 3], beta_bounds=(6, 9))
    assert (inside.curve.q, inside.curve.beta) == (2, 6)
    assert any("q = 2" in note and "beta = 6" in note and "set" in note for note in inside.notes)


def test_no_more_is_fitted_than_there_are_cycles() -> None:
    true = SiloCurve(q=1, beta=4, epsilon=0.03, delta=0.04, pruning_rate=0.2)
    three = fit_curve(around(true, [0, 5, 9]), pruning_rate=0.2)
    assert three.curve.q == 1 and three.curve.beta == pytest.approx(4, rel=1e-6)
    assert "3 cycles cannot fix four parameters: q = 1 is set, and only beta, epsilon and delta fitted." in (
        three.notes
    )
    later = replace(true, q=2)
    four = fit_curve(around(later, [0, 4, 5, 9]), pruning_rate=0.2)
    assert four.curve.q == 2 and not any("set, and only" in note for note in four.notes)
    one = fit_curve(around(true, [7]), pruning_rate=0.2)
    assert one.curve.delta == 0 and one.curve.epsilon == pytest.approx(true.max_lr(7))
    assert one.notes[0] == (
        "1 cycle cannot fix four parameters: q = 1, beta = 5 and delta = 0 are set, and only epsilon fitted."
    )


@pytest.mark.parametrize(
    ("cuts", "note"),
    [
        ({"low_cut": True, "high_cut": True}, "cut off every interval at both ends"),
        ({"high_cut": True}, "upper edge cuts off every interval: nothing bounds the curve from above"),
        ({"low_cut": True}, "lower edge cuts off every interval: nothing bounds the curve from below"),
    ],
)
def test_intervals_that_are_all_cut_off_bound_little(cuts: dict[str, bool], note: str) -> None:
    fit = fit_curve(flat(0.08, 0.06, 0.05, 0.04, **cuts), pruning_rate=0.2)
    assert fit.hitting is not None and fit.feasible_q == tuple(range(6)) and fit.margin > 0
    assert any(note in sentence for sentence in fit.notes)


def test_the_cycles_with_a_cut_interval_are_named() -> None:
    result = list(load_table(10).intervals)
    result[1], result[4] = replace(result[1], high_cut=True), replace(result[4], high_cut=True)
    notes = fit_curve(result, pruning_rate=0.2).notes
    assert any("upper edge cuts off the interval of cycles 3, 13" in note for note in notes)
    assert not any("edge" in note for note in fit_curve(load_table(10).intervals, pruning_rate=0.2).notes)


def test_other_notes() -> None:
    true = SiloCurve(q=1, beta=4, epsilon=0.03, delta=0.2, pruning_rate=0.2)

    def notes(cycles: list[int], **options: object) -> str:
        fit = fit_curve(around(true, cycles), pruning_rate=0.2, **options)  # type: ignore[arg-type]
        return " ".join(fit.notes)

    assert "No measured cycle lies beyond q = 5" in notes([0, 1, 2, 3], q_values=[5])
    assert "Only one measured cycle lies beyond q = 2" in notes([0, 1, 3], q_values=[2])
    assert "4 cycles for four parameters" in notes([0, 1, 3, 5])
    assert "beta is at its bound 3: a steeper" in notes(list(range(12)), beta_bounds=(1, 3))
    assert "beta is at its bound 6: a gentler" in notes(list(range(12)), beta_bounds=(6, 9))
    assert "cycle, 3, the curve has made 9.1% of its rise" in notes([0, 1, 2, 3], q_values=[1])
    assert "epsilon is an extrapolation" in notes([5, 6, 7, 8, 9, 10], q_values=[1])
    assert "q is not determined by the optima: with q = 2, 3, 4, 5 the" in notes([0, 1, 12, 20])
    assert notes(list(range(12))) == ""


def test_str_has_the_curves_and_the_notes() -> None:
    text = str(fit_curve(load_table(11).intervals, pruning_rate=0.2))
    assert "q=1, beta=3.233, epsilon=0.03396, delta=0.02865" in text
    assert "inside 5 of 5" in text and "margin 0.00353" in text and "q = 0, 1, 2, 3" in text
    assert "beta is unidentified by the intervals: curves in all of them have any from 0.5 to 20, its" in text
    text = str(fit_curve(flat(0.08, 0.02, 0.05, high_cut=False), pruning_rate=0.2))
    assert "No curve lies in all intervals" in text and "outside at m=" in text and "Note: " in text
    assert len(text.splitlines()) < 12


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pruning_rate", 20),
        ("q_values", []),
        ("q_values", 3),
        ("q_values", [1, -2]),
        ("beta_bounds", (5.0, 0.5)),
        ("beta_bounds", (1.0, math.inf)),
        ("beta_bounds", 5.0),
        ("weighting", "intervall"),
        ("draws", -5),
        ("intervals", []),
        ("intervals", None),
        ("tolerance", 2),
    ],
)
def test_bad_options_are_named(name: str, value: object) -> None:
    options = {"measured": load_table(10).intervals, "pruning_rate": 0.2}
    options["measured" if name == "intervals" else name] = value
    with pytest.raises(InvalidInput) as raised:
        fit_curve(**options)  # type: ignore[arg-type]
    message = str(raised.value)
    given_value = value[-1] if isinstance(value, list) and value else value
    assert name.rstrip("s") in message and "\n" not in message
    assert any(
        repr(v) in message for v in (value, given_value, *(value if isinstance(value, tuple) else ()), ())
    )


def test_of_a_lower_end_that_is_cut_off_0_takes_the_place() -> None:
    only = CycleInterval(cycle=0, optimum=0.02, low=0.01, high=0.03, low_cut=True)
    fit = fit_curve([only], pruning_rate=0.2, q_values=[1])
    assert fit.hitting is not None and fit.hitting.max_lr(0) == pytest.approx(0.015)
    assert fit.margin == pytest.approx(0.015)
    assert fit_curve([replace(only, low_cut=False)], pruning_rate=0.2).margin == pytest.approx(0.01)


def test_rates_just_below_zero_from_the_linear_program_do_not_get_out() -> None:
    """Its answer for this one has delta = -4e-10, within its own tolerance."""
    rest = [
        CycleInterval(cycle=m, optimum=0.01, low=0.01, high=0.01, low_cut=True, high_cut=m != 5)
        for m in range(2, 7)
    ]
    result = [
        CycleInterval(cycle=0, optimum=0.04, low=0.01, high=0.07, low_cut=True),
        CycleInterval(cycle=1, optimum=0.07, low=0.07, high=0.07, high_cut=True),
        *rest,
    ]
    assert len(fit_curve(result, pruning_rate=0.2).missed_cycles) == 1


def test_regions_that_are_alike_share_a_line():
    level = [CycleInterval(cycle=m, optimum=0.02, low=0.01, high=0.04) for m in range(2)]
    lines = [line for line in str(fit_curve(level, pruning_rate=0.2)).splitlines() if line.startswith("  q=")]
    assert sum(len(line.partition(":")[0].split(",")) for line in lines) == 6 > len(lines)
    assert len({line.partition(": ")[2] for line in lines}) == len(lines)
