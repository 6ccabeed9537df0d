"""What the figure of rates over the cycles shows, whoever found it: a search, a table or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dashboards._cells import cells
from dashboards.style import GREEN, PURPLE, VERMILLION, plain_rate_text, short_name
from oracle.analysis import Analysis
from oracle.comparison import Comparison, CycleRow
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.rivals import RivalTable
from silo.intervals import CycleInterval

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One of SILO's curves.

    Attributes:
        name: As the legend calls it.
        curve: The curve.
        last: The cycle up to which it is drawn.
        misses: Cycle and rate where it is outside the interval.
        color: Its colour.
        dash: Its dash.
    """

    name: str
    curve: SiloCurve
    last: int
    misses: Points
    color: str
    dash: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn. Rates are peak learning rates.

    Attributes:
        title: The title.
        cycles: The axis holds the cycles 0 to ``cycles`` - 1.
        pruning_rate: p, for the densities between and beyond the known ones.
        intervals: Optimum and interval of the decided cycles, ascending.
        densities: Shares of the weights that are left, per interval; empty where they are not known.
        texts: What an optimum says when pointed at, per interval.
        optimum_name: What the optima are called.
        searched: Whether there are intervals, and not only rates.
        detached: Cycle and rate of what is as good as the optimum, but beyond a gap.
        at_chance: The cycles in which nothing was learned.
        lines: SILO's curves.
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
    optimum_name: str = "Oracle optimum"
    searched: bool = True
    detached: Points = ()
    at_chance: tuple[int, ...] = ()
    lines: tuple[Line, ...] = ()
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


def chart_of(analysis: Analysis) -> Chart:
    """What is drawn of a search."""
    comparison = analysis.comparison
    rows, spec = comparison.rows, comparison.spec
    fit = analysis.fit or comparison.fit
    lines = tuple(_lines(comparison, fit))
    at_chance = cycles_at_chance(comparison)
    return Chart(
        title=f"{short_name(comparison.name)}: max_lr per pruning cycle",
        cycles=comparison.cycles,
        pruning_rate=spec.pruning.rate,
        intervals=tuple(row.interval for row in rows),
        densities=tuple(row.density for row in rows),
        texts=_texts(comparison),
        optimum_name="Oracle optimum" if spec.searched else f"policy {spec.policy.name}",
        searched=spec.searched,
        detached=tuple((row.interval.cycle, rate) for row in rows for rate in row.detached),
        at_chance=at_chance,
        lines=lines,
        fit=fit,
        rivals=analysis.rivals,
        diagnosed=tuple(
            (one.cycle, rate) for one, rate in zip(analysis.distributions, analysis.diagnosed, strict=False)
        ),
        scale=spec.rate_grid().scale,
        rates=_rates(comparison, at_chance),
    )


def fitted_lines(fit: CurveFit, intervals: Sequence[CycleInterval]) -> tuple[Line, Line]:
    """The least-squares curve and the one that keeps to the intervals, as far as there are data."""
    last = intervals[-1].cycle
    least = Line(
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


def cycles_at_chance(comparison: Comparison) -> tuple[int, ...]:
    """The decided cycles in which nothing was learned; none where the chance level is not known."""
    chance = comparison.chance
    if chance is None:
        return ()
    return tuple(row.interval.cycle for row in comparison.rows if row.best.accuracy <= chance.highest)


def interval_words(interval: CycleInterval) -> str:
    """``0.036 to 0.042``, and where the grid ended."""
    low = plain_rate_text(interval.low) + (" or less" if interval.low_cut else "")
    high = plain_rate_text(interval.high) + (" or more" if interval.high_cut else "")
    return f"{low} to {high}"


def _lines(comparison: Comparison, fit: CurveFit | None) -> list[Line]:
    found = []
    if comparison.predicted is not None:
        missed = [(row.interval.cycle, row.predicted) for row in comparison.rows if not row.predicted_inside]
        found.append(
            Line(
                name="SILO, predicted",
                curve=comparison.predicted,
                last=comparison.cycles - 1,
                misses=tuple((cycle, rate) for cycle, rate in missed if rate is not None),
                color=VERMILLION,
                dash="solid",
            )
        )
    if fit is not None:
        found += fitted_lines(fit, [row.interval for row in comparison.rows])
    return found


def _at(curve: SiloCurve, cycles: Sequence[int]) -> Points:
    return tuple((cycle, float(curve.max_lr(cycle))) for cycle in cycles)


def _texts(comparison: Comparison) -> tuple[str, ...]:
    return tuple(
        f"cycle {text.cycle}, λ {text.density} %<br>{_rates_of(row, comparison)}<br>"
        f"validation accuracy {text.validation} %<br>test accuracy {text.test} %"
        for text, row in zip(cells(comparison), comparison.rows, strict=True)
    )


def _rates_of(row: CycleRow, comparison: Comparison) -> str:
    rate = plain_rate_text(row.interval.optimum)
    if not comparison.spec.searched:
        return f"max_lr {rate}"
    return f"Oracle optimum {rate}<br>interval {interval_words(row.interval)}"


def _rates(comparison: Comparison, at_chance: tuple[int, ...]) -> tuple[float, float]:
    """The Oracle's rates, of cycles that say something if there are any; before all, the grid's."""
    telling = [row for row in comparison.rows if row.interval.cycle not in at_chance] or comparison.rows
    found = [rate for row in telling for rate in (row.interval.low, row.interval.high, *row.detached)]
    values = found or comparison.spec.rate_grid().values
    return min(values), max(values)
