"""Rates over the cycles: the figure of a search, and the drawing behind every figure of its kind."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import plotly.graph_objects as go

from dashboards.figures import rates_axes
from dashboards.figures.rates_data import RatesData, rates_data
from dashboards.figures.rates_traces import (
    add_band,
    add_chance,
    add_curve,
    add_detached,
    add_diagnosed,
    add_intervals,
    add_optima,
    add_rivals,
)
from dashboards.style import Choice, add_switch, legend_title, say, template
from oracle.results import Results

Across = Literal["cycle", "density"]
"""The axis across: the pruning cycle m, or the density λ."""

DISPENSABLE = ("rivals", "diagnosed", "switch", "band", "texts")
"""Parts that a figure can do without, in the order in which they go where there is little room."""

_CROSS = "✗ a curve is outside the interval"


def comparison_figure(
    results: Results, *, across: Across = "cycle", without: Collection[str] = ()
) -> go.Figure:
    """The Oracle's optima and intervals over the cycles, SILO's curves through them, and what else is known.

    An interval's end has a cap, or an open triangle where the grid ended. A ✗ marks a cycle whose interval a
    curve is outside of. Grey is what was no better than chance. Rivals are drawn once they are clicked in
    the legend. The axis of ``max_lr`` is logarithmic if the grid is.

    Args:
        results: The search.
        across: ``"cycle"`` or ``"density"``: what the figure shows at first; two buttons switch it.
        without: Parts to leave out, :data:`DISPENSABLE` or ``diagnosed``.
    """
    return rates_figure(rates_data(results, without=without), across=across, without=without)


def rates_figure(data: RatesData, *, across: Across = "cycle", without: Collection[str] = ()) -> go.Figure:
    """Optima, intervals and curves over the cycles.

    Args:
        data: The data.
        across: The axis at first; two buttons switch it.
        without: Parts that are left out, of :data:`DISPENSABLE`.
    """
    figure = go.Figure(layout=_layout(data))
    if "band" not in without:
        add_band(figure, data)
    if data.searched:
        add_intervals(figure, data)
        add_detached(figure, data.detached)
    add_chance(figure, data)
    for drawn in data.curves:
        add_curve(figure, drawn)
    add_diagnosed(figure, data.diagnosed)
    if "rivals" not in without:
        add_rivals(figure, data)
    add_optima(figure, data, texts="texts" not in without)
    if not data.intervals:
        say(figure, "No cycle is decided yet.")
    else:
        _add_upper_axis(figure, data)
    _lay_across(figure, data, across, buttons="switch" not in without)
    return figure


def _layout(data: RatesData) -> go.Layout:
    missed = any(drawn.misses for drawn in data.curves)
    return go.Layout(
        template=template(),
        height=520,
        legend={"y": 1.17, **legend_title(data.title, _CROSS if missed else "")},
        hovermode="closest",
        xaxis2={
            "title": {"standoff": 6},
            "side": "top",
            "overlaying": "x",
            "matches": "x",
            "showgrid": False,
        },
        yaxis={"title": {"text": "peak learning rate max_lr"}, **rates_axes.rate_axis(data)},
    )


def _add_upper_axis(figure: go.Figure, data: RatesData) -> None:
    """An axis shows only if something is drawn on it."""
    first = data.intervals[0]
    figure.add_scatter(
        x=[first.cycle], y=[first.optimum], xaxis="x2", opacity=0, hoverinfo="skip", showlegend=False
    )


def _lay_across(figure: go.Figure, data: RatesData, across: Across, *, buttons: bool) -> None:
    """Puts the points over cycles or densities, and adds the buttons that change it."""
    cycles = [trace.x for trace in figure.data]
    densities = [rates_axes.percentages(data, x) for x in cycles]
    choices = [
        Choice(label="cycle m", x=cycles, layout=_flat(*rates_axes.cycle_axes(data))),
        Choice(label="density λ", x=densities, layout=_flat(*rates_axes.density_axes(data))),
    ]
    add_switch(figure, choices, ("cycle", "density").index(across), buttons=buttons and bool(figure.data))


def _flat(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both axes' properties by plotly's path."""
    axes = {"xaxis": below, "xaxis2": above}
    return {f"{axis}.{key}": value for axis, found in axes.items() for key, value in found.items()}
