"""The ranges of q, β, ε and δ that the Oracle's intervals allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.style import (
    BLUE,
    GREEN,
    INK,
    PURPLE,
    SERIES,
    SKY,
    VERMILLION,
    legend_title,
    log_ticks,
    padded,
    plain_rate_text,
    rounded,
    say,
    template,
)
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.regions import Region
from silo.measured import CycleInterval

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


Corner = tuple[float, float]
"""ε and δ, learning rates."""

_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where between the lowest and the highest log β the slices lie."""

_ROOM = 0.06


def slice_figure(
    fit: CurveFit,
    intervals: Sequence[CycleInterval],
    *,
    predicted: SiloCurve | None = None,
    title: str = "",
) -> go.Figure:
    """All ε and δ of curves in every interval, for the best q and a few β of its range.

    For fixed q and β a curve's rates are linear in ε and δ: each interval leaves a stripe of their plane,
    and all of them together a polygon. Curves with another q are not shown.

    Args:
        fit: The fit.
        intervals: What was fitted.
        predicted: SILO's curve that was stated beforehand, to show where it lies.
        title: What was fitted, before the figure's own title.
    """
    region = fit.best
    figure = go.Figure(layout=_layout(region.q, title))
    if region.beta is None:
        say(figure, "No curve lies in every interval.")
        return figure
    highest = delta_end(fit, predicted)
    low, high = region.beta
    for share, series in zip(_SHARES, SERIES, strict=False):
        beta = low ** (1 - share) * high**share
        corners = slice_of(
            intervals,
            q=region.q,
            beta=beta,
            pruning_rate=fit.curve.pruning_rate,
            densities=fit.curve.densities,
            highest=highest,
        )
        if corners:
            name = f"β = {short(beta)}"
            figure.add_scatter(
                x=[rounded(epsilon) for epsilon, _ in (*corners, corners[0])],
                y=[rounded(delta) for _, delta in (*corners, corners[0])],
                name=name,
                mode="lines+markers",  # intervals of one rate leave a point
                marker={"size": 5, "color": series.color},
                line=series.line(),
                hovertemplate=f"{name}<br>ε %{{x:.4g}}, δ %{{y:.4g}}<extra></extra>",
            )
    _add_curves(figure, fit, predicted, highest)
    if not figure.data:
        say(figure, f"Every curve in all intervals rises by more than is shown: δ above {short(highest)}.")
        return figure
    _make_room(figure, fit)
    return figure


def _layout(q: int, title: str) -> go.Layout:
    own = f"ε and δ of curves in every interval, q = {q}"
    return go.Layout(
        template=template(),
        height=460,
        legend={"y": 1.02, "entrywidth": 190, **legend_title(titled(title, own))},
        hovermode="closest",
        xaxis={"title": {"text": PARAMETERS["epsilon"]}, "nticks": 8},
        yaxis={"title": {"text": PARAMETERS["delta"]}, "nticks": 8},
    )


def _add_curves(figure: go.Figure, fit: CurveFit, predicted: SiloCurve | None, highest: float) -> None:
    for mark in marks_of(fit, predicted):
        for curve in mark.curves:
            if curve.q == fit.best.q and curve.delta <= highest:
                name = f"{mark.name}, β = {short(curve.beta)}"
                figure.add_scatter(
                    x=[rounded(curve.epsilon)],
                    y=[rounded(curve.delta)],
                    name=name,
                    mode="markers",
                    marker={"symbol": mark.symbol, "size": 11, "color": mark.color, "line": SEAM},
                    hovertemplate=f"{name}<br>ε %{{x:.4g}}, δ %{{y:.4g}}<extra></extra>",
                )


def _make_room(figure: go.Figure, fit: CurveFit) -> None:
    """Lines along the edge of the plot would be hidden by it."""
    for axis, values in (
        (figure.layout.xaxis, [x for trace in figure.data for x in trace.x]),
        (figure.layout.yaxis, [y for trace in figure.data for y in trace.y]),
    ):
        axis.range = padded(min(values), max(values), _ROOM, around=fit.curve.max_lr(0))


def slice_of(
    intervals: Sequence[CycleInterval],
    *,
    q: int,
    beta: float,
    pruning_rate: float,
    highest: float,
    densities: tuple[float, ...] = (),
) -> list[Corner]:
    """The corners of {(ε, δ): 0 ≤ ε, 0 ≤ δ ≤ highest, low_m ≤ ε + δ·S(m) ≤ high_m for every cycle m}.

    An end that the grid cut off bounds nothing.

    Args:
        intervals: One per measured cycle.
        q: Of the curve.
        beta: Of the curve.
        pruning_rate: p, in (0, 1).
        highest: Where δ is cut off: nothing else may bound it.
        densities: Of the curve.

    Returns:
        In order around the polygon; empty where there is none.
    """
    rising = SiloCurve(q=q, beta=beta, epsilon=0, delta=1, pruning_rate=pruning_rate, densities=densities)
    rises = rising.max_lr([interval.cycle for interval in intervals]).tolist()
    widest = max(interval.high for interval in intervals) + highest
    corners = [(0.0, 0.0), (widest, 0.0), (widest, highest), (0.0, highest)]
    for interval, rise in zip(intervals, rises, strict=True):
        if not interval.high_cut:
            corners = _below(corners, 1.0, rise, interval.high)
        if not interval.low_cut:
            corners = _below(corners, -1.0, -rise, -interval.low)
    return corners


def _below(corners: list[Corner], a: float, b: float, bound: float) -> list[Corner]:
    """The part of a convex polygon with a·ε + b·δ ≤ bound (Sutherland and Hodgman, 1974)."""
    if not corners:
        return []
    kept = []
    for start, end in pairwise([*corners, corners[0]]):
        over_start = a * start[0] + b * start[1] - bound
        over_end = a * end[0] + b * end[1] - bound
        if over_start <= 0:
            kept.append(start)
        if (over_start <= 0) != (over_end <= 0):
            share = over_start / (over_start - over_end)
            kept.append((start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])))
    return kept
