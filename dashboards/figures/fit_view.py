"""A fit by itself, without a search: the intervals, the curves through them, as text and as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from rich import box
from rich.table import Table
from rich.text import Text

from dashboards.figures.rates import (
    Across,
    DrawnCurve,
    RatesData,
    as_judged,
    fitted_curves,
    interval_words,
    rates_figure,
    runs,
)
from dashboards.style import VERMILLION, density_text, plain_rate_text, rate_text
from dashboards.tables.comparison import INSIDE, MARKS, OUTSIDE, interval_text
from oracle.measure import BY_ACCURACY, Measure
from oracle.results.verdict import doubts, loss_text, where
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.rivals import RivalTable
from silo.landscape import CycleBelief, best_constant, judge
from silo.measured import CycleInterval, cycles_in_words

_STRIP = 44
_LOG_FROM = 5.0
_PADDING = 0.06


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
        beliefs: What the trainings tell, per interval; empty where there are none, as of a printed table.
        measure: How their scores are compared.
    """

    title: str
    intervals: tuple[CycleInterval, ...]
    fit: CurveFit
    rivals: RivalTable | None = None
    curve: SiloCurve | None = None
    rates: tuple[float, ...] = ()
    rates_name: str = "SILO"
    densities: tuple[float, ...] = ()
    beliefs: tuple[CycleBelief, ...] = ()
    measure: Measure = BY_ACCURACY

    def stated(self) -> tuple[float, ...]:
        """The stated curve's rate per interval; empty without one."""
        if self.rates or self.curve is None:
            return self.rates
        return tuple(self.curve.max_lr(interval.cycle) for interval in self.intervals)

    def missed(self) -> list[int]:
        """The cycles whose interval the stated rate is outside of."""
        pairs = zip(self.intervals, self.stated(), strict=False)
        return [interval.cycle for interval, rate in pairs if not interval.contains(rate)]

    def mark(self, index: int, rate: float) -> str:
        """The mark of a rate at one of the cycles: by its loss, or without trainings, by the interval."""
        if self.beliefs:
            return MARKS[self.beliefs[index].loss(rate).verdict]
        return INSIDE if self.intervals[index].contains(rate) else OUTSIDE

    def verdict(self) -> str:
        """Where the stated curve and the fitted one lie, no surer than the data are."""
        if self.beliefs:
            return self._known_verdict()
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

    def _known_verdict(self) -> str:
        tolerance, found = self.beliefs[0].tolerance, []
        curves = [(self.rates_name, self.curve)] if self.curve else []
        for name, curve in [*curves, ("The fitted curve", self.fit.curve)]:
            if (judged := judge(self.beliefs, curve.max_lr)) is not None:
                lost = f" It loses {loss_text(judged.mean, self.measure)} on average." if judged.known else ""
                found.append(f"{name} is {where(judged, self.measure.distance(tolerance))}.{lost}")
        if (constant := best_constant(self.beliefs)) is not None:
            rate = constant.rates[0]
            found.append(
                f"The best constant rate, {rate:.2g}, loses {loss_text(constant.mean, self.measure)}."
            )
        return " ".join([*(found or ["These trainings tell nothing of the rates."]), *doubts(self.beliefs)])


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
        cells += [f"{rate_text(rate)} {view.mark(k, rate)}" for rate in rates]
        table.add_row(*cells, Text(_strip(view, interval, rates)))
    return table


def fit_figure(view: FitView, *, across: Across = "cycle") -> go.Figure:
    """The intervals, the fitted curve with its confidence band, the stated curve and the rivals.

    It is drawn as ``comparison_figure`` is.

    Args:
        view: The fit.
        across: ``"cycle"`` or ``"density"``: what the figure shows at first; two buttons switch it.
    """
    return rates_figure(_data(view), across=across)


def _data(view: FitView) -> RatesData:
    low, high = _lowest_and_highest(view)
    texts = tuple(
        f"cycle {i.cycle}<br>Oracle optimum {plain_rate_text(i.optimum)}<br>interval {interval_words(i)}"
        for i in view.intervals
    )
    return RatesData(
        title=view.title,
        cycles=view.intervals[-1].cycle + 1,
        pruning_rate=view.fit.curve.pruning_rate,
        intervals=view.intervals,
        densities=view.densities,
        texts=texts,
        curves=tuple(
            as_judged(drawn, judge(view.beliefs, drawn.curve.max_lr)) if view.beliefs else drawn
            for drawn in (*_stated_curve(view), *fitted_curves(view.fit, view.intervals))
        ),
        core=runs(view.beliefs, "core"),
        reach=runs(view.beliefs, "reach"),
        fit=view.fit,
        rivals=view.rivals,
        scale="log" if _logarithmic(low, high) else "linear",
        rates=(low, high),
    )


def _stated_curve(view: FitView) -> list[DrawnCurve]:
    if view.curve is None:
        return []
    pairs = zip(view.intervals, view.stated(), strict=False)
    return [
        DrawnCurve(
            name=view.rates_name,
            curve=view.curve,
            last=view.intervals[-1].cycle,
            misses=tuple((i.cycle, rate) for i, rate in pairs if not i.contains(rate)),
            color=VERMILLION,
            dash="solid",
        )
    ]


def _lowest_and_highest(view: FitView) -> tuple[float, float]:
    cycles = [interval.cycle for interval in view.intervals]
    rates = [*view.stated(), *view.fit.curve.max_lr(cycles).tolist()]
    rates += [end for interval in view.intervals for end in (interval.low, interval.high)]
    return min(rate for rate in rates if rate > 0), max(rates)


def _logarithmic(low: float, high: float) -> bool:
    return high > _LOG_FROM * low


def _rate_range(view: FitView) -> tuple[float, float, bool]:
    """Lowest and highest rate of the strip, with room beside them, and whether it is logarithmic."""
    low, high = _lowest_and_highest(view)
    if _logarithmic(low, high):
        factor = (high / low) ** _PADDING
        return low / factor, high * factor, True
    margin = _PADDING * (high - low) or 0.1 * high
    return max(low - margin, 0.0), high + margin, False


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
