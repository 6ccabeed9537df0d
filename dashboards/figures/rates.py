"""Rates over the cycles: the figure of a search, and what is behind every figure of its kind.

The data are the same whoever found them: a search, a table or a file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from dashboards.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Choice,
    Series,
    add_switch,
    density_text,
    legend_title,
    log_ticks,
    plain_rate_text,
    rounded,
    say,
    short_name,
    template,
    tick_texts,
)
from oracle.cycles import Cycle
from oracle.measure import BY_ACCURACY, MAX_LR
from oracle.results import Results
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.rivals import RivalTable
from silo.landscape import CycleBelief, JudgedCurve
from silo.measured import CycleInterval

Points = tuple[tuple[int, float], ...]
Runs = tuple[tuple[int, float, float], ...]

RIVAL_LOOKS = {
    "constant": Series(color=BLACK, dash="longdash", symbol="circle"),
    "linear": Series(color=ORANGE, dash="dashdot", symbol="circle"),
    "exponential": Series(color=SKY, dash="longdashdot", symbol="circle"),
    "logistic": Series(color=BLUE, dash="8px,3px,2px,3px,2px,3px", symbol="circle"),
    "Theorem 2 bound": Series(color=GREY, dash="2px,5px", symbol="circle"),
}
"""Lines of the rivals by their names."""


@dataclass(frozen=True, kw_only=True)
class DrawnCurve:
    """One of SILO's curves.

    Attributes:
        name: As the legend calls it.
        curve: The curve.
        last: The cycle up to which it is drawn.
        misses: Cycle and rate where it is outside.
        unknown: Cycle and rate where that can't be told.
        color: Its colour.
        dash: Its dash.
    """

    name: str
    curve: SiloCurve
    last: int
    misses: Points
    color: str
    dash: str
    unknown: Points = ()


@dataclass(frozen=True, kw_only=True)
class RatesData:
    """The data of one figure. Rates are peak learning rates.

    Attributes:
        title: The title.
        cycles: The axis holds the cycles 0 to ``cycles`` - 1.
        pruning_rate: p, for the densities between and beyond the known ones.
        intervals: Optimum and interval of the decided cycles, ascending.
        densities: Shares of the weights that are left, per interval; empty where they are not known.
        texts: What an optimum says when pointed at, per interval.
        value: The name of what is drawn over the cycles.
        axis: The same for the axis.
        optimum_name: What the optima are called.
        searched: Whether there are intervals, and not only rates.
        estimate: What the intervals are called beside those that are sure.
        core: Cycle and ends of the rates that are surely in the interval.
        reach: The same of those that may be in it.
        detached: Cycle and rate of what is as good as the optimum, but beyond a gap.
        at_chance: The cycles in which nothing was learned.
        nothing: What the network was no better than there.
        curves: SILO's curves.
        fit: The fit with its band; None without one.
        rivals: Other curves; None without them.
        diagnosed: Cycle and rate that the statistics of the networks predict.
        scale: ``linear`` or ``log``, of the rates.
        rates: Lowest and highest rate to show; curves may leave that range.
    """

    title: str
    cycles: int
    pruning_rate: float
    intervals: tuple[CycleInterval, ...]
    densities: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    value: str = MAX_LR
    axis: str = BY_ACCURACY.axis
    optimum_name: str = "Oracle optimum"
    searched: bool = True
    estimate: str = "point estimate"
    core: Runs = ()
    reach: Runs = ()
    detached: Points = ()
    at_chance: tuple[int, ...] = ()
    nothing: str = "chance"
    curves: tuple[DrawnCurve, ...] = ()
    fit: CurveFit | None = None
    rivals: RivalTable | None = None
    diagnosed: Points = ()
    scale: str = "linear"
    rates: tuple[float, float]

    def _known(self) -> tuple[list[float], list[float]]:
        """Cycles with a known density, and its logarithm; the last one is beyond the axis."""
        known = dict(zip((i.cycle for i in self.intervals), self.densities, strict=False)) or {0: 1.0}
        cycles, logs = [float(m) for m in known], [float(np.log(share)) for share in known.values()]
        step = float(np.log1p(-self.pruning_rate))
        if cycles[0] > 0:
            cycles, logs = [0.0, *cycles], [0.0, *logs]
        return [*cycles, cycles[-1] + self.cycles], [*logs, logs[-1] + self.cycles * step]

    def density(self, cycles: Sequence[float]) -> list[float]:
        """Share of the weights that is left, in (0, 1], at each cycle, not only at whole ones.

        Between the known ones the same share is pruned each time; beyond them, the pruning rate.
        """
        return [float(share) for share in np.exp(np.interp(cycles, *self._known()))]


def rates_data(results: Results, *, without: Collection[str] = ()) -> RatesData:
    """The data of a search.

    Args:
        results: The search.
        without: ``rivals`` or ``diagnosed`` are neither shown nor computed if they are among it.
    """
    cycles, at_chance = results.decided, results.at_chance
    diagnosed = () if "diagnosed" in without else zip(results.distributions, results.diagnosed, strict=True)
    return RatesData(
        title=f"{short_name(results.name)}: {results.measure.searched} per pruning cycle",
        axis=results.measure.axis,
        value=results.measure.searched,
        cycles=results.search_spec.cycles,
        pruning_rate=results.search_spec.pruning.share(),
        intervals=results.intervals_found,
        densities=tuple(each.density for each in cycles),
        texts=_texts(results),
        optimum_name="Oracle optimum" if results.searched else f"policy {results.search_spec.policy.name}",
        searched=results.searched,
        estimate="likeliest interval" if results.policy.selective else "point estimate",
        core=runs(results.beliefs, "core"),
        reach=runs(results.beliefs, "reach"),
        detached=tuple((each.cycle, rate) for each in cycles for rate in each.detached),
        at_chance=at_chance,
        nothing=results.measure.nothing,
        curves=tuple(_curves(results)),
        fit=results.fit,
        rivals=None if "rivals" in without else results.rival_curves,
        diagnosed=tuple((one.cycle, rate) for one, rate in diagnosed),
        scale=results.span.scale,
        rates=_rates(results),
    )


def runs(beliefs: Sequence[CycleBelief], which: Literal["core", "reach"]) -> Runs:
    """The rates that surely are in the interval, or those that may be, of the cycles that have any."""
    found = [(each.cycle, each.core() if which == "core" else each.reach()) for each in beliefs]
    return tuple((cycle, *run) for cycle, run in found if run is not None)


def fitted_curves(fit: CurveFit, intervals: Sequence[CycleInterval]) -> tuple[DrawnCurve, DrawnCurve]:
    """The least-squares curve and the one that keeps to the intervals, as far as there are data."""
    last = intervals[-1].cycle
    least = DrawnCurve(
        name="SILO, least squares",
        curve=fit.curve,
        last=last,
        misses=_at(fit.curve, [cycle for cycle, inside in fit.inside.items() if not inside]),
        color=GREEN,
        dash="dash",
    )
    keeping = replace(
        least,
        name=f"SILO, {fit.closest}",
        curve=fit.fewest_misses,
        misses=_at(fit.fewest_misses, fit.missed_cycles),
        color=PURPLE,
        dash="dot",
    )
    return least, keeping


def interval_words(interval: CycleInterval) -> str:
    """``0.036 to 0.042``, and where the grid ended."""
    low = plain_rate_text(interval.low) + (" or less" if interval.low_cut else "")
    high = plain_rate_text(interval.high) + (" or more" if interval.high_cut else "")
    return f"{low} to {high}"


def _curves(results: Results) -> list[DrawnCurve]:
    found = []
    if results.predicted is not None:
        found.append(
            DrawnCurve(
                name="SILO, predicted",
                curve=results.predicted,
                last=results.search_spec.cycles - 1,
                misses=(),
                color=VERMILLION,
                dash="solid",
            )
        )
    if results.fit is not None:
        found += fitted_curves(results.fit, results.intervals_fitted)
    return [as_judged(drawn, results.judged(drawn.curve.max_lr)) for drawn in found]


def as_judged(drawn: DrawnCurve, judged: JudgedCurve | None) -> DrawnCurve:
    """The curve with the cycles at which it is surely outside, and where that can't be told."""
    if judged is None:
        return replace(drawn, misses=())
    misses, unknown = judged.cycles("outside"), judged.cycles("unknown")
    return replace(drawn, misses=_at(drawn.curve, misses), unknown=_at(drawn.curve, unknown))


def _at(curve: SiloCurve, cycles: Sequence[int]) -> Points:
    return tuple((cycle, float(curve.max_lr(cycle))) for cycle in cycles)


def _texts(results: Results) -> tuple[str, ...]:
    return tuple(_text(each, results) for each in results.decided)


def _text(cycle: Cycle, results: Results) -> str:
    return (
        f"cycle {cycle.cycle}, λ {density_text(cycle.density)} %<br>{_rates_of(cycle, results)}<br>"
        f"{_scores(cycle)}"
    )


def _scores(cycle: Cycle) -> str:
    measure, best = cycle.measure, cycle.selected
    validation = measure.quantity(best.score, best.score_std)
    test = measure.quantity(best.test_score, best.test_score_std)
    return f"{measure.label('validation')} {validation}<br>{measure.label('test')} {test}"


def _rates_of(cycle: Cycle, results: Results) -> str:
    rate = plain_rate_text(cycle.interval.optimum)
    if not results.searched:
        return f"{MAX_LR} {rate}"
    stated = f"Oracle optimum {rate}<br>interval {interval_words(cycle.interval)}"
    other = cycle.chosen != cycle.interval.optimum  # whose accuracies follow
    return (
        f"{stated}<br>pruned next: {results.measure.searched} {plain_rate_text(cycle.chosen)}"
        if other
        else stated
    )


def _rates(results: Results) -> tuple[float, float]:
    """The Oracle's rates, of cycles that say something if there are any; before all, the grid's."""
    telling = [each for each in results.decided if each.cycle not in results.at_chance] or results.decided
    found = [rate for each in telling for rate in (each.interval.low, each.interval.high, *each.detached)]
    values = found or (results.span.low, results.span.high)
    return min(values), max(values)


_MOST_TICKS = 13
_MOST_POINTS = 200
_POINTS_PER_CYCLE = 8
_PADDING = 0.06
_CURVE_REACH = 4.0
"""How many times beyond the Oracle's rates a curve may stretch the axis."""

_BESIDE = 0.6
"""Cycles that the axis goes on for beyond the first and the last, at least."""


def steps(last: int) -> list[float]:
    """Cycle 0 to ``last``: whole cycles and points between them."""
    between = max(1, min(_POINTS_PER_CYCLE, _MOST_POINTS // max(last, 1)))
    return [rounded(cycle) for cycle in np.linspace(0, last, last * between + 1)]


def smooth(curve: SiloCurve, last: int) -> tuple[list[float], list[float]]:
    """Cycles and rates of a curve from cycle 0 to ``last``."""
    cycles = steps(last)
    return cycles, [rounded(rate) for rate in curve.max_lr(cycles)]


def cycle_ticks(cycles: int, most: int = _MOST_TICKS) -> list[int]:
    """The cycles to label: every one, or every second, fifth and so on of many; at most ``most``."""
    sizes = (step * 10**power for power in range(9) for step in (1, 2, 5))
    stride = next(step for step in sizes if cycles / step <= most)
    return list(range(0, cycles, stride))


def percentages(data: RatesData, cycles: Sequence[float | None]) -> list[float | None]:
    """Density at each cycle, in %; None stays."""
    shares = iter(data.density([cycle for cycle in cycles if cycle is not None]))
    return [None if cycle is None else rounded(100 * next(shares)) for cycle in cycles]


def cycle_axes(data: RatesData) -> dict[str, Any]:
    """The axis of cycles, and the one above it with the densities of the decided ones, by plotly's paths."""
    ticks = cycle_ticks(data.cycles)
    beside = _beside(data)
    both = {"type": "linear", "range": [rounded(-beside), rounded(data.cycles - 1 + beside)]}
    shown = _decided(data, ticks)
    below = {"tickvals": ticks, "ticktext": [str(cycle) for cycle in ticks], "title.text": "pruning cycle m"}
    above = {
        "tickvals": shown,
        "ticktext": [density_text(share) for share in data.density(shown)],
        "title.text": "weights left λ (%)",
    }
    return _flat({**both, **below}, {**both, **above})


def density_axes(data: RatesData) -> dict[str, Any]:
    """The axis of densities in %, logarithmic and falling, and the one above with the cycles, likewise."""
    beside = -math.log10(1 - data.pruning_rate) * _beside(data)
    first, last = (100 * share for share in data.density([0, data.cycles - 1]))
    ends = [rounded(math.log10(first) + beside), rounded(math.log10(last) - beside)]
    values, texts = _density_ticks(10 ** ends[1], min(first, 10 ** ends[0]))
    shown = cycle_ticks(data.cycles)
    both = {"type": "log", "range": ends}
    below = {"tickvals": values, "ticktext": texts, "title.text": "weights left λ (%)"}
    above = {
        "tickvals": percentages(data, shown),
        "ticktext": [str(cycle) for cycle in shown],
        "title.text": "pruning cycle m",
    }
    return _flat({**both, **below}, {**both, **above})


def _flat(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both axes' properties by plotly's paths."""
    axes = {"xaxis": below, "xaxis2": above}
    return {f"{axis}.{key}": value for axis, found in axes.items() for key, value in found.items()}


def rate_axis(data: RatesData) -> dict[str, Any]:
    """Type, range and ticks of the axis of ``max_lr``."""
    low, high = _extremes(data)
    if data.scale == "linear":
        margin = _PADDING * (high - low) or 0.1 * high
        return {"range": [rounded(max(low - margin, 0.0)), rounded(high + margin)], "nticks": 8}
    below, above = math.log10(low), math.log10(high)
    margin = _PADDING * (above - below) or 0.3
    low, high = 10 ** (below - margin), 10 ** (above + margin)
    values, texts = log_ticks(low, high)
    return {
        "type": "log",
        "range": [rounded(below - margin), rounded(above + margin)],
        "tickvals": values,
        "ticktext": texts,
    }


def _beside(data: RatesData) -> float:
    """Room for half a marker, also where there are many cycles."""
    return max(_BESIDE, 0.03 * data.cycles)


def _decided(data: RatesData, ticks: Sequence[int]) -> list[int]:
    """The labelled cycles whose density was measured; where that is not known, all."""
    if not data.densities:
        return list(ticks)
    known = {interval.cycle for interval in data.intervals}
    return [cycle for cycle in ticks if cycle in known]


def _density_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round percentages from ``low`` to ``high``: more of each decade where there are few decades."""
    for digits in ((1, 2, 5), (1, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        values = [digit * 10.0**power for power in range(-9, 3) for digit in digits]
        found = [value for value in values if low * 0.999 <= value <= high * 1.001]
        if len(found) >= 4:
            break
    return tick_texts(found)


def _extremes(data: RatesData) -> tuple[float, float]:
    """Lowest and highest rate to show: all of the Oracle's, and the curves as far as they are near them."""
    low, high = data.rates
    curves = [float(drawn.curve.max_lr(cycle)) for drawn in data.curves for cycle in (0, drawn.last)]
    curves += [rate for drawn in data.curves for _, rate in drawn.misses]
    curves += [rate for _, rate in data.diagnosed]
    return (
        max(min([low, *curves]), low / _CURVE_REACH),
        min(max([high, *curves]), high * _CURVE_REACH),
    )


Across = Literal["cycle", "density"]
"""The axis across: the pruning cycle m, or the density λ."""

DISPENSABLE = ("rivals", "diagnosed", "switch", "band", "texts")
"""Parts that a figure can do without, in the order in which they go where there is little room."""

_CROSS = "✗ a curve is outside"
_QUESTION = "? can't be told"

_PLACE = "%{xaxis.title.text}: %{x:.4g}<br>"
"""A point's place, whichever axis is shown."""

_PALE = "#C4E4F7"
_GREEN_VEIL = "rgba(0,158,115,0.18)"


def comparison_figure(
    results: Results, *, across: Across = "cycle", without: Collection[str] = ()
) -> go.Figure:
    """The Oracle's optima and intervals over the cycles, SILO's curves through them, and what else is known.

    A wide bar holds the rates that are surely in the interval, a pale one those that may be; thin caps, or an
    open triangle where the grid ended, are the point estimate's ends. A ✗ marks a cycle at which a curve is
    surely outside, a ? one for which that can't be told. Grey is what was no better than chance. Rivals are
    drawn once they are clicked in the legend. The axis of ``max_lr`` is logarithmic if the grid is.

    Args:
        results: The search.
        across: ``"cycle"`` or ``"density"``: what the figure shows at first; two buttons switch it.
        without: Parts to leave out, :data:`DISPENSABLE` or ``diagnosed``.
    """
    return rates_figure(rates_data(results, without=without), across=across, without=without)


def rates_figure(data: RatesData, *, across: Across = "cycle", without: Collection[str] = ()) -> go.Figure:
    """Optima, intervals and curves over the cycles.

    Args:
        data: The data.
        across: The axis at first; two buttons switch it.
        without: Parts that are left out, of :data:`DISPENSABLE`.
    """
    figure = go.Figure(layout=_layout(data))
    if "band" not in without:
        _add_band(figure, data)
    if data.searched:
        _add_known(figure, data)
        _add_intervals(figure, data)
        _add_detached(figure, data.detached)
    _add_chance(figure, data)
    for drawn in data.curves:
        _add_curve(figure, drawn)
    add_diagnosed(figure, data.diagnosed)
    if "rivals" not in without:
        _add_rivals(figure, data)
    _add_optima(figure, data, texts="texts" not in without)
    if not data.intervals:
        say(figure, "No cycle is decided yet.")
    else:
        _add_upper_axis(figure, data)
    _lay_across(figure, data, across, buttons="switch" not in without)
    return figure


def _layout(data: RatesData) -> go.Layout:
    signs = [
        sign
        for sign, marked in (
            (_CROSS, any(drawn.misses for drawn in data.curves)),
            (_QUESTION, any(drawn.unknown for drawn in data.curves)),
        )
        if marked
    ]
    return go.Layout(
        template=template(),
        height=520,
        legend={"y": 1.17, **legend_title(data.title, ", ".join(signs))},
        hovermode="closest",
        xaxis2={
            "title": {"standoff": 6},
            "side": "top",
            "overlaying": "x",
            "matches": "x",
            "showgrid": False,
        },
        yaxis={"title": {"text": data.axis}, **rate_axis(data)},
    )


def _add_upper_axis(figure: go.Figure, data: RatesData) -> None:
    """An axis shows only if something is drawn on it."""
    first = data.intervals[0]
    figure.add_scatter(
        x=[first.cycle], y=[first.optimum], xaxis="x2", opacity=0, hoverinfo="skip", showlegend=False
    )


def _lay_across(figure: go.Figure, data: RatesData, across: Across, *, buttons: bool) -> None:
    """Puts the points over cycles or densities, and adds the buttons that change it."""
    cycles = [trace.x for trace in figure.data]
    densities = [percentages(data, x) for x in cycles]
    choices = [
        Choice(label="cycle m", x=cycles, layout=cycle_axes(data)),
        Choice(label="density λ", x=densities, layout=density_axes(data)),
    ]
    add_switch(figure, choices, ("cycle", "density").index(across), buttons=buttons and bool(figure.data))


def _add_known(figure: go.Figure, data: RatesData) -> None:
    """Pale bars over the rates that may be in the interval, full ones over those that surely are."""
    for name, runs, color in (
        ("maybe inside", data.reach, _PALE),
        ("surely inside", data.core, SKY),
    ):
        if runs:
            figure.add_scatter(
                x=[x for cycle, _, _ in runs for x in (cycle, cycle, None)],
                y=[y for _, low, high in runs for y in (rounded(low), rounded(high), None)],
                name=name,
                mode="lines+markers",
                line={"color": color, "width": 9},
                marker={"symbol": "square", "size": 9, "color": color},
                hovertemplate=f"{_PLACE}{name} to %{{y:.4g}}<extra></extra>",
            )


def _add_intervals(figure: go.Figure, data: RatesData) -> None:
    """Bars with caps, thin ones where it is known how sure they are; an end that the grid cut off is open."""
    shown = [i for i in data.intervals if i.cycle not in data.at_chance]
    color, width = (BLUE, 1) if data.reach else (SKY, 5)
    if shown:
        figure.add_scatter(
            x=[x for i in shown for x in (i.cycle, i.cycle, None)],
            y=[y for i in shown for y in (rounded(i.low), rounded(i.high), None)],
            name=data.estimate if data.reach else "Oracle interval",
            mode="lines+markers",
            line={"color": color, "width": width},
            marker={"symbol": "line-ew", "size": 13, "line": {"color": color, "width": min(width, 3)}},
            hovertemplate=f"{_PLACE}interval ends at %{{y:.4g}}<extra></extra>",
        )
    cut = [(i.cycle, i.low, "triangle-down") for i in shown if i.low_cut]
    cut += [(i.cycle, i.high, "triangle-up") for i in shown if i.high_cut]
    if cut:
        cycles, rates, symbols = zip(*cut, strict=True)
        figure.add_scatter(
            x=cycles,
            y=[rounded(rate) for rate in rates],
            name="open: the grid ended",
            mode="markers",
            marker={"symbol": symbols, "size": 15, "color": "white", "line": {"color": BLUE, "width": 2}},
            hovertemplate=f"{_PLACE}the grid ended at %{{y:.4g}}<extra></extra>",
        )


def _add_chance(figure: go.Figure, data: RatesData) -> None:
    """Thin grey bars through cycles in which nothing was learned: rates and intervals say nothing there."""
    texts = dict(zip((i.cycle for i in data.intervals), data.texts, strict=True))
    shown = [i for i in data.intervals if i.cycle in data.at_chance]
    if not shown:
        return
    figure.add_scatter(
        x=[x for i in shown for x in (*(i.cycle,) * 3, None)],
        y=[y for i in shown for y in (rounded(i.low), rounded(i.optimum), rounded(i.high), None)],
        name="at chance level" if data.nothing == "chance" else "nothing learned",
        mode="lines+markers",
        line={"color": GREY, "width": 2},
        marker={
            "symbol": [symbol for i in shown for symbol in _symbols(i)],
            "size": 10,
            "color": GREY,
            "line": {"color": GREY, "width": 2},
        },
        text=[text for i in shown for text in (*(texts[i.cycle],) * 3, "")],
        hovertemplate=f"%{{text}}<br>no better than {data.nothing}<extra></extra>",
    )


def _symbols(interval: CycleInterval) -> tuple[str, str, str, str]:
    """Of the lower end, the optimum, the upper end and the gap to the next cycle."""
    low = "triangle-down-open" if interval.low_cut else "line-ew"
    high = "triangle-up-open" if interval.high_cut else "line-ew"
    return low, "circle-open", high, "circle"


def _add_curve(figure: go.Figure, drawn: DrawnCurve) -> None:
    """A curve of SILO's, and a ✗ per interval that it is outside of."""
    _add_points(
        figure,
        drawn.name,
        smooth(drawn.curve, drawn.last),
        line={"color": drawn.color, "width": 2.5, "dash": drawn.dash},
    )
    if drawn.misses:
        figure.add_scatter(
            **_places(drawn.misses),
            name=f"{drawn.name}: outside",
            legendgroup=drawn.name,
            showlegend=False,
            mode="markers",
            marker={"symbol": "x-thin", "size": 12, "line": {"color": drawn.color, "width": 3}},
            hovertemplate=f"{drawn.name}<br>{_PLACE}outside at %{{y:.4g}}<extra></extra>",
        )
    if drawn.unknown:
        figure.add_scatter(
            **_places(drawn.unknown),
            name=f"{drawn.name}: can't be told",
            legendgroup=drawn.name,
            showlegend=False,
            mode="text",
            text="<b>?</b>",
            textposition="top center",
            textfont={"size": 18, "color": drawn.color},
            hovertemplate=f"{drawn.name}<br>{_PLACE}can't be told at %{{y:.4g}}<extra></extra>",
        )


def _add_rivals(figure: go.Figure, data: RatesData) -> None:
    """The other curves, drawn once they are clicked in the legend."""
    for rival in data.rivals.rivals if data.rivals else ():
        if rival.name in RIVAL_LOOKS:
            cycles = steps(data.intervals[-1].cycle)
            rates = [rounded(rate) for rate in rival.max_lr(np.array(cycles))]
            _add_points(figure, rival.name, (cycles, rates), line=RIVAL_LOOKS[rival.name].line())
            figure.data[-1].visible = "legendonly"


def _add_band(figure: go.Figure, data: RatesData) -> None:
    """The central 90 % of the curves fitted to draws of what the trainings tell, cycle by cycle."""
    if data.fit is None or data.fit.drawn is None:
        return
    cycles = steps(data.intervals[-1].cycle)
    low, high = data.fit.drawn.band(cycles)
    # A rate of 0 has no place on a logarithmic axis, and would break the outline.
    floor = data.rates[0] / 1e3 if data.scale == "log" else 0.0
    figure.add_scatter(
        x=[*cycles, *reversed(cycles)],
        y=[rounded(max(rate, floor)) for rate in (*high, *reversed(low))],
        name="90 % band",
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=_GREEN_VEIL,
        hoverinfo="skip",
    )


def _add_detached(figure: go.Figure, points: Points) -> None:
    """Open dots where a rate is as good as the optimum, beyond a worse one."""
    if points:
        figure.add_scatter(
            **_places(points),
            name="good, beyond a gap",
            mode="markers",
            marker={"symbol": "circle-open", "size": 8, "color": BLUE, "line": {"width": 1.5}},
            hovertemplate=f"{_PLACE}%{{y:.4g}} is within the tolerance too<extra></extra>",
        )


def add_diagnosed(figure: go.Figure, points: Points, **panel: int) -> None:
    """The rates that the networks' statistics predict, cycle by cycle; in a panel where there are several."""
    if points:
        figure.add_scatter(
            **_places(points),
            name="from diagnostics",
            mode="lines+markers",
            line={"color": ORANGE, "width": 1.5, "dash": "longdash"},
            marker={"symbol": "diamond-open", "size": 10, "color": ORANGE, "line": {"width": 2}},
            hovertemplate=f"predicted from diagnostics<br>{_PLACE}max_lr %{{y:.4g}}<extra></extra>",
            **panel,
        )


def _add_optima(figure: go.Figure, data: RatesData, *, texts: bool) -> None:
    """A dot per optimum, with the text that it shows when pointed at."""
    shown = [
        (i, text) for i, text in zip(data.intervals, data.texts, strict=True) if i.cycle not in data.at_chance
    ]
    if shown:
        figure.add_scatter(
            x=[i.cycle for i, _ in shown],
            y=[rounded(i.optimum) for i, _ in shown],
            name=data.optimum_name,
            legendrank=1,
            mode="markers",
            marker={"color": BLUE, "size": 9, "line": {"color": "white", "width": 1}},
            text=[text for _, text in shown] if texts else None,
            hovertemplate=f"{'%{text}' if texts else f'{_PLACE}{data.value} %{{y:.4g}}'}<extra></extra>",
        )


def _places(points: Points) -> dict[str, Any]:
    return {"x": [cycle for cycle, _ in points], "y": [rounded(rate) for _, rate in points]}


def _add_points(
    figure: go.Figure,
    name: str,
    points: tuple[Sequence[float], Sequence[float]],
    *,
    line: dict[str, object],
) -> None:
    """A line through points (cycles, rates); a dot where there is only one."""
    cycles, rates = points
    figure.add_scatter(
        x=cycles,
        y=rates,
        name=name,
        legendgroup=name,
        mode="lines" if len(cycles) > 1 else "lines+markers",
        line=line,
        hovertemplate=f"{name}<br>{_PLACE}max_lr %{{y:.4g}}<extra></extra>",
    )
