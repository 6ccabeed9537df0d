"""The one drawing behind every figure of rates over the cycles."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import plotly.graph_objects as go

from dashboards import _curves
from dashboards._chart import Chart
from dashboards._traces import (
    add_band,
    add_chance,
    add_detached,
    add_diagnosed,
    add_intervals,
    add_line,
    add_optima,
    add_rivals,
)
from dashboards.style import Choice, legend_title, say, switch, template

Across = Literal["cycle", "density"]
"""What a figure has across: the pruning cycle m, or the density λ."""

DISPENSABLE = ("rivals", "switch", "band", "texts")
"""What a figure can do without, in the order in which it goes where there is little room."""

_CROSS = "✗ a curve is outside the interval"


def rates_figure(chart: Chart, *, across: Across = "cycle", without: Collection[str] = ()) -> go.Figure:
    """Optima, intervals and curves over the cycles.

    Args:
        chart: What is drawn.
        across: What is across at first; two buttons switch it.
        without: What is left out, of :data:`DISPENSABLE`.
    """
    figure = go.Figure(layout=_layout(chart))
    if "band" not in without:
        add_band(figure, chart)
    if chart.searched:
        add_intervals(figure, chart)
        add_detached(figure, chart.detached)
    add_chance(figure, chart)
    for line in chart.lines:
        add_line(figure, line)
    add_diagnosed(figure, chart.diagnosed)
    if "rivals" not in without:
        add_rivals(figure, chart)
    add_optima(figure, chart, texts="texts" not in without)
    if not chart.intervals:
        say(figure, "No cycle is decided yet.")
    else:
        _add_upper_axis(figure, chart)
    _lay_across(figure, chart, across, buttons="switch" not in without)
    return figure


def _layout(chart: Chart) -> go.Layout:
    missed = any(line.misses for line in chart.lines)
    return go.Layout(
        template=template(),
        height=520,
        legend={"y": 1.17, **legend_title(chart.title, _CROSS if missed else "")},
        hovermode="closest",
        xaxis2={
            "title": {"standoff": 6},
            "side": "top",
            "overlaying": "x",
            "matches": "x",
            "showgrid": False,
        },
        yaxis={"title": {"text": "peak learning rate max_lr"}, **_curves.rate_axis(chart)},
    )


def _add_upper_axis(figure: go.Figure, chart: Chart) -> None:
    """An axis shows only if something is drawn on it."""
    first = chart.intervals[0]
    figure.add_scatter(
        x=[first.cycle], y=[first.optimum], xaxis="x2", opacity=0, hoverinfo="skip", showlegend=False
    )


def _lay_across(figure: go.Figure, chart: Chart, across: Across, *, buttons: bool) -> None:
    """Puts the points over cycles or densities, and adds the buttons that change it."""
    places = {
        "cycle": [trace.x for trace in figure.data],
        "density": [_curves.percentages(chart, trace.x) for trace in figure.data],
    }
    axes = {"cycle": _flat(*_curves.cycle_axes(chart)), "density": _flat(*_curves.density_axes(chart))}
    for trace, place in zip(figure.data, places[across], strict=True):
        trace.x = place
    figure.update_layout({key.replace(".", "_"): value for key, value in axes[across].items()})
    if buttons and figure.data:
        choices = [
            Choice(label=label, x=places[name], layout=axes[name])
            for name, label in (("cycle", "cycle m"), ("density", "density λ"))
        ]
        figure.update_layout(updatemenus=[switch(choices, active=list(places).index(across))])


def _flat(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both axes' properties by plotly's path."""
    axes = {"xaxis": below, "xaxis2": above}
    return {f"{axis}.{key}": value for axis, found in axes.items() for key, value in found.items()}
