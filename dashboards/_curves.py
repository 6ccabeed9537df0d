"""What the comparison figure's axes and curves need: numbers without plotly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dashboards.style import log_ticks, rounded
from oracle.comparison import Comparison
from silo.curve import SiloCurve

_MOST_TICKS = 13
_MOST_POINTS = 200
_POINTS_PER_CYCLE = 8
_PADDING = 0.06
_CURVE_REACH = 4.0
"""How many times beyond the Oracle's rates a curve may stretch the axis."""


def smooth(curve: SiloCurve, last: int) -> tuple[list[float], list[float]]:
    """Cycles and rates of a curve from cycle 0 to ``last``, whole cycles and points between them."""
    between = max(1, min(_POINTS_PER_CYCLE, _MOST_POINTS // max(last, 1)))
    cycles = np.linspace(0, last, last * between + 1)
    return [rounded(cycle) for cycle in cycles], [rounded(rate) for rate in curve.max_lr(cycles)]


def cycle_ticks(cycles: int) -> list[int]:
    """The cycles to label: every one, or every second, fifth and so on of many."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    stride = next(step for step in steps if cycles / step <= _MOST_TICKS)
    return list(range(0, cycles, stride))


def rate_axis(comparison: Comparison) -> dict[str, Any]:
    """Type, range and ticks of the axis of ``max_lr``."""
    low, high = _extremes(comparison)
    if comparison.spec.rate_grid().scale == "linear":
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


def _extremes(comparison: Comparison) -> tuple[float, float]:
    """Lowest and highest rate to show: all of the Oracle's, and the curves as far as they are near them."""
    fit = comparison.fit
    drawn = (comparison.predicted, *((fit.curve, fit.fewest_misses) if fit else ()))
    found = [curve for curve in drawn if curve is not None]
    curves = [rate for curve in found for rate in (curve.max_lr(0), curve.max_lr(comparison.cycles - 1))]
    measured = [
        rate for row in comparison.rows for rate in (row.interval.low, row.interval.high, *row.detached)
    ]
    if not measured:
        grid = comparison.spec.rate_grid().values
        measured = [grid[0], grid[-1]]
    low, high = min(measured), max(measured)
    return (
        max(min([low, *curves]), low / _CURVE_REACH),
        min(max([high, *curves]), high * _CURVE_REACH),
    )
