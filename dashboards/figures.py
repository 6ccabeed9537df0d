"""A search's two main figures: rates over the cycles, and every candidate's accuracy."""

from __future__ import annotations

from collections.abc import Collection

import plotly.graph_objects as go

from dashboards import _landscape
from dashboards._chart import chart_of
from dashboards._curves import cycle_ticks
from dashboards._rates import Across, rates_figure
from dashboards.style import legend_title, say, short_name, template
from oracle.analysis import Analysis
from oracle.comparison import Comparison


def comparison_figure(
    analysis: Analysis, *, across: Across = "cycle", without: Collection[str] = ()
) -> go.Figure:
    """The Oracle's optima and intervals over the cycles, SILO's curves through them, and what else is known.

    An interval's end has a cap, or an open triangle where the grid ended. A ✗ marks a cycle whose interval a
    curve is outside of. Grey is what was no better than chance. Rivals are drawn once they are clicked in
    the legend. The axis of ``max_lr`` is logarithmic if the grid is.

    Args:
        analysis: What was found; ``Analysis(comparison=...)`` for what is known without further work.
        across: ``"cycle"`` or ``"density"``: what the figure shows at first; two buttons switch it.
        without: Parts to leave out, see ``dashboards._rates.DISPENSABLE``.
    """
    return rates_figure(chart_of(analysis), across=across, without=without)


def landscape_figure(comparison: Comparison) -> go.Figure:
    """The mean validation accuracy of every candidate of every cycle, the interval outlined.

    An outline is open where the grid cut the interval off. Cells of rates that a cycle did not try are
    blank. Accuracies far below the best share the darkest colour, so that differences among the good ones
    show.
    """
    figure = go.Figure(layout=_landscape_layout(comparison))
    if not comparison.rows:
        say(figure, "No cycle is decided yet.")
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
    figure.add_scatter(
        x=[None],
        y=[None],
        name="Oracle interval",
        mode="markers",
        marker={"symbol": "square-open", "color": "black", "size": 12, "line": {"width": 2}},
    )
    figure.update_layout(shapes=_landscape.outlines(comparison.rows, rates))
    figure.update_yaxes(
        categoryarray=[names[rate] for rate in rates],
        range=[-1, len(rates)],
        tickvals=[names[rate] for rate in _landscape.labelled(rates)],
    )
    return figure


def _landscape_layout(comparison: Comparison) -> go.Layout:
    decided = [row.interval.cycle for row in comparison.rows]
    return go.Layout(
        template=template(),
        height=460,
        legend={"y": 1.01, **legend_title(f"{short_name(comparison.name)}: validation accuracy")},
        plot_bgcolor="#F2F2F2",
        xaxis={
            "title": {"text": "pruning cycle m"},
            "tickvals": cycle_ticks(len(decided)),
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
