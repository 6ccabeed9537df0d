"""Gradients and hidden representations over the cycles, and the curve that they predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from dashboards.figures.rates import RatesData, add_diagnosed, cycle_ticks, rate_axis, rates_data
from dashboards.style import (
    BLUE,
    GREEN,
    PURPLE,
    SKY,
    Series,
    density_text,
    legend_title,
    rounded,
    say,
    short_name,
    template,
)
from oracle.results import Results
from oracle.results.networks import CycleDistributions

if TYPE_CHECKING:
    from trials.diagnostics import Histogram  # imports torch

_MOST_RIDGES = 13
_OVERLAP = 1.7
"""Height of a ridge, in distances between two of them."""

_TAIL = 0.01
"""Share of the values on each side that may lie beyond a panel's ends."""

_PANELS = {"gradients": "gradients of the weights", "representations": "hidden representations"}
_SCALE = "ridges: m and weights left; height: square root of the counts"
_STD = {
    "gradient_std": ("std of gradients", Series(color=GREEN, dash="solid", symbol="circle")),
    "representation_std": ("std of representations", Series(color=PURPLE, dash="dash", symbol="square")),
}


def distributions_figure(results: Results) -> go.Figure:
    """Fig. 1 of the SILO paper of this search, and the rates that its statistics predict.

    Above, a ridge per cycle (of the first replicate's selected network): the distribution of the gradients
    and of the hidden representations. Below, their standard deviations (mean over the replicates) as
    multiples of the first cycle's, and the rates that they predict beside the Oracle's optima.
    """
    found = results.distributions
    title = f"{short_name(results.name)}: gradients and representations"
    layout = {
        "template": template(),
        "height": 720,
        "legend": {"y": 1.05, "entrywidth": 140, **legend_title(title, _SCALE if found else "")},
        "hovermode": "closest",
    }
    if not found:
        figure = go.Figure(layout=layout)
        say(figure, "No cycle with statistics is decided.")
        return figure
    figure = make_subplots(
        rows=2,
        cols=2,
        row_heights=[0.6, 0.4],
        horizontal_spacing=0.12,
        vertical_spacing=0.17,
        subplot_titles=[*_PANELS.values(), "std, of the first cycle's", "peak learning rate max_lr"],
    )
    figure.update_layout(layout)
    figure.update_annotations(font_size=13)
    shown = found[:: math.ceil(len(found) / _MOST_RIDGES)]
    for column, kind in enumerate(_PANELS, start=1):
        _add_ridges(figure, shown, kind, column)
    _add_deviations(figure, found)
    _add_rates(figure, rates_data(results, without=("rivals",)))
    ticks = cycle_ticks(found[-1].cycle + 1, most=7)
    figure.update_xaxes(title_text="pruning cycle m", tickvals=ticks, tickangle=0, row=2)
    return figure


def _add_ridges(figure: go.Figure, shown: Sequence[CycleDistributions], kind: str, column: int) -> None:
    """The first cycle at the top; a later one covers what it overlaps."""
    top = len(shown) - 1
    colors = sample_colorscale("Viridis", [k / max(len(shown), 2) for k in range(len(shown))])
    histograms = {one.cycle: getattr(one, kind) for one in shown if getattr(one, kind) is not None}
    if not histograms:
        _say_in_panel(figure, "no histograms", column)
        return
    for place, (one, color) in enumerate(zip(shown, colors, strict=True)):
        if one.cycle in histograms:
            values, heights = _ridge(histograms[one.cycle])
            figure.add_scatter(
                x=values,
                y=[rounded(top - place + _OVERLAP * height) for height in heights],
                name=f"{kind}, m = {one.cycle}",
                showlegend=False,
                mode="lines",
                fill="toself",
                fillcolor=color.replace("rgb", "rgba").replace(")", ", 0.65)"),
                line={"color": color, "width": 1.2},
                hoveron="fills",
                hoverinfo="name",
                row=1,
                col=column,
            )
    figure.update_xaxes(range=_ends(list(histograms.values())), nticks=5, row=1, col=column)
    figure.update_yaxes(
        tickvals=list(range(top, -1, -1)),
        ticktext=[f"m={one.cycle}, {density_text(one.density)} %" for one in shown],
        range=[-0.2, top + 0.1 + _OVERLAP],
        showgrid=False,
        showticklabels=column == 1,
        row=1,
        col=column,
    )


def _ridge(histogram: Histogram) -> tuple[list[float], list[float]]:
    """An outline from the baseline over the bins' middles and back; its peak is 1 high.

    Heights are square roots: a peak, such as that of the zeros behind a ReLU, would flatten all the rest.
    """
    width = (histogram.high - histogram.low) / len(histogram.counts)
    middles = [rounded(histogram.low + (k + 0.5) * width) for k in range(len(histogram.counts))]
    peak = max(*histogram.counts, 1)
    heights = [rounded(math.sqrt(count / peak)) for count in histogram.counts]
    return [rounded(histogram.low), *middles, rounded(histogram.high)], [0.0, *heights, 0.0]


def _ends(histograms: Sequence[Histogram]) -> list[float]:
    """Lowest and highest value to show: almost all of every cycle's."""
    ends = [_quantiles(histogram) for histogram in histograms]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    margin = 0.03 * (high - low) or 1.0
    return [rounded(low - margin), rounded(high + margin)]


def _quantiles(histogram: Histogram) -> tuple[float, float]:
    """The edges of the bins beyond which few values lie."""
    width = (histogram.high - histogram.low) / len(histogram.counts)
    allowed = _TAIL * sum(histogram.counts)
    first = _bins_of_tail(histogram.counts, allowed)
    last = _bins_of_tail(histogram.counts[::-1], allowed)
    return histogram.low + first * width, histogram.high - last * width


def _bins_of_tail(counts: Sequence[int], allowed: float) -> int:
    total = 0
    for index, count in enumerate(counts):
        total += count
        if total > allowed:
            return index
    return 0


def _add_deviations(figure: go.Figure, found: Sequence[CycleDistributions]) -> None:
    for field, (name, series) in _STD.items():
        values = [float(getattr(one.means, field)) for one in found]
        first = next((value for value in values if math.isfinite(value) and value > 0), None)
        if first is None:
            continue
        shown = [rounded(value / first) if math.isfinite(value) else None for value in values]
        figure.add_scatter(
            x=[one.cycle for one in found],
            y=shown,
            name=name,
            mode="lines+markers",
            line=series.line(),
            marker={"symbol": series.symbol, "size": 7, "color": series.color},
            text=[f"{value:.4g}" for value in values],
            hovertemplate=f"{name}<br>cycle %{{x}}: %{{text}}, %{{y:.3g}} of the first<extra></extra>",
            row=2,
            col=1,
        )
    figure.update_yaxes(rangemode="tozero", nticks=6, row=2, col=1)


def _add_rates(figure: go.Figure, data: RatesData) -> None:
    shown = [interval for interval in data.intervals if interval.cycle not in data.at_chance]
    figure.add_scatter(
        x=[interval.cycle for interval in shown],
        y=[rounded(interval.optimum) for interval in shown],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [rounded(interval.high - interval.optimum) for interval in shown],
            "arrayminus": [rounded(interval.optimum - interval.low) for interval in shown],
            "color": SKY,
            "thickness": 2.5,
        },
        name=data.optimum_name,
        mode="markers",
        marker={"color": BLUE, "size": 8},
        hovertemplate="cycle %{x}: %{y:.4g}<extra></extra>",
        row=2,
        col=2,
    )
    add_diagnosed(figure, data.diagnosed, row=2, col=2)
    figure.update_yaxes(rate_axis(data), row=2, col=2)


def _say_in_panel(figure: go.Figure, text: str, column: int) -> None:
    (panel,) = figure.select_xaxes(row=1, col=column)
    (beside,) = figure.select_yaxes(row=1, col=column)
    x, y = sum(panel.domain) / 2, sum(beside.domain) / 2
    figure.add_annotation(text=text, x=x, y=y, xref="paper", yref="paper", showarrow=False)
    panel.visible = beside.visible = False
