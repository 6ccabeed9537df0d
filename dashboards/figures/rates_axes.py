"""The axes of the figure of rates, and points along its curves: numbers without plotly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dashboards.figures.rates_data import RatesData
from dashboards.style import density_text, log_ticks, rounded, tick_texts
from silo.curve import SiloCurve

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
