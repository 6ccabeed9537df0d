import json
import math
from dataclasses import replace

import pytest

from dashboards.figures import comparison_figure, landscape_figure

LARGEST_BYTES = 60_000


def traces(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def rises_slowly(cycle, replicate, max_lr):
    """An optimum that rises by a tenth per cycle from 0.02, on a logarithmic axis."""
    return 0.9 - 0.1 * (math.log10(max_lr) - math.log10(0.02) - 0.1 * cycle) ** 2


def test_optima_intervals_and_misses_are_where_the_oracle_says(comparison):
    shown = traces(comparison_figure(comparison))
    assert shown["Oracle optimum"].x == (0, 1, 2, 3, 4)
    assert shown["Oracle optimum"].y == (0.034, 0.038, 0.046, 0.056, 0.062)
    assert shown["Oracle interval"].x[:6] == (0, 0, None, 1, 1, None)
    assert shown["Oracle interval"].y[:6] == (0.028, 0.04, None, 0.032, 0.044, None)
    assert shown["SILO outside"].x == (1, 2, 3, 4)
    assert "cut off by the grid" not in shown and "as good, beyond a gap" not in shown


def test_curves_are_smooth_and_fitted_ones_end_with_the_data(make_comparison):
    comparison = make_comparison(decided=3)
    shown = traces(comparison_figure(comparison))
    predicted, fitted = shown["SILO, predicted"], shown["SILO, least squares"]
    assert (len(predicted.x), predicted.x[-1]) == (33, 4)
    assert (len(fitted.x), fitted.x[-1]) == (17, 2)
    assert fitted.y == pytest.approx(comparison.fit.curve.max_lr(fitted.x), rel=1e-5)
    assert predicted.line.dash != fitted.line.dash


def test_marks_of_the_grids_edge_and_of_a_gap(marked):
    shown = traces(comparison_figure(marked))
    assert shown["cut off by the grid"].y == (0.01,)
    assert shown["cut off by the grid"].marker.symbol == ("triangle-down",)
    assert shown["as good, beyond a gap"].y == (0.08,)
    assert "SILO, predicted" not in shown


def test_the_curve_that_misses_least_is_named_by_what_it_does(make_comparison, comparison):
    missing = make_comparison(cycles=10)
    assert missing.fit.hitting is None
    assert "SILO, fewest misses" in traces(comparison_figure(missing))
    assert "SILO, inside all" in traces(comparison_figure(comparison))


def test_the_axis_is_as_the_grid_is_and_holds_everything(comparison, make_comparison):
    assert comparison_figure(comparison).layout.yaxis.type is None
    low, high = comparison_figure(comparison).layout.yaxis.range
    assert low < 0.028 and high > 0.068
    grid = {"low": 0.01, "high": 0.2, "points": 9}
    axis = comparison_figure(make_comparison(rises_slowly, grid=grid)).layout.yaxis
    assert axis.type == "log"
    rows = make_comparison(rises_slowly, grid=grid).rows
    assert 10 ** axis.range[0] < min(row.interval.low for row in rows)
    assert 10 ** axis.range[1] > max(row.interval.high for row in rows)


def test_a_curve_of_zero_does_not_stretch_a_log_axis(make_comparison):
    silo = {"q": 1, "beta": 5, "epsilon": 0, "delta": 40}
    grid = {"low": 0.01, "high": 0.2, "points": 9}
    axis = comparison_figure(make_comparison(rises_slowly, grid=grid, silo=silo)).layout.yaxis
    assert axis.range[1] - axis.range[0] < 4


def test_cycles_are_labelled_by_density_above(make_comparison):
    layout = comparison_figure(make_comparison(cycles=25, decided=4)).layout
    assert layout.xaxis.tickvals == tuple(range(0, 25, 2))
    assert (layout.xaxis2.tickvals, layout.xaxis2.ticktext) == ((0, 2), ("100", "64.0"))


def test_the_landscape_has_every_candidate_and_blanks(make_comparison):
    grid = {"low": 0.04, "high": 0.076, "step": 0.002, "scale": "linear"}
    comparison = make_comparison(cycles=5, grid=grid)
    rates = sorted({c.max_lr for row in comparison.rows for c in row.candidates})
    assert rates[0] == 0.026
    figure = landscape_figure(comparison)
    heatmap, optima = figure.data
    assert list(heatmap.y) == [f"{rate:.4g}" for rate in rates]
    assert heatmap.z[0][0] == pytest.approx(100 * (0.9 - 100 * 0.008**2))
    assert heatmap.z[0][4] is None
    assert optima.y == ("0.034", "0.038", "0.046", "0.056", "0.062")
    first = figure.layout.shapes[0]
    assert rates[round(first.y0 + 0.46)] == 0.028 and rates[round(first.y1 - 0.46)] == 0.04


def test_the_landscape_tells_good_candidates_apart_where_others_diverge(make_comparison):
    def diverges(cycle, replicate, max_lr):
        return 0.1 if max_lr > 0.07 else 0.9 - 100 * (max_lr - 0.046) ** 2

    heatmap = landscape_figure(make_comparison(diverges)).data[0]
    assert (heatmap.zmin, heatmap.zmax) == (87, 90)
    assert heatmap.colorbar.ticktext[0] == "≤ 87"


def test_labels_that_would_look_alike_are_exact(make_comparison):
    grid = {"values": [0.0123451, 0.0123452, 0.02], "extend": False}
    heatmap = landscape_figure(make_comparison(grid=grid)).data[0]
    assert heatmap.y == ("0.0123451", "0.0123452", "0.02")


@pytest.mark.parametrize("draw", [comparison_figure, landscape_figure])
def test_figures_are_small_strict_json_that_any_plotly_reads(any_comparison, draw):
    text = draw(any_comparison).to_json()
    assert len(text.encode()) < LARGEST_BYTES
    assert "bdata" not in text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("draw", [comparison_figure, landscape_figure])
def test_a_name_is_short_and_no_markup_in_a_title(comparison, draw):
    figure = draw(replace(comparison, name="<b>" + 60 * "n"))
    assert figure.layout.legend.title.text.startswith("&lt;b&gt;nnn")
    assert "n…: " in figure.layout.legend.title.text
