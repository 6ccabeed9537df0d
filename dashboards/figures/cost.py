"""Costs of the Oracle, SILO and others, against the test score that they reach."""

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
from oracle.measure import Measure as Scores
from oracle.results import Results
from oracle.results.costs import PolicyCost, mean_test_accuracy, shared_cycles, test_accuracy_error

Measure = Literal["trainings", "worker_hours"]
"""In what the cost is counted."""

_NAMES: dict[Measure, str] = {"trainings": "trainings", "worker_hours": "worker-hours"}
_LABELS: dict[Measure, str] = {"trainings": "trainings", "worker_hours": "hours"}
_SIGNS = "filled: run; open: estimated; bar: ± standard error; dotted line: {metric} not known"
_ROOM = 1.6
_SMALLEST_MARGIN = 0.2
_PER_LINE, _LINE = 5, 60


def cost_figure(results: Results, *, measure: Measure = "trainings") -> go.Figure:
    """One marker per way to set the rates: cost across, mean test score upwards.

    What was run is filled, what is estimated is open. The mean is over the cycles whose test score is known
    of every policy that has any; a policy without any is a dotted line at its cost.

    Args:
        results: The search.
        measure: What the cost is counted in at first; two buttons switch it.
    """
    costs, scores = results.policy_costs, results.measure
    figure = go.Figure(layout=_layout(results))
    if not costs:
        say(figure, "No cycle is decided yet.")
        return figure
    cycles = shared_cycles(costs)
    shares = [mean_test_accuracy(cost, cycles) for cost in costs]
    means = [None if share is None else rounded(scores.shown(share)) for share in shares]
    errors = [rounded(scores.shown(test_accuracy_error(cost, cycles) or 0.0)) for cost in costs]
    known = [(mean, error) for mean, error in zip(means, errors, strict=True) if mean is not None]
    ends = _score_ends([mean + sign * error for mean, error in known for sign in (-1, 1)], scores)
    for index, (cost, mean, error) in enumerate(zip(costs, means, errors, strict=True)):
        _add(figure, cost, ends if mean is None else (mean,), index, error, scores)
    over = "1 cycle" if len(cycles) == 1 else f"{len(cycles)} cycles"
    figure.update_yaxes(title_text=f"{scores.label('mean test')}, {over}{scores.sign}", range=ends)
    choices = [_choice(figure, costs, key) for key in _NAMES]
    add_switch(figure, choices, list(_NAMES).index(measure))
    return figure


def _layout(results: Results) -> go.Layout:
    scores = results.measure
    title = f"{short_name(results.name)}: cost and {scores.metric.name}"
    return go.Layout(
        template=template(),
        height=440,
        legend={
            "y": 1.02,
            "entrywidth": 190,
            **legend_title(title, scores.named(_SIGNS)),
        },
        hovermode="closest",
        yaxis={"title": {"text": f"{scores.label('mean test')}{scores.sign}"}, "nticks": 8},
        xaxis={"title": {"text": "cost"}},
    )


def _add(
    figure: go.Figure,
    cost: PolicyCost,
    heights: Sequence[float],
    index: int,
    error: float,
    scores: Scores,
) -> None:
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
        text=[_text(cost, scores)] * len(heights),
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


def _score_ends(means: Sequence[float], scores: Scores) -> tuple[float, float]:
    if not means:
        return 0.0, scores.shown(1.0)
    smallest = _SMALLEST_MARGIN if scores.percent else 0.01 * max(map(abs, means))
    margin = max(0.25 * (max(means) - min(means)), smallest) or 1.0
    return rounded(min(means) - margin), rounded(max(means) + margin)


def _text(cost: PolicyCost, scores: Scores) -> str:
    reached = enumerate(cost.test_accuracies)
    known = [f"m={cycle}: {scores.text(score)}" for cycle, score in reached if score is not None]
    unit = " (%)" if scores.percent else ""
    rows = [", ".join(known[k : k + _PER_LINE]) for k in range(0, len(known), _PER_LINE)]
    lines = [
        f"{cost.policy}, {'run' if cost.measured else 'estimated'}",
        f"{cost.trainings:,} trainings, {hours_text(cost.worker_hours)} worker-hours",
        *textwrap.wrap(cost.explanation, _LINE),
        *(
            [f"{scores.label('test')} per cycle{unit}:", *rows]
            if rows
            else [f"{scores.metric.name} not known"]
        ),
    ]
    return "<br>".join(html.escape(line) for line in lines)
