"""The true shape of what the Oracle's intervals allow: ε and δ for a few β."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards._polygons import slice_of
from dashboards._region_marks import PARAMETERS, SEAM, delta_end, marks_of, short, titled
from dashboards.style import SERIES, legend_title, padded, rounded, say, template
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.intervals import CycleInterval

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
            intervals, q=region.q, beta=beta, pruning_rate=fit.curve.pruning_rate, highest=highest
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
