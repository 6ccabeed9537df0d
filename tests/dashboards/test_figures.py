import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dashboards.figures.fit_view import FitView, fit_figure
from dashboards.figures.rates import DISPENSABLE, comparison_figure
from dashboards.figures.trainings import landscape_figure
from oracle.measure import Chance
from tests.dashboards.conftest import renamed, with_parts
from tests.dashboards.printing import traces

LARGEST_BYTES = 60_000
GRID = {"low": 0.02, "high": 0.076, "step": 0.002, "scale": "linear"}


def drawn(results, **options):
    return comparison_figure(results, **{"without": DISPENSABLE[:2], **options})


def rises_slowly(cycle, replicate, max_lr):
    """An optimum that rises by a tenth per cycle from 0.02, on a logarithmic axis."""
    return 0.9 - 0.1 * (math.log10(max_lr) - math.log10(0.02) - 0.1 * cycle) ** 2


def test_optima_intervals_and_misses_are_where_the_oracle_says(results):
    shown = traces(drawn(results))
    assert shown["Oracle optimum"].x == (0, 1, 2, 3, 4)
    assert shown["Oracle optimum"].y == (0.034, 0.038, 0.046, 0.056, 0.062)
    assert shown["point estimate"].x[:6] == (0, 0, None, 1, 1, None)
    assert shown["point estimate"].y[:6] == (0.028, 0.04, None, 0.032, 0.044, None)
    for name in ("core", "reach"):
        run = getattr(results.beliefs[0], name)()
        assert shown["surely inside" if name == "core" else "maybe inside"].y[:2] == run
    assert shown["SILO, predicted: outside"].x == (1, 2, 3, 4)
    assert "open: the grid ended" not in shown and "good, beyond a gap" not in shown


def test_curves_are_smooth_and_fitted_ones_end_with_the_data(make_results):
    results = make_results(decided=3)
    shown = traces(drawn(results))
    predicted, fitted = shown["SILO, predicted"], shown["SILO, least squares"]
    assert (len(predicted.x), predicted.x[-1]) == (33, 4)
    assert (len(fitted.x), fitted.x[-1]) == (17, 2)
    assert fitted.y == pytest.approx(results.fit.curve.max_lr(fitted.x), rel=1e-5)
    assert predicted.line.dash != fitted.line.dash


def test_marks_of_the_grids_edge_and_of_a_gap(marked):
    shown = traces(drawn(marked))
    assert shown["open: the grid ended"].y == (0.01,)
    assert shown["open: the grid ended"].marker.symbol == ("triangle-down",)
    assert shown["good, beyond a gap"].y == (0.08,)
    assert "SILO, predicted" not in shown


def test_the_curve_that_misses_least_is_named_by_what_it_does(make_results, results):
    missing = make_results(cycles=10)
    assert missing.fit.hitting is None
    assert "SILO, fewest misses" in traces(drawn(missing))
    assert "SILO, inside all" in traces(drawn(results))


def test_the_axis_is_as_the_grid_is_and_holds_everything(results, make_results):
    assert drawn(results).layout.yaxis.type is None
    low, high = drawn(results).layout.yaxis.range
    assert low < 0.028 and high > 0.068
    grid = {"low": 0.01, "high": 0.2, "points": 9}
    axis = drawn(make_results(rises_slowly, grid=grid)).layout.yaxis
    assert axis.type == "log"
    rows = make_results(rises_slowly, grid=grid).decided
    assert 10 ** axis.range[0] < min(row.interval.low for row in rows)
    assert 10 ** axis.range[1] > max(row.interval.high for row in rows)


def test_a_curve_of_zero_does_not_stretch_a_log_axis(make_results):
    silo = {"q": 1, "beta": 5, "epsilon": 0, "delta": 40}
    grid = {"low": 0.01, "high": 0.2, "points": 9}
    axis = drawn(make_results(rises_slowly, grid=grid, silo=silo)).layout.yaxis
    assert axis.range[1] - axis.range[0] < 4


def test_the_buttons_put_the_points_over_cycles_or_densities(results):
    figure = drawn(results)
    (menu,) = figure.layout.updatemenus
    by_cycle, by_density = (button.args for button in menu.buttons)
    assert menu.active == 0
    assert [tuple(x) for x in by_cycle[0]["x"]] == [trace.x for trace in figure.data]
    of = dict(zip((trace.name for trace in figure.data), by_density[0]["x"], strict=True))
    assert of["Oracle optimum"] == pytest.approx([100 * row.density for row in results.decided], rel=1e-5)
    assert of["point estimate"][2] is None
    assert of["SILO, predicted"][8] == pytest.approx(100 * results.decided[1].density, rel=1e-5)
    layout = by_density[1]
    assert layout["xaxis.type"] == "log" and layout["xaxis.title.text"] == "weights left λ (%)"
    high, low = layout["xaxis.range"]
    assert 10**high > 100 and 10**low < 100 * results.decided[-1].density
    assert layout["xaxis.ticktext"] == ["40", "50", "60", "80", "100"]
    assert layout["xaxis2.ticktext"] == ["0", "1", "2", "3", "4"]


def test_a_figure_may_begin_with_densities(results):
    figure = drawn(results, across="density")
    assert figure.layout.updatemenus[0].active == 1
    assert figure.layout.xaxis.type == "log"
    assert traces(figure)["Oracle optimum"].x[:2] == (100.0, 80.0)
    swapped = figure.layout.updatemenus[0].buttons[0].args[0]["x"]
    assert [tuple(x) for x in swapped] == [trace.x for trace in drawn(results).data]


def test_densities_between_and_beyond_the_known_ones_follow_the_pruning_rate(make_results):
    figure = drawn(make_results(cycles=10, decided=3), across="density")
    predicted = traces(figure)["SILO, predicted"].x
    assert predicted[-1] == pytest.approx(100 * 0.8**9, rel=1e-3)
    assert predicted[4] == pytest.approx(100 * 0.8**0.5, rel=1e-3)


def test_cycles_at_chance_are_grey_and_do_not_stretch_the_axis(make_results):
    def untrained_at_the_end(cycle, replicate, max_lr):
        if cycle == 4:
            return 0.1 if max_lr < 0.1 else 0.05
        return 0.9 - 100 * (max_lr - 0.046) ** 2

    results = make_results(untrained_at_the_end, grid={**GRID, "limit": 20})
    known = replace(results, chance=Chance(classes=10, validation=300))
    shown = traces(drawn(known))
    assert shown["Oracle optimum"].x == (0, 1, 2, 3)
    grey, last = shown["at chance level"], results.decided[-1].interval
    assert grey.x == (4, 4, 4, None)
    assert grey.y == (last.low, last.optimum, last.high, None)
    assert last.low_cut and not last.high_cut
    assert grey.marker.symbol[:3] == ("triangle-down-open", "circle-open", "line-ew")
    assert max(drawn(known).layout.yaxis.range) < last.high < max(drawn(results).layout.yaxis.range)
    assert "at chance level" not in traces(drawn(results))


def test_a_policy_at_chance_is_grey_too(make_results):
    found = make_results(lambda cycle, *_: 0.1 if cycle == 1 else 0.9, cycles=2, policy="silo")
    shown = traces(drawn(replace(found, chance=Chance(classes=10, validation=300))))
    assert shown["policy silo"].x == (0,)
    assert shown["at chance level"].x == (1, 1, 1, None)


def test_every_curve_has_its_misses(make_results):
    results = make_results(cycles=10)
    shown = traces(drawn(results))
    misses = shown["SILO, fewest misses: outside"]
    assert misses.x == results.judged(results.fit.fewest_misses.max_lr).cycles("outside")
    assert misses.y == pytest.approx(results.fit.fewest_misses.max_lr(misses.x), rel=1e-5)
    assert misses.legendgroup == shown["SILO, fewest misses"].legendgroup
    outside = results.judged(results.fit.curve.max_lr).cycles("outside")
    assert outside and shown["SILO, least squares: outside"].x == outside
    unknown = results.judged(results.predicted.max_lr).cycles("unknown")
    assert (shown["SILO, predicted: can't be told"].x if unknown else ()) == unknown


def test_what_diagnostics_predict_is_drawn(results):
    found = tuple(SimpleNamespace(cycle=cycle) for cycle in (0, 2))
    figure = comparison_figure(with_parts(results, distributions=found, diagnosed=(0.031, 0.044)))
    shown = traces(figure)["from diagnostics"]
    assert (shown.x, shown.y) == ((0, 2), (0.031, 0.044))


def test_a_fit_without_a_search_is_drawn_in_the_same_way(results):
    view = FitView(
        title="parabola",
        intervals=results.intervals_found,
        fit=results.fit,
        rivals=results.rival_curves,
        curve=results.predicted,
        rates_name="SILO, predicted",
        beliefs=results.beliefs,
    )
    searched = comparison_figure(results)
    alone = fit_figure(view)
    assert [trace.name for trace in alone.data] == [trace.name for trace in searched.data]
    for one, other in zip(alone.data, searched.data, strict=True):
        assert (one.x, one.y, one.visible) == (other.x, other.y, other.visible)


def test_parts_can_be_left_out_until_a_figure_is_small(results):
    sizes = [len(comparison_figure(results, without=DISPENSABLE[:count]).to_json()) for count in (0, 1, 3, 5)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    bare = comparison_figure(results, without=DISPENSABLE)
    assert not bare.layout.updatemenus and "logistic" not in traces(bare)


@pytest.mark.parametrize("across", ["cycle", "density"])
def test_names_are_unique_and_the_last_cycle_has_room(any_results, across):
    figure = drawn(any_results, across=across)
    names = [trace.name for trace in figure.data if trace.name]
    assert len(names) == len(set(names))
    first, last = figure.layout.xaxis.range
    reach = [x for trace in figure.data for x in trace.x if x is not None]
    ends = [math.log10(x) for x in (max(reach), min(reach))] if across == "density" else [0, max(reach)]
    share = abs(last - ends[1]) / abs(last - first)
    assert share * 480 > 10  # pixels beside the last marker, in a figure 600 wide


def test_cycles_are_labelled_by_density_above(make_results):
    layout = drawn(make_results(cycles=25, decided=4)).layout
    assert layout.xaxis.tickvals == tuple(range(0, 25, 2))
    assert (layout.xaxis2.tickvals, layout.xaxis2.ticktext) == ((0, 2), ("100", "64.0"))


def test_the_landscape_has_every_candidate_and_blanks(make_results):
    grid = {"low": 0.04, "high": 0.076, "step": 0.002, "scale": "linear"}
    results = make_results(cycles=5, grid=grid)
    rates = sorted({c.max_lr for row in results.decided for c in row.candidates})
    assert rates[0] == 0.026
    figure = landscape_figure(results)
    heatmap, optima, _ = figure.data
    assert list(heatmap.y) == [f"{rate:.4g}" for rate in rates]
    assert heatmap.z[0][0] == pytest.approx(100 * (0.9 - 100 * 0.008**2))
    assert heatmap.z[0][4] is None
    assert optima.y == ("0.034", "0.038", "0.046", "0.056", "0.062")
    bottom, top = extent(figure.layout.shapes[0])
    assert rates[round(bottom + 0.46)] == 0.028 and rates[round(top - 0.46)] == 0.04


def extent(shape):
    heights = [float(corner.split(",")[1]) for corner in re.split("[ML]", shape.path)[1:]]
    return min(heights), max(heights)


def test_a_frame_is_open_where_the_grid_cut_it_off(marked, results):
    assert landscape_figure(marked).layout.shapes[0].path.count("M") == 3
    assert landscape_figure(results).layout.shapes[0].path.count("M") == 4


def test_labels_of_many_rates_are_thinned_out(make_results):
    grid = {"low": 0.002, "high": 0.5, "points": 60, "extend": False}
    figure = landscape_figure(make_results(rises_slowly, grid=grid, cycles=2))
    assert len(figure.data[0].y) == 60
    assert len(figure.layout.yaxis.tickvals) == 20
    assert set(figure.layout.yaxis.tickvals) < set(figure.data[0].y)


def test_the_landscape_tells_good_candidates_apart_where_others_diverge(make_results):
    def diverges(cycle, replicate, max_lr):
        return 0.1 if max_lr > 0.07 else 0.9 - 100 * (max_lr - 0.046) ** 2

    heatmap = landscape_figure(make_results(diverges)).data[0]
    assert (heatmap.zmin, heatmap.zmax) == (87, 90)
    assert heatmap.colorbar.ticktext[0] == "≤ 87"


def test_labels_that_would_look_alike_are_exact(make_results):
    grid = {"values": [0.0123451, 0.0123452, 0.02], "extend": False}
    heatmap = landscape_figure(make_results(grid=grid)).data[0]
    assert heatmap.y == ("0.0123451", "0.0123452", "0.02")


@pytest.mark.parametrize("draw", [drawn, landscape_figure])
def test_figures_are_small_strict_json_that_any_plotly_reads(any_results, draw):
    text = draw(any_results).to_json()
    assert len(text.encode()) < LARGEST_BYTES
    assert "bdata" not in text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("draw", [drawn, landscape_figure])
def test_a_name_is_short_and_no_markup_in_a_title(results, draw):
    figure = draw(renamed(results, "<b>" + 60 * "n"))
    assert figure.layout.legend.title.text.startswith("&lt;b&gt;nnn")
    assert "n…: " in figure.layout.legend.title.text
