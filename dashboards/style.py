"""One look for all figures and numbers: colours, the plotly template, how rates and shares are written."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
"""Colours of Okabe and Ito (2008), which people with any colour vision tell apart."""

RATE_UNIT = 1e-2
RATE_UNIT_TEXT = "×1e-2"
"""Rates in tables are in units of 1e-2, as in the SILO paper."""

_INK, _GRID_LINE = "#222222", "#E3E3E3"
_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"


def template() -> go.layout.Template:
    """The look of every figure: white, thin grid, horizontal legend above the plot, room for every label."""
    axis = {
        "automargin": True,
        "gridcolor": _GRID_LINE,
        "linecolor": _INK,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"size": 12},
        "title": {"font": {"size": 14}, "standoff": 8},
        "zeroline": False,
    }
    legend = {
        "orientation": "h",
        "traceorder": "normal",
        "x": 0,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 12},
        "bgcolor": "rgba(0,0,0,0)",
    }
    return go.layout.Template(
        layout={
            "colorway": [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK],
            "font": {"family": _FONT, "size": 13, "color": _INK},
            "hoverlabel": {"font": {"family": _FONT, "size": 13}, "align": "left"},
            "legend": legend,
            "margin": {"l": 64, "r": 16, "t": 12, "b": 56},
            "showlegend": True,
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def rate_text(rate: float) -> str:
    """A rate in units of 1e-2, with at most 4 significant digits and no exponent: 0.0413216 is ``4.132``."""
    return _digits(rate / RATE_UNIT, 4)


def plain_rate_text(rate: float) -> str:
    """A rate as it is, with at most 4 significant digits and no exponent: 0.0413216 is ``0.04132``."""
    return _digits(rate, 4)


def density_text(density: float) -> str:
    """A share of weights in % with 3 significant digits, as in the paper: 0.512 is ``51.2``."""
    return f"{100 * density:#.3g}".rstrip(".")


def percent_text(share: float) -> str:
    """A share in %: 0.005 is ``0.5 %``."""
    return f"{_digits(100 * share, 3)} %"


def accuracy_text(mean: float, std: float, *, replicates: int) -> str:
    """An accuracy in % with two decimals, and its deviation if there is more than one replicate."""
    text = f"{100 * mean:.2f}"
    return f"{text} ± {100 * std:.2f}" if replicates > 1 else text


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of a logarithmic axis: 1, 2 and 5 of each decade, or fewer where there are many decades.

    Args:
        low: Lower end of the axis, above 0.
        high: Upper end of the axis.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(decades) <= 4 else (1,)
    values = [digit * 10.0**decade for decade in decades for digit in digits]
    return tick_texts(value for value in values if low * 0.999 <= value <= high * 1.001)


def tick_texts(values: Iterable[float]) -> tuple[list[float], list[str]]:
    """Ticks with their labels."""
    found = [rounded(value) for value in values]
    return found, [plain_rate_text(value) for value in found]


def rounded(value: float) -> float:
    """A value to 6 significant digits: what a figure can show, in fewer bytes."""
    return float(f"{value:.6g}")


def _digits(value: float, digits: int) -> str:
    return np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")
