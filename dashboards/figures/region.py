"""The ranges of q, β, ε and δ that the Oracle's intervals allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.style import (
    BLUE,
    GREEN,
    INK,
    PURPLE,
    SKY,
    VERMILLION,
    legend_title,
    log_ticks,
    padded,
    plain_rate_text,
    rounded,
    template,
)
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.regions import Region

PARAMETERS = {"beta": "steepness β", "epsilon": "start ε (max_lr)", "delta": "rise δ (max_lr)"}
"""The parameters beside q, as the axes call them."""

SEAM = {"color": "white", "width": 1}
"""Around a marker, so that those that lie on each other can be told apart."""

_REACH = 4.0
"""How many times beyond what else is shown a highest δ may stretch its axis."""

_ROW_HEIGHT, _AROUND = 42, 190
_OPEN = {"color": BLUE, "width": 2}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Curves as points among the parameters.

    Attributes:
        name: As the legend calls them.
        curves: The curves.
        color: Their colour.
        symbol: Their symbol.
    """

    name: str
    curves: tuple[SiloCurve, ...]
    color: str
    symbol: str


def region_figure(fit: CurveFit, *, predicted: SiloCurve | None = None, title: str = "") -> go.Figure:
    """For each q the ranges of β, ε and δ of the curves that lie in every interval.

    The ranges are a box around the region: not every combination in it is inside, see ``slice_figure``. An
    open arrow goes on, beyond the panel or without end.

    Args:
        fit: The fit.
        predicted: SILO's curve that was stated beforehand, to show where it lies.
        title: What was fitted, before the figure's own title.
    """
    figure = make_subplots(rows=1, cols=3, shared_yaxes=True, horizontal_spacing=0.06)
    marks = marks_of(fit, predicted)
    for column, name in enumerate(PARAMETERS, start=1):
        end = delta_end(fit, predicted) if name == "delta" else math.inf
        _add_ranges(figure, fit.regions, name, column, end)
        for mark in marks:
            _add_mark(figure, mark, name, column, end)
        figure.update_xaxes(_axis(fit, marks, name, end), row=1, col=column)
    _lay_out(figure, fit, marks, title)
    return figure


def _add_ranges(figure: go.Figure, regions: Sequence[Region], name: str, column: int, end: float) -> None:
    found = [(region.q, ends) for region in regions if (ends := region.shown(name)) is not None]
    if not found:
        return
    figure.add_scatter(
        x=[x for _, (low, high) in found for x in (rounded(low + 0.0), rounded(min(high, end)), None)],
        y=[y for q, _ in found for y in (q, q, None)],
        **_named("in every interval", name, column),
        mode="lines+markers",
        line={"color": SKY, "width": 6},
        marker={"symbol": "line-ns", "size": 14, "line": {"color": SKY, "width": 3}},
        text=[_range_text(name, *ends) for _, ends in found for _ in range(3)],
        hovertemplate="q = %{y}: %{text}<extra></extra>",
        row=1,
        col=column,
    )
    going_on = [q for q, (_, high) in found if high > end]
    if going_on:
        figure.add_scatter(
            x=[rounded(end)] * len(going_on),
            y=going_on,
            name="goes on",
            mode="markers",
            cliponaxis=False,
            marker={"symbol": "triangle-right", "size": 15, "color": "white", "line": _OPEN},
            hovertemplate="q = %{y}: δ goes on<extra></extra>",
            row=1,
            col=column,
        )


def _add_mark(figure: go.Figure, mark: Mark, name: str, column: int, end: float) -> None:
    values = [float(getattr(curve, name)) + 0.0 for curve in mark.curves]
    figure.add_scatter(
        x=[rounded(min(value, end)) for value in values],
        y=[curve.q for curve in mark.curves],
        **_named(mark.name, name, column),
        mode="markers",
        cliponaxis=False,
        marker={"symbol": mark.symbol, "size": 10, "color": mark.color, "line": SEAM},
        text=[f"{_symbol(name)} {short(value)}" for value in values],
        hovertemplate=f"{mark.name}<br>q = %{{y}}: %{{text}}<extra></extra>",
        row=1,
        col=column,
    )


def _named(shown: str, name: str, column: int) -> dict[str, Any]:
    """One entry in the legend for all three panels."""
    own = shown if column == 1 else f"{shown}, {_symbol(name)}"
    return {"name": own, "legendgroup": shown, "showlegend": column == 1}


def _axis(fit: CurveFit, marks: Sequence[Mark], name: str, end: float) -> dict[str, Any]:
    ranges = [ends for region in fit.regions if (ends := region.shown(name)) is not None]
    values = [value for ends in ranges for value in ends]
    values += [float(getattr(curve, name)) for mark in marks for curve in mark.curves]
    low, high = min(values), min(max(values), end)
    axis = {"title": {"text": PARAMETERS[name]}, "tickangle": 0}
    if name == "beta":
        low, high = low / 1.25, high * 1.25
        ticks, texts = log_ticks(low, high)
        reach = [rounded(math.log10(low)), rounded(math.log10(high))]
        return {**axis, "type": "log", "range": reach, "tickvals": ticks, "ticktext": texts}
    return {**axis, "range": padded(low, high, 0.08, around=fit.curve.max_lr(0)), "nticks": 4}


def _lay_out(figure: go.Figure, fit: CurveFit, marks: Sequence[Mark], title: str) -> None:
    marked = {curve.q for mark in marks for curve in mark.curves}
    rows = sorted({region.q for region in fit.regions} | marked)
    figure.update_layout(
        template=template(),
        height=_AROUND + _ROW_HEIGHT * len(rows),
        legend={"y": 1.02, "entrywidth": 132, **legend_title(titled(title, "curves in every interval"))},
        hovermode="closest",
    )
    figure.update_yaxes(
        range=[rows[-1] + 0.6, rows[0] - 0.6], tickvals=rows, ticktext=[f"q = {q}" for q in rows]
    )
    for region in fit.regions:
        if region.empty:
            _say_empty(figure, region, below=0.32 if region.q in marked else 0.0)


def _say_empty(figure: go.Figure, region: Region, *, below: float) -> None:
    """Over all panels: there is nothing else in that row but curves that miss."""
    figure.add_annotation(
        text=f"none; at least {len(region.missed_cycles)} missed",
        x=0.02,
        xref="x domain",
        xanchor="left",
        y=region.q + below,
        yref="y",
        font={"size": 11, "color": INK},
        bgcolor="white",
        borderpad=1,
        showarrow=False,
    )


def _symbol(name: str) -> str:
    return PARAMETERS[name].split()[1]


def _range_text(name: str, low: float, high: float) -> str:
    upper = "and above" if high == math.inf else f"to {short(high)}"
    return f"{_symbol(name)} {short(low)} {upper}"


def marks_of(fit: CurveFit, predicted: SiloCurve | None) -> list[Mark]:
    """For each q the curve that is farthest from all ends, the least-squares curve and the predicted one."""
    central = tuple(region.curve for region in fit.regions if not region.empty)
    marks = [
        Mark(name="farthest from all ends", curves=central, color=PURPLE, symbol="circle"),
        Mark(name="least squares", curves=(fit.curve,), color=GREEN, symbol="diamond"),
    ]
    if predicted is not None:
        marks.append(Mark(name="predicted", curves=(predicted,), color=VERMILLION, symbol="square"))
    return [mark for mark in marks if mark.curves]


def delta_end(fit: CurveFit, predicted: SiloCurve | None) -> float:
    """The end of an axis of δ: beyond all that is not out of proportion."""
    ranges = [ends for region in fit.regions if (ends := region.shown("delta")) is not None]
    near = [low for low, _ in ranges] + [region.epsilon[1] for region in fit.regions if region.epsilon]
    near += [fit.curve.max_lr(0)] + ([predicted.delta] if predicted is not None else [])
    far = [fit.curve.delta, *(high for _, high in ranges)]
    return 1.08 * max(value for value in (*near, *far) if value <= _REACH * max(near))


def titled(title: str, own: str) -> str:
    """A figure's own title behind what was fitted."""
    return f"{title}: {own}" if title else own[0].upper() + own[1:]


def short(value: float) -> str:
    """A parameter as text. ``+ 0.0`` turns the -0 of a flat curve into 0."""
    return plain_rate_text(value + 0.0)
