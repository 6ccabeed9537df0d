"""Test scores against density, a line per search: the paper's Tables 2 to 7 as a figure."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go

from dashboards.style import density_text, log_ticks, rounded, template
from dashboards.tables.accuracy import (
    AccuracySeries,
    Place,
    Point,
    measure_of,
    places,
    series_of,
    short_names,
)
from oracle.results import Results

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "circle-open")
"""Their numbers share no factor, so that 40 lines differ without colour."""

_HEIGHT, _ENTRY_HEIGHT = 400, 20
_ENTRY_WIDTH, _LETTER_WIDTH, _NARROWEST = 50, 7.5, 500
_MOST_TICKS, _TICK_RATIO, _ROOM = 8, 1.12, 0.06


def accuracy_figure(searches: Sequence[Results], *, also: Sequence[AccuracySeries] = ()) -> go.Figure:
    """Test accuracy in %, or another metric, against what is left of the weights, from dense to sparse.

    A line per search, with error bars of its standard deviation where it has several replicates. Lines differ
    in dash and marker too, so that they are told apart in black and white.

    Args:
        searches: The searches; their names lose what all begin with.
        also: What is to stand beside them, such as the lines of ``dashboards.tables.paper``.

    Raises:
        InvalidInput: They are judged by different metrics.
    """
    lines = [*series_of(searches, short_names([found.name for found in searches])), *also]
    shown = [line for line in lines if line.points]
    figure = go.Figure(layout=_layout(lines))
    for index, line in enumerate(shown):
        _add(figure, line, index)
    if not shown:
        figure.add_annotation(
            text="No cycle is decided yet.", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False
        )
    return figure


def _add(figure: go.Figure, line: AccuracySeries, index: int) -> None:
    colours = template().layout.colorway
    colour = colours[index % len(colours)]
    stds = [point.std for point in line.points]
    spread = None
    if any(stds):
        sizes = [rounded(line.measure.shown(std or 0)) for std in stds]
        spread = {"array": sizes, "thickness": 1.2, "width": 3}
    figure.add_scatter(
        x=[rounded(100 * point.density) for point in line.points],
        y=[_height(line, point) for point in line.points],
        name=html.escape(line.name),
        mode="lines+markers",
        error_y=spread,
        line={"color": colour, "width": 2, "dash": _DASHES[index % len(_DASHES)]},
        marker={"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 8, "color": colour},
        text=[_hover(line, i) for i in range(len(line.points))],
        hovertemplate="%{text}<extra></extra>",
    )


def _height(line: AccuracySeries, point: Point) -> float | None:
    return None if math.isnan(point.accuracy) else rounded(line.measure.shown(point.accuracy))


def _hover(line: AccuracySeries, index: int) -> str:
    point = line.points[index]
    score = line.measure.quantity(point.accuracy, point.std, decimals=line.decimals)
    cycle = "" if point.cycle is None else f"cycle {point.cycle}, "
    return (
        f"{html.escape(line.name)}<br>{cycle}λ {density_text(point.density)} %<br>"
        f"{line.measure.label('test')} {score}"
    )


def _layout(lines: Sequence[AccuracySeries]) -> go.Layout:
    measure = measure_of(lines)
    widest = max((len(line.name) for line in lines), default=0) * _LETTER_WIDTH + _ENTRY_WIDTH
    entries = -(-len(lines) // max(1, int(_NARROWEST // widest)))
    return go.Layout(
        template=template(),
        height=_HEIGHT + _ENTRY_HEIGHT * entries,
        legend={
            "y": 1.02,
            "entrywidth": widest - _ENTRY_WIDTH + 10,
            "title": {
                "text": f"{measure.label('Test')} by what is left",
                "side": "top",
                "font": {"size": 16},
            },
        },
        hovermode="closest",
        xaxis={"title": {"text": "weights left λ (%)"}, "type": "log", **_axis(places(lines))},
        yaxis={"title": {"text": f"{measure.label('test')}{measure.sign}"}},
    )


def _axis(found: Sequence[Place]) -> dict[str, object]:
    """From dense to sparse, with room for the markers; ticks at the densities if they are few."""
    densities = sorted({100 * point.density for place in found for point in place.points if point})
    if not densities:
        return {"range": [2, 0]}
    low, high = densities[0], densities[-1]
    room = max(_ROOM * math.log10(high / low), 0.02)
    ends = {"range": [math.log10(high) + room, math.log10(low) - room], "tickmode": "array"}
    first = sorted(100 * next(p.density for p in place.points if p) for place in found)
    if len(first) <= _MOST_TICKS and all(b / a >= _TICK_RATIO for a, b in pairwise(first)):
        return {**ends, "tickvals": first, "ticktext": [density_text(value / 100) for value in first]}
    values, texts = log_ticks(low, high)
    if len(values) < 2:
        values, texts = [low, high], [density_text(low / 100), density_text(high / 100)]
    return {**ends, "tickvals": values, "ticktext": texts}
