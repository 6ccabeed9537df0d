"""One look for all figures and numbers: colours, the plotly template, how rates and shares are written."""

from __future__ import annotations

import html
import logging
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import plotly.graph_objects as go
from jinja2.runtime import Macro
from markupsafe import Markup

from dashboards.tables.table import Table

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
"""Colours of Okabe and Ito (2008), which people with any colour vision tell apart."""

GREY = "#8C8C8C"
"""Of cycles at chance level, which say nothing."""

RATE_UNIT = 1e-2
RATE_UNIT_TEXT = "×1e-2"
"""Rates in tables are in units of 1e-2, as in the SILO paper."""

INK = "#222222"
_GRID_LINE = "#E3E3E3"
_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
_LONGEST_NAME, _LONGEST_LINE = 32, 60
_SAME = 1e-6  # of their size: what values may differ by and yet be the same


@dataclass(frozen=True, kw_only=True)
class Series:
    """The look of one of several things: told apart by colour, and without colour by dash and symbol.

    Attributes:
        color: Of Okabe and Ito's.
        dash: Of a line.
        symbol: Of a marker.
    """

    color: str
    dash: str
    symbol: str

    def line(self, width: float = 2) -> dict[str, object]:
        """A line of plotly's."""
        return {"color": self.color, "dash": self.dash, "width": width}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a figure's buttons.

    Attributes:
        label: What is on it.
        x: Where the points of each trace lie.
        layout: What changes in the layout, by plotly's paths.
    """

    label: str
    x: Sequence[Sequence[float | None]]
    layout: dict[str, Any]


SERIES = (
    Series(color=BLUE, dash="solid", symbol="circle"),
    Series(color=VERMILLION, dash="dash", symbol="square"),
    Series(color=GREEN, dash="dot", symbol="diamond"),
    Series(color=PURPLE, dash="dashdot", symbol="triangle-up"),
    Series(color=ORANGE, dash="longdash", symbol="cross"),
    Series(color=SKY, dash="longdashdot", symbol="star"),
    Series(color=BLACK, dash="8px,3px,2px,3px,2px,3px", symbol="hexagon"),
)
"""The looks that a figure with several of a kind takes in turn."""


def template() -> go.layout.Template:
    """The look of every figure: white, thin grid, horizontal legend above the plot, room for every label.

    Figures are drawn on white: the colours of Okabe and Ito are made for it (black and blue vanish on dark),
    and what is saved from the page goes into a paper or a mail. A dark page inverts them, hues aside.
    """
    axis = {
        "automargin": True,
        "gridcolor": _GRID_LINE,
        "linecolor": INK,
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
        "entrywidth": 112,
        "itemsizing": "trace",
        "font": {"size": 11},
        "bgcolor": "rgba(0,0,0,0)",
    }
    return go.layout.Template(
        layout={
            "colorway": [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK],
            "font": {"family": _FONT, "size": 13, "color": INK},
            "hoverlabel": {"font": {"family": _FONT, "size": 13}, "align": "left"},
            "legend": legend,
            "margin": {"l": 64, "r": 28, "t": 12, "b": 56},
            "showlegend": True,
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def legend_title(text: str, small: str = "") -> dict[str, object]:
    """A figure's title as its legend's: so both get the room that they need, whatever the width.

    Args:
        text: The title; it is broken into lines that a narrow page has room for.
        small: A line below it, in small print.
    """
    lines = "<br>".join(html.escape(line) for line in textwrap.wrap(text, _LONGEST_LINE))
    below = f"<br><span style='font-size:12px'>{html.escape(small)}</span>" if small else ""
    return {"title": {"text": lines + below, "side": "top", "font": {"size": 16}}}


def short_name(name: str) -> str:
    """A search's name for a title: cut where it is long."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def add_switch(figure: go.Figure, choices: Sequence[Choice], active: int, *, buttons: bool = True) -> None:
    """Buttons below the plot's right corner that change what is across.

    Args:
        figure: Where to; it shows the active choice from now on.
        choices: What they do.
        active: Which of them is pressed at first.
        buttons: Whether there are buttons; else the active choice is all there is.
    """
    chosen = choices[active]
    for trace, place in zip(figure.data, chosen.x, strict=True):
        trace.x = place
    figure.update_layout({key.replace(".", "_"): value for key, value in chosen.layout.items()})
    if not buttons:
        return
    menu = {
        "type": "buttons",
        "direction": "right",
        "active": active,
        "x": 1,
        "xanchor": "right",
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 32},
        "font": {"size": 11},
        "bgcolor": "white",
        "buttons": [
            {"label": choice.label, "method": "update", "args": [{"x": choice.x}, choice.layout]}
            for choice in choices
        ],
    }
    figure.update_layout(updatemenus=[menu])


def say(figure: go.Figure, text: str) -> None:
    """A sentence in place of a figure that has nothing to show."""
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    if not figure.data:
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)


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


def hours_text(hours: float) -> str:
    """Hours with 3 digits and no exponent: a small search takes thousandths of one."""
    return f"{hours:,.0f}" if hours >= 100 else _digits(hours, 3)


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


def padded(low: float, high: float, share: float, *, around: float = 1.0) -> list[float]:
    """The ends of an axis with room beside its values, also where they are all the same.

    Args:
        low: Lowest value.
        high: Highest value.
        share: Of the values' span, on either side.
        around: A size to go by where the one value is 0.
    """
    span, size = high - low, max(abs(low), abs(high))
    if span <= _SAME * size:
        span = size or around
    return [rounded(low - share * span), rounded(high + share * span)]


def rounded(value: float) -> float:
    """A value to 6 significant digits: what a figure can show, in fewer bytes."""
    return float(f"{value:.6g}")


def _digits(value: float, digits: int) -> str:
    return np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")


T = TypeVar("T")

_WIDTH, _HEIGHT = 90, 180


def attempt(what: str, make: Callable[[], T], instead: Callable[[str], T]) -> T:
    """Makes something to be shown, or what stands in its place.

    Args:
        what: What it is, such as ``"the figure 'region'"``.
        make: Makes it.
        instead: Makes what stands in its place, of a sentence that says why.
    """
    try:
        return make()
    except Exception as error:
        return instead(failed(what, error))


def failed(what: str, error: Exception) -> str:
    """A sentence on something that can't be shown; it is logged, too."""
    reason = " ".join(str(error).split())[:300] or "no reason given"
    text = f"{what} can't be shown ({type(error).__name__}: {reason})"
    logger = logging.getLogger("oracle")
    logger.warning("%s; all else is there, and no result is lost", text)
    logger.debug("where it failed:", exc_info=error)
    return f"{text[0].upper()}{text[1:]}."


def failed_figure(text: str) -> go.Figure:
    """A figure that only says why there is none."""
    figure = go.Figure(layout={"template": template(), "height": _HEIGHT})
    say(figure, "<br>".join(textwrap.wrap(text.replace("<", "‹"), _WIDTH)))
    return figure


def failed_table(title: str, text: str) -> Table:
    """A table that only says why there is none."""
    columns = {"error": "why there is no table"}
    return Table(
        title=title,
        headers=("",),
        rows=(),
        align="l",
        notes=(text,),
        columns=columns,
        records=({"error": text},),
    )


def section(what: str, caller: Macro) -> Markup:
    """A section of a page, for ``{% call section("…") %}`` in its template."""
    return attempt(what, lambda: Markup(caller()), failed_paragraph)


def failed_paragraph(text: str) -> Markup:
    """A paragraph that says why something isn't there."""
    return Markup('<p class="soft">{}</p>').format(text)
