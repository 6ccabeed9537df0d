"""The figures of what the intervals allow: ranges per q, and slices through the region."""

from dataclasses import replace

import pytest

from dashboards.figures.region import region_figure, slice_figure, slice_of
from silo import CycleInterval, SiloCurve, fit_curve, load_table
from tests.dashboards.printing import traces

TABLE = load_table(11)
FIT = fit_curve(TABLE.intervals, pruning_rate=0.2)


def test_the_ranges_are_those_of_the_fit():
    shown = traces(region_figure(FIT, predicted=TABLE.curve))
    found = [region for region in FIT.regions if not region.empty]
    assert len(found) == 4
    for name, ends in (
        ("in every interval", "beta"),
        ("in every interval, ε", "epsilon"),
        ("in every interval, δ", "delta"),
    ):
        expected = [end for region in found for end in getattr(region, ends)]
        assert [x for x in shown[name].x if x is not None] == pytest.approx(expected, rel=1e-5)
        assert shown[name].y[::3] == tuple(region.q for region in found)
    assert "goes on" not in shown


def test_the_curves_are_marked_in_every_panel():
    shown = traces(region_figure(FIT, predicted=TABLE.curve))
    for suffix, parameter in (("", "beta"), (", ε", "epsilon"), (", δ", "delta")):
        for name, curve in (("least squares", FIT.curve), ("predicted", TABLE.curve)):
            trace = shown[f"{name}{suffix}"]
            assert trace.y == (curve.q,)
            assert trace.x == (pytest.approx(getattr(curve, parameter), rel=1e-5),)
            assert trace.showlegend == (suffix == "")
        assert len(shown[f"farthest from all ends{suffix}"].x) == 4


def test_an_empty_q_says_how_many_are_missed():
    notes = {note.text: note.y for note in region_figure(FIT).layout.annotations}
    assert notes == {"none; at least 1 missed": 4, "none; at least 2 missed": 5}


def test_a_delta_without_bound_is_an_open_arrow():
    one = [CycleInterval(cycle=0, optimum=0.034, low=0.028, high=0.04)]
    fit = fit_curve(one, pruning_rate=0.2)
    arrow = traces(region_figure(fit))["goes on"]
    assert arrow.y == tuple(region.q for region in fit.regions)
    assert arrow.marker.symbol == "triangle-right" and arrow.marker.color == "white"
    assert set(arrow.x) == {max(x for x in traces(region_figure(fit))["in every interval, δ"].x if x)}


def falling():
    return [
        CycleInterval(cycle=m, optimum=0.1 / (1 + m), low=0.09 / (1 + m), high=0.11 / (1 + m))
        for m in range(6)
    ]


def test_without_any_curve_there_are_no_ranges_and_no_slices():
    fit = fit_curve(falling(), pruning_rate=0.2)
    names = set(traces(region_figure(fit)))
    assert names == {"least squares", "least squares, ε", "least squares, δ"}
    assert "No curve lies in every interval." in slice_figure(fit, falling()).to_json()


def test_the_corners_of_a_slice_are_just_inside_every_interval():
    corners = slice_of(TABLE.intervals, q=1, beta=5.0, pruning_rate=0.2, highest=1.0)
    assert len(corners) >= 3
    for inwards, inside in ((1 - 1e-6, True), (1 + 1e-3, False)):
        middle = [sum(corner[k] for corner in corners) / len(corners) for k in (0, 1)]
        for corner in corners:
            epsilon, delta = (m + inwards * (c - m) for c, m in zip(corner, middle, strict=True))
            curve = SiloCurve(q=1, beta=5.0, epsilon=epsilon, delta=delta, pruning_rate=0.2)
            hits = [interval.contains(curve.max_lr(interval.cycle)) for interval in TABLE.intervals]
            assert all(hits) == inside


def test_a_cut_end_bounds_no_slice():
    intervals = [replace(interval, high_cut=True, low_cut=True) for interval in TABLE.intervals]
    corners = slice_of(intervals, q=1, beta=5.0, pruning_rate=0.2, highest=1.0)
    widest = 1.0 + max(interval.high for interval in intervals)
    assert sorted(corners) == [(0, 0), (0, 1), (widest, 0), (widest, 1)]


def test_slices_lie_within_the_ranges_of_the_region():
    figure = slice_figure(FIT, TABLE.intervals, predicted=TABLE.curve)
    slices = [trace for trace in figure.data if trace.name.startswith("β = ")]
    assert len(slices) == 5
    assert len({trace.line.dash for trace in slices}) == 5
    for values, (low, high) in (
        ([x for trace in slices for x in trace.x], FIT.best.epsilon),
        ([y for trace in slices for y in trace.y], FIT.best.delta),
    ):
        assert low * 0.999 <= min(values) and max(values) <= high * 1.001
    assert "predicted, β = 5" in traces(figure)


def test_curves_with_another_q_are_not_shown_among_slices():
    other = SiloCurve(q=3, beta=5.0, epsilon=0.03, delta=0.04, pruning_rate=0.2)
    assert not [
        name for name in traces(slice_figure(FIT, TABLE.intervals, predicted=other)) if "pred" in name
    ]
