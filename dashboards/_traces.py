"""What figures are drawn from: intervals, curves and the cycles that a curve misses."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards.style import BLUE, SKY, rounded
from silo.intervals import CycleInterval


def add_intervals(figure: go.Figure, intervals: Sequence[CycleInterval]) -> None:
    """Bars with caps; the ends that the grid's edge cut off are triangles of their own."""
    ends = [(i.cycle, i.low, i.high) for i in intervals]
    figure.add_scatter(
        x=[x for cycle, _, _ in ends for x in (cycle, cycle, None)],
        y=[y for _, low, high in ends for y in (low, high, None)],
        name="Oracle interval",
        mode="lines+markers",
        line={"color": SKY, "width": 5},
        marker={"symbol": "line-ew", "size": 13, "line": {"color": SKY, "width": 3}},
        hovertemplate="cycle %{x}: interval ends at %{y:.4g}<extra></extra>",
    )
    cut = [(i.cycle, i.low, "triangle-down") for i in intervals if i.low_cut]
    cut += [(i.cycle, i.high, "triangle-up") for i in intervals if i.high_cut]
    if cut:
        cycles, rates, symbols = zip(*cut, strict=True)
        figure.add_scatter(
            x=cycles,
            y=rates,
            name="cut off by the grid",
            mode="markers",
            marker={"symbol": symbols, "size": 18, "color": SKY, "line": {"color": "black", "width": 1}},
            hovertemplate="cycle %{x}: the grid ended at %{y:.4g}<extra></extra>",
        )


def add_curve(
    figure: go.Figure, name: str, points: tuple[list[float], list[float]], line: dict[str, object]
) -> None:
    """A line through points (cycles, rates)."""
    cycles, rates = points
    figure.add_scatter(
        x=cycles,
        y=rates,
        name=name,
        mode="lines" if len(cycles) > 1 else "lines+markers",
        line=line,
        hovertemplate=f"{name}<br>cycle %{{x:.1f}}: %{{y:.4g}}<extra></extra>",
    )


def add_misses(figure: go.Figure, name: str, missed: list[tuple[int, float | None]], color: str) -> None:
    """A ✗ per missed cycle, at the curve's rate there; nothing where there is none."""
    if missed:
        figure.add_scatter(
            x=[cycle for cycle, _ in missed],
            y=[rate for _, rate in missed],
            name=name,
            mode="markers",
            marker={"symbol": "x-thin", "size": 12, "line": {"color": color, "width": 3}},
            hovertemplate=f"{name}<br>cycle %{{x}}: %{{y:.4g}}<extra></extra>",
        )


def add_optima(
    figure: go.Figure, intervals: Sequence[CycleInterval], texts: Sequence[str], name: str = "Oracle optimum"
) -> None:
    """A dot per optimum, with the text that it shows when pointed at."""
    figure.add_scatter(
        x=[interval.cycle for interval in intervals],
        y=[rounded(interval.optimum) for interval in intervals],
        name=name,
        legendrank=1,
        mode="markers",
        marker={"color": BLUE, "size": 9, "line": {"color": "white", "width": 1}},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )
