"""The traces of the figure of rates over the cycles: intervals, curves and the cycles that they miss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboards.figures import rates_axes
from dashboards.figures.rates_data import DrawnCurve, Points, RatesData
from dashboards.style import BLACK, BLUE, GREY, ORANGE, SKY, Series, rounded
from silo.intervals import CycleInterval

PLACE = "%{xaxis.title.text}: %{x:.4g}<br>"
"""A point's place, whichever axis is shown."""

_RIVALS = {
    "constant": Series(color=BLACK, dash="longdash", symbol="circle"),
    "linear": Series(color=ORANGE, dash="dashdot", symbol="circle"),
    "exponential": Series(color=SKY, dash="longdashdot", symbol="circle"),
    "logistic": Series(color=BLUE, dash="8px,3px,2px,3px,2px,3px", symbol="circle"),
    "Theorem 2 bound": Series(color=GREY, dash="2px,5px", symbol="circle"),
}
_GREEN_VEIL = "rgba(0,158,115,0.18)"


def add_intervals(figure: go.Figure, data: RatesData) -> None:
    """Bars with caps; an end that the grid's edge cut off is an open triangle of its own."""
    shown = [i for i in data.intervals if i.cycle not in data.at_chance]
    if shown:
        figure.add_scatter(
            x=[x for i in shown for x in (i.cycle, i.cycle, None)],
            y=[y for i in shown for y in (rounded(i.low), rounded(i.high), None)],
            name="Oracle interval",
            mode="lines+markers",
            line={"color": SKY, "width": 5},
            marker={"symbol": "line-ew", "size": 13, "line": {"color": SKY, "width": 3}},
            hovertemplate=f"{PLACE}interval ends at %{{y:.4g}}<extra></extra>",
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
            hovertemplate=f"{PLACE}the grid ended at %{{y:.4g}}<extra></extra>",
        )


def add_chance(figure: go.Figure, data: RatesData) -> None:
    """Thin grey bars through what was no better than chance: rates and intervals say nothing there."""
    texts = dict(zip((i.cycle for i in data.intervals), data.texts, strict=True))
    shown = [i for i in data.intervals if i.cycle in data.at_chance]
    if not shown:
        return
    figure.add_scatter(
        x=[x for i in shown for x in (*(i.cycle,) * 3, None)],
        y=[y for i in shown for y in (rounded(i.low), rounded(i.optimum), rounded(i.high), None)],
        name="at chance level",
        mode="lines+markers",
        line={"color": GREY, "width": 2},
        marker={
            "symbol": [symbol for i in shown for symbol in _symbols(i)],
            "size": 10,
            "color": GREY,
            "line": {"color": GREY, "width": 2},
        },
        text=[text for i in shown for text in (*(texts[i.cycle],) * 3, "")],
        hovertemplate="%{text}<br>no better than chance<extra></extra>",
    )


def _symbols(interval: CycleInterval) -> tuple[str, str, str, str]:
    """Of the lower end, the optimum, the upper end and the gap to the next cycle."""
    low = "triangle-down-open" if interval.low_cut else "line-ew"
    high = "triangle-up-open" if interval.high_cut else "line-ew"
    return low, "circle-open", high, "circle"


def add_curve(figure: go.Figure, drawn: DrawnCurve) -> None:
    """A curve of SILO's, and a ✗ per interval that it is outside of."""
    _add_points(
        figure,
        drawn.name,
        rates_axes.smooth(drawn.curve, drawn.last),
        line={"color": drawn.color, "width": 2.5, "dash": drawn.dash},
    )
    if drawn.misses:
        figure.add_scatter(
            x=[cycle for cycle, _ in drawn.misses],
            y=[rounded(rate) for _, rate in drawn.misses],
            name=f"{drawn.name}: outside",
            legendgroup=drawn.name,
            showlegend=False,
            mode="markers",
            marker={"symbol": "x-thin", "size": 12, "line": {"color": drawn.color, "width": 3}},
            hovertemplate=f"{drawn.name}<br>{PLACE}outside at %{{y:.4g}}<extra></extra>",
        )


def add_rivals(figure: go.Figure, data: RatesData) -> None:
    """The other curves, drawn once they are clicked in the legend."""
    for rival in data.rivals.rivals if data.rivals else ():
        if rival.name in _RIVALS:
            cycles = rates_axes.steps(data.intervals[-1].cycle)
            rates = [rounded(rate) for rate in rival.max_lr(np.array(cycles))]
            _add_points(figure, rival.name, (cycles, rates), line=_RIVALS[rival.name].line())
            figure.data[-1].visible = "legendonly"


def add_band(figure: go.Figure, data: RatesData) -> None:
    """The central 95 % of the curves fitted to resampled trainings, cycle by cycle."""
    if data.fit is None or data.fit.bootstrap is None:
        return
    cycles = rates_axes.steps(data.intervals[-1].cycle)
    low, high = data.fit.bootstrap.band(cycles)
    # A rate of 0 has no place on a logarithmic axis, and would break the outline.
    floor = data.rates[0] / 1e3 if data.scale == "log" else 0.0
    figure.add_scatter(
        x=[*cycles, *reversed(cycles)],
        y=[rounded(max(rate, floor)) for rate in (*high, *reversed(low))],
        name="95 % band",
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=_GREEN_VEIL,
        hoverinfo="skip",
    )


def add_detached(figure: go.Figure, points: Points) -> None:
    """Open dots where a rate is as good as the optimum, beyond a worse one."""
    if points:
        figure.add_scatter(
            x=[cycle for cycle, _ in points],
            y=[rounded(rate) for _, rate in points],
            name="good, beyond a gap",
            mode="markers",
            marker={"symbol": "circle-open", "size": 8, "color": BLUE, "line": {"width": 1.5}},
            hovertemplate=f"{PLACE}%{{y:.4g}} is within the tolerance too<extra></extra>",
        )


def add_diagnosed(figure: go.Figure, points: Points, **panel: int) -> None:
    """The rates that the networks' statistics predict, cycle by cycle; in a panel where there are several."""
    if points:
        figure.add_scatter(
            x=[cycle for cycle, _ in points],
            y=[rounded(rate) for _, rate in points],
            name="from diagnostics",
            mode="lines+markers",
            line={"color": ORANGE, "width": 1.5, "dash": "longdash"},
            marker={"symbol": "diamond-open", "size": 10, "color": ORANGE, "line": {"width": 2}},
            hovertemplate=f"predicted from diagnostics<br>{PLACE}max_lr %{{y:.4g}}<extra></extra>",
            **panel,
        )


def add_optima(figure: go.Figure, data: RatesData, *, texts: bool) -> None:
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
            hovertemplate=f"{'%{text}' if texts else f'{PLACE}max_lr %{{y:.4g}}'}<extra></extra>",
        )


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
        hovertemplate=f"{name}<br>{PLACE}max_lr %{{y:.4g}}<extra></extra>",
    )
