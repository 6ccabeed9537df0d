"""The comparison as plotly figures, small enough for Optuna's dashboard, which keeps them in its database."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from dashboards import _curves, _landscape
from dashboards._cells import cells
from dashboards._traces import add_curve, add_intervals, add_misses, add_optima
from dashboards.style import GREEN, PURPLE, SKY, VERMILLION, density_text, template
from oracle.comparison import Comparison, CycleRow

_LONGEST_NAME = 32


def comparison_figure(comparison: Comparison) -> go.Figure:
    """The Oracle's optima and intervals over the cycles, and SILO's curves through them.

    An interval's end has a cap, or a triangle where the grid ended. A ✗ marks a cycle whose interval a curve
    misses. The axis of ``max_lr`` is logarithmic if the grid is.
    """
    figure = go.Figure(layout=_layout(comparison))
    if comparison.rows and comparison.spec.searched:
        add_intervals(figure, [row.interval for row in comparison.rows])
        _add_beyond_gaps(figure, comparison.rows)
    _add_curves(figure, comparison)
    if comparison.rows:
        _add_optima(figure, comparison)
        _add_density_axis(figure, comparison)
    else:
        _say_that_nothing_is_decided(figure)
    return figure


def landscape_figure(comparison: Comparison) -> go.Figure:
    """The mean validation accuracy of every candidate of every cycle, the interval outlined.

    Cells of rates that a cycle did not try are blank. Accuracies far below the best share the darkest colour,
    so that differences among the good ones show.
    """
    figure = go.Figure(layout=_landscape_layout(comparison))
    if not comparison.rows:
        _say_that_nothing_is_decided(figure)
        return figure
    rates = _landscape.rates(comparison.rows)
    cycles = [row.interval.cycle for row in comparison.rows]
    names = _landscape.names(rates)
    figure.add_heatmap(
        x=cycles,
        y=[names[rate] for rate in rates],
        z=_landscape.percentages(comparison.rows, rates),
        hovertemplate="cycle %{x}, max_lr %{y}<br>validation accuracy %{z:.2f} %<extra></extra>",
        **_landscape.colours(comparison),
    )
    figure.add_scatter(
        x=cycles,
        y=[names[row.interval.optimum] for row in comparison.rows],
        name="Oracle optimum",
        mode="markers",
        marker={"color": "white", "size": 9, "line": {"color": "black", "width": 1.5}},
        hoverinfo="skip",
    )
    figure.update_layout(shapes=_landscape.outlines(comparison.rows, rates))
    figure.update_yaxes(categoryarray=[names[rate] for rate in rates], range=[-0.5, len(rates) - 0.5])
    return figure


def _layout(comparison: Comparison) -> go.Layout:
    rows, cycles = comparison.rows, comparison.cycles
    ticks = _curves.cycle_ticks(cycles)
    axis = {"range": [-0.6, cycles - 0.4], "tickmode": "array"}
    decided = {row.interval.cycle: row.density for row in rows}
    shown = [cycle for cycle in ticks if cycle in decided]
    return go.Layout(
        template=template(),
        height=460,
        legend={
            "y": 1.15,
            "entrywidth": 158,
            "itemsizing": "constant",
            **_title(comparison, "max_lr per pruning cycle"),
        },
        hovermode="closest",
        xaxis={**axis, "title": {"text": "pruning cycle m"}, "tickvals": ticks},
        xaxis2={
            **axis,
            "title": {"text": "weights left λ (%)", "standoff": 6},
            "tickvals": shown,
            "ticktext": [density_text(decided[cycle]) for cycle in shown],
            "side": "top",
            "overlaying": "x",
            "matches": "x",
            "showgrid": False,
        },
        yaxis={"title": {"text": "peak learning rate max_lr"}, **_curves.rate_axis(comparison)},
    )


def _landscape_layout(comparison: Comparison) -> go.Layout:
    decided = [row.interval.cycle for row in comparison.rows]
    return go.Layout(
        template=template(),
        height=460,
        legend={"y": 1.01, **_title(comparison, "validation accuracy")},
        plot_bgcolor="#F2F2F2",
        xaxis={
            "title": {"text": "pruning cycle m"},
            "tickvals": _curves.cycle_ticks(len(decided)),
            "range": [-0.5, max(len(decided), 1) - 0.5],
            "showgrid": False,
        },
        yaxis={
            "title": {"text": "peak learning rate max_lr"},
            "type": "category",
            "categoryorder": "array",
            "showgrid": False,
        },
    )


def _add_beyond_gaps(figure: go.Figure, rows: tuple[CycleRow, ...]) -> None:
    apart = [(row.interval.cycle, rate) for row in rows for rate in row.detached]
    if apart:
        figure.add_scatter(
            x=[cycle for cycle, _ in apart],
            y=[rate for _, rate in apart],
            name="as good, beyond a gap",
            mode="markers",
            marker={"symbol": "circle-open", "size": 7, "color": SKY, "line": {"width": 1.5}},
            hovertemplate="cycle %{x}: %{y:.4g} is within the tolerance too<extra></extra>",
        )


def _add_curves(figure: go.Figure, comparison: Comparison) -> None:
    """SILO's curve through all cycles, fitted ones only as far as there are data."""
    decided = [row.interval.cycle for row in comparison.rows]
    if comparison.predicted is not None:
        curve, style = comparison.predicted, {"color": VERMILLION, "width": 2}
        add_curve(figure, "SILO, predicted", _curves.smooth(curve, comparison.cycles - 1), style)
        missed = [(r.interval.cycle, r.predicted) for r in comparison.rows if not r.predicted_inside]
        add_misses(figure, "SILO outside", missed, VERMILLION)
    if comparison.fit is not None:
        fit = comparison.fit
        style = {"color": GREEN, "width": 2.5, "dash": "dash"}
        add_curve(figure, "SILO, least squares", _curves.smooth(fit.curve, decided[-1]), style)
        name = "SILO, inside all" if fit.hitting else "SILO, fewest misses"
        style = {"color": PURPLE, "width": 2.5, "dash": "dot"}
        add_curve(figure, name, _curves.smooth(fit.fewest_misses, decided[-1]), style)


def _add_optima(figure: go.Figure, comparison: Comparison) -> None:
    searched = comparison.spec.searched
    texts = [
        f"cycle {text.cycle}, λ {text.density} %<br>"
        + (f"Oracle optimum {text.optimum}e-2<br>interval {text.interval} × 1e-2<br>" if searched else "")
        + ("" if searched else f"max_lr {text.optimum}e-2<br>")
        + f"validation accuracy {text.validation} %<br>test accuracy {text.test} %"
        for text in cells(comparison)
    ]
    name = "Oracle optimum" if searched else f"policy {comparison.spec.policy.name}"
    add_optima(figure, [row.interval for row in comparison.rows], texts, name)


def _add_density_axis(figure: go.Figure, comparison: Comparison) -> None:
    """An axis shows only if something is drawn on it."""
    first = comparison.rows[0].interval
    figure.add_scatter(
        x=[first.cycle], y=[first.optimum], xaxis="x2", opacity=0, hoverinfo="skip", showlegend=False
    )


def _title(comparison: Comparison, subject: str) -> dict[str, object]:
    """The figure's title as the legend's: so both get the room that they need, whatever the width."""
    name = comparison.name
    shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    text = f"{html.escape(shown)}: {subject}"
    return {"title": {"text": text, "side": "top", "font": {"size": 16}}}


def _say_that_nothing_is_decided(figure: go.Figure) -> None:
    figure.add_annotation(
        text="No cycle is decided yet.", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False
    )
