"""What the landscape figure needs: numbers without plotly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dashboards.style import plain_rate_text, rounded
from oracle.comparison import Comparison, CycleRow

_TOLERANCES_SHOWN = 5
"""The colours tell accuracies apart down to so many tolerances below the worst cycle's best."""

_SMALLEST_SPAN = 1.0


def rates(rows: Sequence[CycleRow]) -> list[float]:
    """Every rate that some cycle tried, ascending."""
    return sorted({candidate.max_lr for row in rows for candidate in row.candidates})


def names(rates: Sequence[float]) -> dict[float, str]:
    """A label per rate: short, or exact where two would look alike."""
    short = {rate: plain_rate_text(rate) for rate in rates}
    return short if len(set(short.values())) == len(rates) else {rate: repr(rate) for rate in rates}


def percentages(rows: Sequence[CycleRow], rates: Sequence[float]) -> list[list[float | None]]:
    """Mean validation accuracies in %, by rate and cycle; None where a cycle did not try a rate."""
    found = [{c.max_lr: rounded(100 * c.accuracy) for c in row.candidates} for row in rows]
    return [[cycle.get(rate) for cycle in found] for rate in rates]


def colours(comparison: Comparison) -> dict[str, Any]:
    """The heatmap's colour scale, its range and its colour bar."""
    accuracies = [100 * c.accuracy for row in comparison.rows for c in row.candidates]
    best = [100 * row.best.accuracy for row in comparison.rows]
    top = max(best)
    reach = _TOLERANCES_SHOWN * 100 * comparison.spec.tolerance
    floor = min(best) - max(reach, _SMALLEST_SPAN)
    low = min(max(min(accuracies), floor), top - _SMALLEST_SPAN)
    clipped = min(accuracies) < low - 1e-9
    if clipped:
        low = float(math.floor(low))
    values = _ticks(low, top)
    texts = [f"{value:g}" for value in values]
    if clipped:
        texts[0] = f"≤ {texts[0]}"
    return {
        "colorscale": "Viridis",
        "zmin": rounded(low),
        "zmax": rounded(top),
        "colorbar": {
            "title": {"text": "mean<br>validation<br>accuracy (%)", "font": {"size": 12}},
            "thickness": 14,
            "tickvals": values,
            "ticktext": texts,
        },
    }


def outlines(rows: Sequence[CycleRow], rates: Sequence[float]) -> list[dict[str, Any]]:
    """A rectangle around each cycle's interval, in units of columns and rows of cells."""
    place = {rate: index for index, rate in enumerate(rates)}
    return [
        {
            "type": "rect",
            "x0": row.interval.cycle - 0.44,
            "x1": row.interval.cycle + 0.44,
            "y0": place[row.interval.low] - 0.46,
            "y1": place[row.interval.high] + 0.46,
            "line": {"color": "black", "width": 2},
            "name": "Oracle interval",
            "showlegend": row is rows[0],
        }
        for row in rows
    ]


def _ticks(low: float, high: float) -> list[float]:
    """About five round values from ``low`` on; ``low`` itself is the first."""
    steps = (digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5))
    step = next((step for step in steps if (high - low) / step <= 6), 100.0)
    first = math.ceil(low / step + 1e-9) * step
    count = math.floor((high - first) / step + 1e-9) + 1
    round_values = [round(first + index * step, 3) for index in range(count)]
    return [round(low, 3), *(value for value in round_values if value - low > 0.3 * step)]
