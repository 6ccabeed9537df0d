"""The training curves of a cycle: validation score and training loss of each rate over its steps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboards.style import legend_title, padded, plain_rate_text, rounded, say, short_name, template
from oracle.cycles import Candidate, Cycle
from oracle.measure import Measure
from oracle.results import Results
from trials.curves import thinned

_MOST_POINTS = 50
_DASHES = ("solid", "dash", "dot", "dashdot")
_ROOM = 0.06
_SIGNS = "means over the replicates; thick: the rate whose networks are pruned next"

Line = list[tuple[int, float]]
"""Steps and values."""


def has_curves(cycle: Cycle) -> bool:
    """Whether a cycle's trainings have noted their validations."""
    return any(trial.curve.text for trial in cycle.trials)


def curves_figure(results: Results, *, cycle: int | None = None) -> go.Figure:
    """A line per rate, its mean over the replicates: the validation score above, the training loss below.

    Colours go by the rate, from the lowest, dark, to the highest, bright. The axis of the scores ends where
    the chosen rate's curve, and as much again, does: those that diverged would hide all others.

    Args:
        results: The search.
        cycle: Which of its decided cycles; by default the last.
    """
    row = None if not results.decided else results.decided[-1 if cycle is None else cycle]
    if row is None or not has_curves(row):
        figure = go.Figure(layout=go.Layout(template=template(), height=460))
        say(figure, "No training has noted a curve.")
        return figure
    figure = go.Figure(layout=_layout(results, row))
    grid = list(row.grid)
    colours = sample_colorscale("Viridis", [k / max(len(grid), 2) for k in range(len(grid))])
    for candidate in row.candidates:
        place = grid.index(candidate.max_lr)
        look = {
            "color": colours[place],
            "dash": _DASHES[place % len(_DASHES)],
            "width": 4 if candidate.max_lr == row.chosen else 1.5,
        }
        _add(figure, candidate, look, results.measure)
    _make_room(figure, row, results.measure)
    return figure


def _layout(results: Results, row: Cycle) -> go.Layout:
    title = f"{short_name(results.name)}: training curves of cycle {row.cycle}"
    measure = results.measure
    return go.Layout(
        template=template(),
        height=520,
        legend={"y": 1.01, **legend_title(title, _SIGNS)},
        hovermode="closest",
        xaxis={"title": {"text": "optimizer steps"}, "anchor": "y2", "rangemode": "tozero"},
        yaxis={"title": {"text": f"{measure.label('validation')}{measure.sign}"}, "domain": [0.4, 1]},
        yaxis2={"title": {"text": "training loss"}, "domain": [0, 0.34], "nticks": 5},
    )


def _add(figure: go.Figure, candidate: Candidate, look: dict[str, object], measure: Measure) -> None:
    name = plain_rate_text(candidate.max_lr)
    shown = "%{y:.2f} %" if measure.percent else "%{y:.4g}"
    for axis, line, what in (
        ("y", _scores(candidate, measure), f"{measure.label('validation')} {shown}"),
        ("y2", _mean(candidate, "train_loss"), "training loss %{y:.4g}"),
    ):
        figure.add_scatter(
            x=[step for step, _ in line],
            y=[rounded(value) for _, value in line],
            yaxis=axis,
            name=name,
            legendgroup=name,
            showlegend=axis == "y",
            mode="lines" if len(line) > 1 else "markers",
            line=look,
            marker={"color": look["color"]},
            hovertemplate=f"{measure.searched} {name}<br>step %{{x}}: {what}<extra></extra>",
        )


def _scores(candidate: Candidate, measure: Measure) -> Line:
    return [(step, measure.shown(score)) for step, score in _mean(candidate, "score")]


def _mean(candidate: Candidate, field: str) -> Line:
    """The mean over the replicates that have a curve, at the steps where each has a finite number."""
    curves = [trial.curve.validations for trial in candidate.trials if trial.curve.text]
    found: defaultdict[int, list[float]] = defaultdict(list)
    for curve in curves:
        for point in curve:
            found[point.step].append(getattr(point, field))
    line = [
        (step, math.fsum(values) / len(values))
        for step, values in sorted(found.items())
        if len(values) >= len(curves) and all(map(math.isfinite, values))
    ]
    return thinned(line, _MOST_POINTS)


def _make_room(figure: go.Figure, row: Cycle, measure: Measure) -> None:
    chosen = [value for _, value in _scores(row.selected, measure)]
    values: Sequence[float] = [value for trace in figure.data if trace.yaxis == "y" for value in trace.y]
    if not chosen or not values:
        return
    low, high, span = min(chosen), max(chosen), max(chosen) - min(chosen)
    if measure.metric.goal == "min":
        ends = min(values), min(max(values), high + span)
    else:
        ends = max(min(values), low - span), max(values)
    figure.layout.yaxis.range = padded(*ends, _ROOM)
