"""The true shape of what the Oracle's intervals allow: ε and δ for a few β."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go

from dashboards.figures.region import PARAMETERS, SEAM, delta_end, marks_of, short, titled
from dashboards.style import SERIES, legend_title, padded, rounded, say, template
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.intervals import CycleInterval

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
