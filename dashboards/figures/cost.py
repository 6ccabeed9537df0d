"""Costs of the Oracle, SILO and others, against the accuracy that they reach."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import plotly.graph_objects as go

from dashboards.style import (
    SERIES,
    Choice,
    add_switch,
    hours_text,
    legend_title,
    log_ticks,
    plain_rate_text,
    rounded,
    say,
    short_name,
    template,
)
from oracle.results import Results
from oracle.results.costs import PolicyCost, mean_test_accuracy, shared_cycles, test_accuracy_error

Measure = Literal["trainings", "worker_hours"]
"""In what the cost is counted."""

_NAMES: dict[Measure, str] = {"trainings": "trainings", "worker_hours": "worker-hours"}
_LABELS: dict[Measure, str] = {"trainings": "trainings", "worker_hours": "hours"}
_SIGNS = "filled: run; open: estimated; bar: ± standard error; dotted line: accuracy not known"
_ROOM = 1.6
_SMALLEST_MARGIN = 0.2
_PER_LINE, _LINE = 5, 60


def cost_figure(results: Results, *, measure: Measure = "trainings") -> go.Figure:
    """One marker per way to set the rates: cost across, mean test accuracy upwards.

    What was run is filled, what is estimated is open. The mean is over the cycles whose accuracy is known of
    every policy that has any; a policy without any is a dotted line at its cost.

    Args:
        results: The search.
        measure: What the cost is counted in at first; two buttons switch it.
    """
    costs = results.policy_costs
    figure = go.Figure(layout=_layout(results))
    if not costs:
        say(figure, "No cycle is decided yet.")
        return figure
    cycles = shared_cycles(costs)
    shares = [mean_test_accuracy(cost, cycles) for cost in costs]
    means = [None if share is None else rounded(100 * share) for share in shares]
    errors = [rounded(100 * (test_accuracy_error(cost, cycles) or 0.0)) for cost in costs]
    known = [(mean, error) for mean, error in zip(means, errors, strict=True) if mean is not None]
    ends = _accuracy_ends([mean + sign * error for mean, error in known for sign in (-1, 1)])
    for index, (cost, mean, error) in enumerate(zip(costs, means, errors, strict=True)):
        _add(figure, cost, ends if mean is None else (mean,), index, error)
    over = "1 cycle" if len(cycles) == 1 else f"{len(cycles)} cycles"
    figure.update_yaxes(title_text=f"mean test accuracy, {over} (%)", range=ends)
    choices = [_choice(figure, costs, key) for key in _NAMES]
    add_switch(figure, choices, list(_NAMES).index(measure))
    return figure


def _layout(results: Results) -> go.Layout:
    title = f"{short_name(results.name)}: cost and accuracy"
    return go.Layout(
        template=template(),
        height=440,
        legend={
            "y": 1.02,
            "entrywidth": 190,
            **legend_title(title, _SIGNS),
        },
        hovermode="closest",
        yaxis={"title": {"text": "mean test accuracy (%)"}, "nticks": 8},
        xaxis={"title": {"text": "cost"}},
    )


def _add(figure: go.Figure, cost: PolicyCost, heights: Sequence[float], index: int, error: float) -> None:
    series = SERIES[index % len(SERIES)]
    figure.add_scatter(
        y=heights,
        name=html.escape(cost.policy),
        mode="markers" if len(heights) == 1 else "lines",
        marker={
            "symbol": series.symbol if cost.measured else f"{series.symbol}-open",
            "size": 14,
            "color": series.color,
            "line": {"width": 2, "color": series.color},
        },
        line={"color": series.color, "width": 2, "dash": "dot"},
        error_y={"array": [error], "thickness": 1.5, "width": 6} if error and len(heights) == 1 else None,
        text=[_text(cost)] * len(heights),
        hovertemplate="%{text}<extra></extra>",
    )


def _choice(figure: go.Figure, costs: Sequence[PolicyCost], measure: Measure) -> Choice:
    amounts = [float(getattr(cost, measure)) for cost in costs]
    places = [[rounded(amount)] * len(trace.y) for amount, trace in zip(amounts, figure.data, strict=True)]
    axis = {"title.text": f"cost ({_NAMES[measure]})", **_axis(amounts)}
    return Choice(
        label=_LABELS[measure], x=places, layout={f"xaxis.{key}": value for key, value in axis.items()}
    )


def _axis(amounts: Sequence[float]) -> dict[str, Any]:
    """Logarithmic: an Oracle costs as many times as much as its grid has values."""
    above = [amount for amount in amounts if amount > 0] or [1.0]
    low, high = min(above) / _ROOM, max(above) * _ROOM
    values, _ = log_ticks(low, high)
    texts = [f"{value:,.0f}" if value >= 1 else plain_rate_text(value) for value in values]
    ends = [rounded(math.log10(end)) for end in (low, high)]
    return {"type": "log", "range": ends, "tickvals": values, "ticktext": texts}


def _accuracy_ends(means: Sequence[float]) -> tuple[float, float]:
    if not means:
        return 0.0, 100.0
    margin = max(0.25 * (max(means) - min(means)), _SMALLEST_MARGIN)
    return rounded(min(means) - margin), rounded(max(means) + margin)


def _text(cost: PolicyCost) -> str:
    known = [f"m={cycle}: {100 * a:.2f}" for cycle, a in enumerate(cost.test_accuracies) if a is not None]
    rows = [", ".join(known[k : k + _PER_LINE]) for k in range(0, len(known), _PER_LINE)]
    lines = [
        f"{cost.policy}, {'run' if cost.measured else 'estimated'}",
        f"{cost.trainings:,} trainings, {hours_text(cost.worker_hours)} worker-hours",
        *textwrap.wrap(cost.explanation, _LINE),
        *(["test accuracy per cycle (%):", *rows] if rows else ["accuracy not known"]),
    ]
    return "<br>".join(html.escape(line) for line in lines)
