"""Rates over the cycles: the figure of a search, and the drawing behind every figure of its kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from dashboards.figures.rates_data import (
    RIVAL_LOOKS,
    DrawnCurve,
    Points,
    RatesData,
    cycle_axes,
    density_axes,
    percentages,
    rate_axis,
    rates_data,
    smooth,
    steps,
)
from dashboards.style import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    Choice,
    add_switch,
    legend_title,
    rounded,
    say,
    template,
)
from oracle.results import Results
from silo.measured import CycleInterval

Across = Literal["cycle", "density"]
"""The axis across: the pruning cycle m, or the density λ."""

DISPENSABLE = ("rivals", "diagnosed", "switch", "band", "texts")
"""Parts that a figure can do without, in the order in which they go where there is little room."""

_CROSS = "✗ a curve is outside"
_QUESTION = "? can't be told"

_PLACE = "%{xaxis.title.text}: %{x:.4g}<br>"
"""A point's place, whichever axis is shown."""

_PALE = "#C4E4F7"
_GREEN_VEIL = "rgba(0,158,115,0.18)"


def comparison_figure(
    results: Results, *, across: Across = "cycle", without: Collection[str] = ()
) -> go.Figure:
    """The Oracle's optima and intervals over the cycles, SILO's curves through them, and what else is known.

    A wide bar holds the rates that are surely in the interval, a pale one those that may be; thin caps, or an
    open triangle where the grid ended, are the point estimate's ends. A ✗ marks a cycle at which a curve is
    surely outside, a ? one for which that can't be told. Grey is what was no better than chance. Rivals are
    drawn once they are clicked in the legend. The axis of ``max_lr`` is logarithmic if the grid is.

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
        _add_band(figure, data)
    if data.searched:
        _add_known(figure, data)
        _add_intervals(figure, data)
        _add_detached(figure, data.detached)
    _add_chance(figure, data)
    for drawn in data.curves:
        _add_curve(figure, drawn)
    add_diagnosed(figure, data.diagnosed)
    if "rivals" not in without:
        _add_rivals(figure, data)
    _add_optima(figure, data, texts="texts" not in without)
    if not data.intervals:
        say(figure, "No cycle is decided yet.")
    else:
        _add_upper_axis(figure, data)
    _lay_across(figure, data, across, buttons="switch" not in without)
    return figure


def _layout(data: RatesData) -> go.Layout:
    signs = [
        sign
        for sign, marked in (
            (_CROSS, any(drawn.misses for drawn in data.curves)),
            (_QUESTION, any(drawn.unknown for drawn in data.curves)),
        )
        if marked
    ]
    return go.Layout(
        template=template(),
        height=520,
        legend={"y": 1.17, **legend_title(data.title, ", ".join(signs))},
        hovermode="closest",
        xaxis2={
            "title": {"standoff": 6},
            "side": "top",
            "overlaying": "x",
            "matches": "x",
            "showgrid": False,
        },
        yaxis={"title": {"text": data.axis}, **rate_axis(data)},
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
    densities = [percentages(data, x) for x in cycles]
    choices = [
        Choice(label="cycle m", x=cycles, layout=cycle_axes(data)),
        Choice(label="density λ", x=densities, layout=density_axes(data)),
    ]
    add_switch(figure, choices, ("cycle", "density").index(across), buttons=buttons and bool(figure.data))


def _add_known(figure: go.Figure, data: RatesData) -> None:
    """Pale bars over the rates that may be in the interval, full ones over those that surely are."""
    for name, runs, color in (
        ("maybe inside", data.reach, _PALE),
        ("surely inside", data.core, SKY),
    ):
        if runs:
            figure.add_scatter(
                x=[x for cycle, _, _ in runs for x in (cycle, cycle, None)],
                y=[y for _, low, high in runs for y in (rounded(low), rounded(high), None)],
                name=name,
                mode="lines+markers",
                line={"color": color, "width": 9},
                marker={"symbol": "square", "size": 9, "color": color},
                hovertemplate=f"{_PLACE}{name} to %{{y:.4g}}<extra></extra>",
            )


def _add_intervals(figure: go.Figure, data: RatesData) -> None:
    """Bars with caps, thin ones where it is known how sure they are; an end that the grid cut off is open."""
    shown = [i for i in data.intervals if i.cycle not in data.at_chance]
    color, width = (BLUE, 1) if data.reach else (SKY, 5)
    if shown:
        figure.add_scatter(
            x=[x for i in shown for x in (i.cycle, i.cycle, None)],
            y=[y for i in shown for y in (rounded(i.low), rounded(i.high), None)],
            name=data.estimate if data.reach else "Oracle interval",
            mode="lines+markers",
            line={"color": color, "width": width},
            marker={"symbol": "line-ew", "size": 13, "line": {"color": color, "width": min(width, 3)}},
            hovertemplate=f"{_PLACE}interval ends at %{{y:.4g}}<extra></extra>",
        )
    cut = [(i.cycle, i.low, "triangle-down") for i in shown if i.low_cut]
    cut += [(i.cycle, i.high, "triangle-up") for i in shown if i.high_cut]
    if cut:
        cycles, rates, symbols = zip(*cut, strict=True)
        figure.add_scatter(
            x=cycles,
            y=[rounded(rate) for rate in rates],
            name="open: the grid ended",
            mode="markers",
            marker={"symbol": symbols, "size": 15, "color": "white", "line": {"color": BLUE, "width": 2}},
            hovertemplate=f"{_PLACE}the grid ended at %{{y:.4g}}<extra></extra>",
        )


def _add_chance(figure: go.Figure, data: RatesData) -> None:
    """Thin grey bars through cycles in which nothing was learned: rates and intervals say nothing there."""
    texts = dict(zip((i.cycle for i in data.intervals), data.texts, strict=True))
    shown = [i for i in data.intervals if i.cycle in data.at_chance]
    if not shown:
        return
    figure.add_scatter(
        x=[x for i in shown for x in (*(i.cycle,) * 3, None)],
        y=[y for i in shown for y in (rounded(i.low), rounded(i.optimum), rounded(i.high), None)],
        name="at chance level" if data.nothing == "chance" else "nothing learned",
        mode="lines+markers",
        line={"color": GREY, "width": 2},
        marker={
            "symbol": [symbol for i in shown for symbol in _symbols(i)],
            "size": 10,
            "color": GREY,
            "line": {"color": GREY, "width": 2},
        },
        text=[text for i in shown for text in (*(texts[i.cycle],) * 3, "")],
        hovertemplate=f"%{{text}}<br>no better than {data.nothing}<extra></extra>",
    )


def _symbols(interval: CycleInterval) -> tuple[str, str, str, str]:
    """Of the lower end, the optimum, the upper end and the gap to the next cycle."""
    low = "triangle-down-open" if interval.low_cut else "line-ew"
    high = "triangle-up-open" if interval.high_cut else "line-ew"
    return low, "circle-open", high, "circle"


def _add_curve(figure: go.Figure, drawn: DrawnCurve) -> None:
    """A curve of SILO's, and a ✗ per interval that it is outside of."""
    _add_points(
        figure,
        drawn.name,
        smooth(drawn.curve, drawn.last),
        line={"color": drawn.color, "width": 2.5, "dash": drawn.dash},
    )
    if drawn.misses:
        figure.add_scatter(
            **_places(drawn.misses),
            name=f"{drawn.name}: outside",
            legendgroup=drawn.name,
            showlegend=False,
            mode="markers",
            marker={"symbol": "x-thin", "size": 12, "line": {"color": drawn.color, "width": 3}},
            hovertemplate=f"{drawn.name}<br>{_PLACE}outside at %{{y:.4g}}<extra></extra>",
        )
    if drawn.unknown:
        figure.add_scatter(
            **_places(drawn.unknown),
            name=f"{drawn.name}: can't be told",
            legendgroup=drawn.name,
            showlegend=False,
            mode="text",
            text="<b>?</b>",
            textposition="top center",
            textfont={"size": 18, "color": drawn.color},
            hovertemplate=f"{drawn.name}<br>{_PLACE}can't be told at %{{y:.4g}}<extra></extra>",
        )


def _add_rivals(figure: go.Figure, data: RatesData) -> None:
    """The other curves, drawn once they are clicked in the legend."""
    for rival in data.rivals.rivals if data.rivals else ():
        if rival.name in RIVAL_LOOKS:
            cycles = steps(data.intervals[-1].cycle)
            rates = [rounded(rate) for rate in rival.max_lr(np.array(cycles))]
            _add_points(figure, rival.name, (cycles, rates), line=RIVAL_LOOKS[rival.name].line())
            figure.data[-1].visible = "legendonly"


def _add_band(figure: go.Figure, data: RatesData) -> None:
    """The central 90 % of the curves fitted to draws of what the trainings tell, cycle by cycle."""
    if data.fit is None or data.fit.drawn is None:
        return
    cycles = steps(data.intervals[-1].cycle)
    low, high = data.fit.drawn.band(cycles)
    # A rate of 0 has no place on a logarithmic axis, and would break the outline.
    floor = data.rates[0] / 1e3 if data.scale == "log" else 0.0
    figure.add_scatter(
        x=[*cycles, *reversed(cycles)],
        y=[rounded(max(rate, floor)) for rate in (*high, *reversed(low))],
        name="90 % band",
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=_GREEN_VEIL,
        hoverinfo="skip",
    )


def _add_detached(figure: go.Figure, points: Points) -> None:
    """Open dots where a rate is as good as the optimum, beyond a worse one."""
    if points:
        figure.add_scatter(
            **_places(points),
            name="good, beyond a gap",
            mode="markers",
            marker={"symbol": "circle-open", "size": 8, "color": BLUE, "line": {"width": 1.5}},
            hovertemplate=f"{_PLACE}%{{y:.4g}} is within the tolerance too<extra></extra>",
        )


def add_diagnosed(figure: go.Figure, points: Points, **panel: int) -> None:
    """The rates that the networks' statistics predict, cycle by cycle; in a panel where there are several."""
    if points:
        figure.add_scatter(
            **_places(points),
            name="from diagnostics",
            mode="lines+markers",
            line={"color": ORANGE, "width": 1.5, "dash": "longdash"},
            marker={"symbol": "diamond-open", "size": 10, "color": ORANGE, "line": {"width": 2}},
            hovertemplate=f"predicted from diagnostics<br>{_PLACE}max_lr %{{y:.4g}}<extra></extra>",
            **panel,
        )


def _add_optima(figure: go.Figure, data: RatesData, *, texts: bool) -> None:
    """A dot per optimum, with the text that it shows when pointed at."""
    shown = [
        (i, text) for i, text in zip(data.intervals, data.texts, strict=True) if i.cycle not in data.at_chance
    ]
    if shown:
        figure.add_scatter(
            x=[i.cycle for i, _ in shown],
            y=[rounded(i.optimum) for i, _ in shown],
            name=data.optimum_name,
            legendrank=1,
            mode="markers",
            marker={"color": BLUE, "size": 9, "line": {"color": "white", "width": 1}},
            text=[text for _, text in shown] if texts else None,
            hovertemplate=f"{'%{text}' if texts else f'{_PLACE}{data.value} %{{y:.4g}}'}<extra></extra>",
        )


def _places(points: Points) -> dict[str, Any]:
    return {"x": [cycle for cycle, _ in points], "y": [rounded(rate) for _, rate in points]}


def _add_points(
    figure: go.Figure,
    name: str,
    points: tuple[Sequence[float], Sequence[float]],
    *,
    line: dict[str, object],
) -> None:
    """A line through points (cycles, rates); a dot where there is only one."""
    cycles, rates = points
    figure.add_scatter(
        x=cycles,
        y=rates,
        name=name,
        legendgroup=name,
        mode="lines" if len(cycles) > 1 else "lines+markers",
        line=line,
        hovertemplate=f"{name}<br>{_PLACE}max_lr %{{y:.4g}}<extra></extra>",
    )
