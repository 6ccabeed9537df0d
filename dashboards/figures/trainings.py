"""The trainings themselves: the landscape of their scores over rates and cycles, and their course."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboards.figures.rates import cycle_ticks
from dashboards.style import legend_title, padded, plain_rate_text, rounded, say, short_name, template
from oracle.cycles import Candidate, Cycle
from oracle.measure import Measure
from oracle.results import Results
from oracle.results.networks import decided_cycle
from silo.measured import CycleInterval
from trials.tasks import direction, thinned

_TOLERANCES_SHOWN = 5
"""The colours tell scores apart down to so many tolerances below the worst cycle's best."""

_SMALLEST_SPAN = 1.0
_SMALLEST_SHARE = 0.01
"""The colours span at least so much: in % of accuracy, or as a share of another metric's best."""

_MOST_LABELS = 20


def landscape_figure(results: Results) -> go.Figure:
    """The mean validation score of every candidate of every cycle, the interval outlined.

    An outline is open where the grid cut the interval off. Cells of rates that a cycle did not try are
    blank. Scores far worse than the best share the darkest colour, so that differences among the good ones
    show.
    """
    figure = go.Figure(layout=_layout(results))
    if not results.decided:
        say(figure, "No cycle is decided yet.")
        return figure
    rates = _rates(results.decided)
    cycles = [row.cycle for row in results.decided]
    names = _names(rates)
    shown = "%{z:.2f} %" if results.measure.percent else "%{z:.4g}"
    place = f"cycle %{{x}}, {results.measure.searched} %{{y}}"
    hover = f"{place}<br>{results.measure.label('validation')} {shown}<extra></extra>"
    figure.add_heatmap(
        x=cycles,
        y=[names[rate] for rate in rates],
        z=_heights(results, rates),
        hovertemplate=hover,
        **_colours(results),
    )
    figure.add_scatter(
        x=cycles,
        y=[names[row.interval.optimum] for row in results.decided],
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
    figure.update_layout(shapes=_outlines(results.decided, rates))
    figure.update_yaxes(
        categoryarray=[names[rate] for rate in rates],
        range=[-1, len(rates)],
        tickvals=[names[rate] for rate in _labelled(rates)],
    )
    return figure


def _layout(results: Results) -> go.Layout:
    decided = [row.cycle for row in results.decided]
    return go.Layout(
        template=template(),
        height=460,
        legend={
            "y": 1.01,
            **legend_title(f"{short_name(results.name)}: {results.measure.label('validation')}"),
        },
        plot_bgcolor="#F2F2F2",
        xaxis={
            "title": {"text": "pruning cycle m"},
            "tickvals": cycle_ticks(len(decided)),
            "range": [-0.5, max(len(decided), 1) - 0.5],
            "showgrid": False,
        },
        yaxis={
            "title": {"text": results.measure.axis},
            "type": "category",
            "categoryorder": "array",
            "showgrid": False,
        },
    )


def _rates(rows: Sequence[Cycle]) -> list[float]:
    """Every rate that some cycle considered, ascending."""
    return sorted({rate for row in rows for rate in row.grid})


def _names(rates: Sequence[float]) -> dict[float, str]:
    """A label per rate: short, or exact where two would look alike."""
    short = {rate: plain_rate_text(rate) for rate in rates}
    return short if len(set(short.values())) == len(rates) else {rate: repr(rate) for rate in rates}


def _heights(results: Results, rates: Sequence[float]) -> list[list[float | None]]:
    """Mean validation scores as shown, by rate and cycle; None where a cycle did not try a rate."""
    shown = results.measure.shown
    found = [{c.max_lr: rounded(shown(c.score)) for c in row.candidates} for row in results.decided]
    return [[cycle.get(rate) for cycle in found] for rate in rates]


def _colours(results: Results) -> dict[str, Any]:
    """The heatmap's colour scale, its range and its colour bar: the brighter, the better."""
    measure = results.measure
    sign = direction(measure.metric)
    scores = [sign * measure.shown(c.score) for row in results.decided for c in row.candidates]
    # Cycles at chance level would stretch the colours until the others look alike.
    telling = [row for row in results.decided if row.cycle not in results.at_chance] or results.decided
    best = [sign * measure.shown(row.selected.score) for row in telling]
    top = max(best)
    reach = _TOLERANCES_SHOWN * measure.shown(measure.tolerance) * (abs(min(best)) if measure.relative else 1)
    smallest = _SMALLEST_SPAN if measure.percent else (_SMALLEST_SHARE * abs(top) or _SMALLEST_SPAN)
    low = min(max(min(scores), min(best) - max(reach, smallest)), top - smallest)
    clipped = min(scores) < low - 1e-9 * max(1.0, abs(low))
    if clipped:
        unit = 1.0 if measure.percent else 10.0 ** math.floor(math.log10((top - low) / 5))
        low = math.floor(low / unit) * unit
    values = [sign * value for value in _ticks(low, top)]
    texts = [f"{value + 0.0:g}" for value in values]
    if clipped:
        texts[0] = f"{'≤' if sign > 0 else '≥'} {texts[0]}"
    ends = sorted((rounded(sign * low), rounded(sign * top)))
    title = "<br>".join(["mean", "validation", *measure.metric.name.split()]) + measure.sign.replace(
        " (less", "<br>(less"
    )
    return {
        "colorscale": "Viridis",
        "reversescale": sign < 0,
        "zmin": ends[0],
        "zmax": ends[1],
        "colorbar": {
            "title": {"text": title, "font": {"size": 12}},
            "thickness": 14,
            "tickvals": values,
            "ticktext": texts,
        },
    }


def _labelled(rates: Sequence[float]) -> list[float]:
    """Every rate, or every second, third and so on of many: as many as have room."""
    return list(rates[:: math.ceil(len(rates) / _MOST_LABELS)])


def _outlines(rows: Sequence[Cycle], rates: Sequence[float]) -> list[dict[str, Any]]:
    """A frame around each cycle's interval, in units of columns and rows of cells; open at an end cut off.

    It is black with a white seam, to be seen on dark cells and on light ones.
    """
    place = {rate: index for index, rate in enumerate(rates)}
    frames = [_frame(row.interval, place[row.interval.low], place[row.interval.high]) for row in rows]
    pens = ({"color": "white", "width": 4}, {"color": "black", "width": 2})
    return [{"type": "path", "path": frame, "line": pen} for frame in frames for pen in pens]


def _frame(interval: CycleInterval, low: int, high: int) -> str:
    left, right = (f"{interval.cycle + side:g}" for side in (-0.44, 0.44))
    bottom, top = f"{low - 0.46:g}", f"{high + 0.46:g}"
    sides = f"M{left},{bottom}L{left},{top}M{right},{bottom}L{right},{top}"
    sides += "" if interval.low_cut else f"M{left},{bottom}L{right},{bottom}"
    return sides + ("" if interval.high_cut else f"M{left},{top}L{right},{top}")


def _ticks(low: float, high: float) -> list[float]:
    """About five round values from ``low`` on; ``low`` itself is the first."""
    size = math.floor(math.log10(high - low))
    steps = (digit * 10.0**power for power in range(size - 2, size + 1) for digit in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= 6)
    decimals = max(3, 2 - size)
    first = math.ceil(low / step + 1e-9) * step
    count = math.floor((high - first) / step + 1e-9) + 1
    round_values = [round(first + index * step, decimals) for index in range(count)]
    return [round(low, decimals), *(value for value in round_values if value - low > 0.3 * step)]


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

    Raises:
        InvalidInput: That cycle isn't decided.
    """
    row = None if not results.decided and cycle is None else decided_cycle(results, cycle)
    if row is None or not has_curves(row):
        figure = go.Figure(layout=go.Layout(template=template(), height=460))
        say(figure, "No training has noted a curve.")
        return figure
    figure = go.Figure(layout=_layout_of_curves(results, row))
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


def _layout_of_curves(results: Results, row: Cycle) -> go.Layout:
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
