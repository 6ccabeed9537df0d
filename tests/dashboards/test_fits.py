"""A fit without a search: its table, its figure, its verdict."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from dashboards.figures.fit_view import FitView, fit_figure, fit_table
from silo import CycleAccuracies, SiloCurve, compare_rivals, fit_curve, learn, load_table


def view_of(number: int, **changes: object) -> FitView:
    table = load_table(number)
    view = FitView(
        title=f"Table {number}",
        intervals=table.intervals,
        fit=fit_curve(table.intervals, pruning_rate=0.2),
        rivals=compare_rivals(table.intervals, pruning_rate=0.2),
        curve=table.curve,
        rates=table.printed_silo,
        rates_name="SILO as published",
        densities=tuple(density / 100 for density in table.densities),
    )
    return replace(view, **changes)


def printed(view: FitView) -> list[str]:
    console = Console(width=110, file=io.StringIO())
    console.print(fit_table(view))
    return console.file.getvalue().splitlines()


def test_the_strip_has_the_interval_to_scale():
    lines = [line for line in printed(view_of(11)) if "├" in line and "[" in line]
    assert len(lines) == 5
    starts = [line.index("├") for line in lines]
    low = [interval.low for interval in load_table(11).intervals]
    assert starts == sorted(starts)
    slope = np.polyfit(low, starts, 1)
    assert np.abs(np.polyval(slope, low) - starts).max() <= 1
    assert all("◆" in line for line in lines)
    outside = [line for line in lines if "✗" in line]
    assert [line.split()[0] for line in outside] == ["3", "7"]
    assert outside[0].index("△") < outside[0].index("├") and outside[1].index("△") > outside[1].index("┤")


def test_cut_ends_and_a_wide_range_of_rates():
    intervals = [replace(i, low_cut=i.cycle == 0) for i in load_table(10).intervals]
    intervals[-1] = replace(intervals[-1], high=0.5, high_cut=True)
    view = view_of(10, intervals=tuple(intervals), rates=(), curve=None, densities=())
    lines = printed(view)
    assert any("◂" in line and "[≤3.6, 4.2]" in line for line in lines)
    assert any("▸" in line and "≥50]" in line for line in lines)
    figure = fit_figure(view)
    assert figure.layout.yaxis.type == "log"
    assert "open: the grid ended" in [trace.name for trace in figure.data]
    assert view.verdict() == "A SILO curve that lies in all 5 exists."


def test_the_figure_has_every_curve():
    view = view_of(11)
    traces = {trace.name: trace for trace in fit_figure(view).data}
    assert traces["SILO as published: outside"].x == (3, 7)
    assert traces["SILO, least squares"].y == pytest.approx(
        view.fit.curve.max_lr(traces["SILO, least squares"].x), rel=1e-5
    )
    densities = fit_figure(view).layout.updatemenus[0].buttons[1].args[0]["x"][-2]
    assert densities == pytest.approx([100, 51.3, 41.1, 32.9, 21.1])
    assert "SILO, inside all" in traces and "95 % band" not in traces
    assert traces["SILO as published: outside"].y == (0.032, 0.069)
    for rival in view.rivals.rivals[:-1]:
        trace = traces[rival.name]
        assert trace.visible == "legendonly"
        assert trace.y == pytest.approx(rival.max_lr(np.array(trace.x)), rel=1e-5)


def test_the_band_surrounds_the_curve_of_replicates():
    random = np.random.default_rng(0)
    curve = SiloCurve(q=1, beta=4, epsilon=0.04, delta=0.06, pruning_rate=0.2)
    rates = np.geomspace(0.01, 0.3, 30)
    measured = []
    for cycle in range(10):
        good = 0.9 - 0.05 * np.log(rates / curve.max_lr(cycle)) ** 2
        noise = 0.002 * random.normal(size=(30, 4))
        measured.append(CycleAccuracies(cycle=cycle, rates=rates, accuracies=good[:, None] + noise))
    fit = fit_curve(measured, pruning_rate=0.2, draws=100)
    intervals = tuple(one.interval() for one in measured)
    view = FitView(title="x", intervals=intervals, fit=fit, curve=curve, beliefs=learn(measured))
    assert view.verdict().startswith(
        "SILO is within 0.5 % of the best in 10 of 10 cycles; it is outside in none."
    )
    assert {trace.name for trace in fit_figure(view).data} > {"surely inside", "maybe inside"}
    band = next(trace for trace in fit_figure(view).data if trace.name == "90 % band")
    half = len(band.x) // 2
    assert all(high >= low for high, low in zip(band.y[:half], reversed(band.y[half:]), strict=True))
    assert band.x[:half] == tuple(reversed(band.x[half:]))


def test_the_verdict_says_how_many_every_curve_misses():
    falling = tuple(
        replace(i, optimum=0.1 / (1 + i.cycle), low=0.09 / (1 + i.cycle), high=0.11 / (1 + i.cycle))
        for i in load_table(10).intervals
    )
    view = FitView(
        title="falling",
        intervals=falling,
        fit=fit_curve(falling, pruning_rate=0.2),
        curve=load_table(10).curve,
    )
    assert view.verdict() == (
        "SILO misses 5 of 5 intervals: cycles 0, 3, 5, 7 and 13. "
        "No SILO curve lies in all 5: every one misses 4 or more."
    )
    assert "SILO, fewest misses" in [trace.name for trace in fit_figure(view).data]
