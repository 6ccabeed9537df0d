"""A fit by itself, without a search: the intervals, the curves through them, as text and as a figure."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from rich import box
from rich.table import Table
from rich.text import Text

from dashboards import _curves
from dashboards._cells import INSIDE, OUTSIDE, interval_text
from dashboards._traces import add_curve, add_intervals, add_misses, add_optima
from dashboards.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    density_text,
    log_ticks,
    rate_text,
    rounded,
    template,
)
from oracle.comparison import cycles_in_words
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.intervals import CycleInterval
from silo.rivals import RivalTable

_STRIP = 44
_LOG_FROM = 5.0
_PADDING = 0.06
_RIVAL_COLOURS = {
    "constant": BLACK,
    "linear": ORANGE,
    "exponential": SKY,
    "logistic": BLUE,
    "Theorem 2 bound": VERMILLION,
}


@dataclass(frozen=True, kw_only=True)
class FitView:
    """A fit, and what is shown with it.

    Attributes:
        title: What was measured.
        intervals: What was fitted, ascending by cycle.
        fit: The fit.
        rivals: Other curves fitted to the same; empty without them.
        curve: SILO's curve that was stated beforehand; None without one.
        rates: Its rate per interval, as printed; by default those of ``curve``.
        rates_name: What those are called.
        densities: Shares of the weights that are left, per interval; empty where they are not known.
    """

    title: str
    intervals: tuple[CycleInterval, ...]
    fit: CurveFit
    rivals: RivalTable | None = None
    curve: SiloCurve | None = None
    rates: tuple[float, ...] = ()
    rates_name: str = "SILO"
    densities: tuple[float, ...] = ()

    def stated(self) -> tuple[float, ...]:
        """The stated curve's rate per interval; empty without one."""
        if self.rates or self.curve is None:
            return self.rates
        return tuple(self.curve.max_lr(interval.cycle) for interval in self.intervals)

    def missed(self) -> list[int]:
        """The cycles whose interval the stated rate is outside of."""
        pairs = zip(self.intervals, self.stated(), strict=False)
        return [interval.cycle for interval, rate in pairs if not interval.contains(rate)]

    def verdict(self) -> str:
        """Whether the stated curve and any curve lie in all intervals, in two sentences."""
        n, found = len(self.intervals), []
        if self.stated():
            missed = self.missed()
            found.append(
                f"{self.rates_name} misses {len(missed)} of {n} intervals: {cycles_in_words(missed)}."
                if missed
                else f"{self.rates_name} lies in all {n} intervals."
            )
        if self.fit.hitting:
            found.append(f"A SILO curve that lies in all {n} exists.")
        else:
            few = self.fit.missed_cycles
            found.append(f"No SILO curve lies in all {n}: every one misses {len(few)} or more.")
        return " ".join(found)


def fit_table(view: FitView) -> Table:
    """One row per cycle, at most 110 columns wide, with the interval and the curves drawn as text."""
    stated = view.stated()
    columns = ["m", *(["λ %"] if view.densities else []), "optimum", "interval"]
    columns += [*(["SILO"] if stated else []), "fitted"]
    legend = "├─┤ interval, ◂ ▸ where the grid cut it off; ● optimum; ◆ fitted curve" + (
        f"; △ {view.rates_name}" if stated else ""
    )
    table = Table(
        title=Text(view.title, style="bold"),
        caption=Text(f"Rates in units of 1e-2. {legend}."),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(_scale_text(view), no_wrap=True)
    for k, interval in enumerate(view.intervals):
        cells = [str(interval.cycle), *([density_text(view.densities[k])] if view.densities else [])]
        cells += [rate_text(interval.optimum), interval_text(interval)]
        rates = [*([stated[k]] if stated else []), view.fit.curve.max_lr(interval.cycle)]
        cells += [f"{rate_text(rate)} {_mark(interval, rate)}" for rate in rates]
        table.add_row(*cells, Text(_strip(view, interval, rates)))
    return table


def fit_figure(view: FitView) -> go.Figure:
    """The intervals, the fitted curve with its confidence band, the stated curve and the rivals.

    The rivals are drawn once they are clicked in the legend. A ✗ marks a cycle whose interval a curve misses.
    """
    last = view.intervals[-1].cycle
    figure = go.Figure(layout=_layout(view))
    if view.fit.bootstrap is not None:
        _add_band(figure, view, last)
    add_intervals(figure, view.intervals)
    if view.curve is not None:
        style: dict[str, object] = {"color": VERMILLION, "width": 2}
        add_curve(figure, view.rates_name, _curves.smooth(view.curve, last), style)
    pairs = zip(view.intervals, view.stated(), strict=False)
    missed: list[tuple[int, float | None]] = [(i.cycle, rate) for i, rate in pairs if not i.contains(rate)]
    add_misses(figure, f"{view.rates_name} outside", missed, VERMILLION)
    style = {"color": GREEN, "width": 2.5, "dash": "dash"}
    add_curve(figure, "SILO, least squares", _curves.smooth(view.fit.curve, last), style)
    name = "SILO, inside all" if view.fit.hitting else "SILO, fewest misses"
    style = {"color": PURPLE, "width": 2.5, "dash": "dot"}
    add_curve(figure, name, _curves.smooth(view.fit.fewest_misses, last), style)
    _add_rivals(figure, view, last)
    texts = [
        f"cycle {i.cycle}<br>Oracle optimum {rate_text(i.optimum)}e-2<br>interval {interval_text(i)} × 1e-2"
        for i in view.intervals
    ]
    add_optima(figure, view.intervals, texts)
    return figure


def _add_band(figure: go.Figure, view: FitView, last: int) -> None:
    assert view.fit.bootstrap is not None
    cycles = _curves.smooth(view.fit.curve, last)[0]
    low, high = view.fit.bootstrap.band(cycles)
    figure.add_scatter(
        x=[*cycles, *reversed(cycles)],
        y=[rounded(rate) for rate in (*high, *reversed(low))],
        name="95 % band",
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor="rgba(0,158,115,0.18)",
        hoverinfo="skip",
    )


def _add_rivals(figure: go.Figure, view: FitView, last: int) -> None:
    for rival in view.rivals.rivals if view.rivals else ():
        if rival.name not in _RIVAL_COLOURS:
            continue
        cycles = _curves.smooth(view.fit.curve, last)[0]
        rates = [rounded(rate) for rate in rival.max_lr(np.array(cycles))]
        line: dict[str, object] = {"color": _RIVAL_COLOURS[rival.name], "width": 1.5, "dash": "dashdot"}
        add_curve(figure, rival.name, (cycles, rates), line)
        figure.data[-1].visible = "legendonly"


def _layout(view: FitView) -> go.Layout:
    last = view.intervals[-1].cycle
    low, high, logarithmic = _rate_range(view)
    if logarithmic:
        values, texts = log_ticks(low, high)
        axis = {
            "type": "log",
            "range": [math.log10(low), math.log10(high)],
            "tickvals": values,
            "ticktext": texts,
        }
    else:
        axis = {"range": [rounded(low), rounded(high)], "nticks": 8}
    return go.Layout(
        template=template(),
        height=460,
        legend={
            "y": 1.02,
            "entrywidth": 158,
            "itemsizing": "constant",
            "title": {"text": html.escape(view.title), "side": "top", "font": {"size": 16}},
        },
        hovermode="closest",
        xaxis={
            "title": {"text": "pruning cycle m"},
            "tickvals": _curves.cycle_ticks(last + 1),
            "range": [-0.6, last + 0.6],
        },
        yaxis={"title": {"text": "peak learning rate max_lr"}, **axis},
    )


def _rate_range(view: FitView) -> tuple[float, float, bool]:
    """Lowest and highest rate to show, with room beside them, and whether the axis is logarithmic."""
    cycles = [interval.cycle for interval in view.intervals]
    rates = [*view.stated(), *view.fit.curve.max_lr(cycles).tolist()]
    rates += [end for interval in view.intervals for end in (interval.low, interval.high)]
    low, high = min(rate for rate in rates if rate > 0), max(rates)
    if high > _LOG_FROM * low:
        factor = (high / low) ** _PADDING
        return low / factor, high * factor, True
    margin = _PADDING * (high - low) or 0.1 * high
    return max(low - margin, 0.0), high + margin, False


def _mark(interval: CycleInterval, rate: float) -> str:
    return INSIDE if interval.contains(rate) else OUTSIDE


def _scale_text(view: FitView) -> str:
    """The strip's header: the rates at its two ends."""
    low, high, _ = _rate_range(view)
    left, right = rate_text(float(f"{low:.2g}")), rate_text(float(f"{high:.3g}"))
    return left + " " * max(_STRIP - len(left) - len(right), 1) + right


def _strip(view: FitView, interval: CycleInterval, rates: Sequence[float]) -> str:
    """The interval and the curves' rates on a line of text."""
    low, high, logarithmic = _rate_range(view)

    def column(rate: float) -> int:
        share = (rate - low) / (high - low)
        if logarithmic:
            share = math.log(max(rate, low) / low) / math.log(high / low)
        return min(max(round(share * (_STRIP - 1)), 0), _STRIP - 1)

    cells = [" "] * _STRIP
    first, last = column(interval.low), column(interval.high)
    cells[first : last + 1] = ["─"] * (last - first + 1)
    cells[first] = "◂" if interval.low_cut else "├"
    cells[last] = "▸" if interval.high_cut else "┤"
    cells[column(interval.optimum)] = "●"
    for rate, sign in zip(rates, "△◆" if len(rates) > 1 else "◆", strict=True):
        cells[column(rate)] = sign
    return "".join(cells)
