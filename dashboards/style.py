"""How figures look, on screens and in a paper's column, their files, and what stands for one that failed."""

from __future__ import annotations

import html
import importlib.util
import logging
import math
import os
import re
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import plotly.graph_objects as go
import plotly.io
import psutil
from jinja2.runtime import Macro
from markupsafe import Markup

from dashboards.tables.table import Table
from silo.errors import InvalidInput

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


IMAGE_FORMATS = ("png", "svg", "pdf")

_IMAGE_WIDTH, _SCALE = 900, 2
_PRINT = 4
"""Dots per pixel of a PNG for paper: 384 per inch."""


def write_figure(figure: go.Figure, path: Path) -> None:
    """Writes a figure: an HTML page that needs no network, or an image, by the file's ending.

    Raises:
        InvalidInput: The ending is none of those, the image can't be made, or the file can't be written.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("html", *IMAGE_FORMATS):
        known = ", ".join(f".{name}" for name in ("html", *IMAGE_FORMATS))
        raise InvalidInput(f"figure: {path} must end in one of {known}")
    if kind == "html":
        content = figure.to_html(include_plotlyjs=True, config={"displaylogo": False}).encode()
    else:
        (content,) = images({path.with_suffix(f".{kind}").name: figure}).values()
    try:
        replace_file(path, content)
    except OSError as error:
        raise InvalidInput(f"figure: {path} can't be written ({error.strerror or error})") from error


def images(figures: Mapping[str, go.Figure], columns: Columns | None = None) -> dict[str, bytes]:
    """Figures as images, all made by one browser: to start it takes longer than to draw.

    Args:
        figures: What a file will be called, ending in one of :data:`IMAGE_FORMATS`, to its figure.
        columns: As wide as one or two of a paper's columns; by default as on a page of the report.

    Returns:
        The name of each file to its content.

    Raises:
        InvalidInput: kaleido or a browser is missing, with how to install them.
    """
    hint = (
        "install it by 'pip install silo-oracle[images]', and Chrome or Chromium; BROWSER_PATH names one "
        "that isn't found"
    )
    names = ", ".join(figures)
    if importlib.util.find_spec("kaleido") is None:
        raise InvalidInput(f"figure: {names} needs kaleido; {hint}")
    still = [_still(figure) for figure in figures.values()]
    if columns is not None:
        still = [fitted(figure, columns) for figure in still]
    with tempfile.TemporaryDirectory(prefix="oracle-images-") as place:
        files = [Path(place, name) for name in figures]
        try:
            _by_a_browser(
                partial(
                    plotly.io.write_images,
                    still,
                    files,
                    width=_IMAGE_WIDTH if columns is None else pixels(columns),
                    height=[figure.layout.height for figure in still],
                    scale=[
                        (_SCALE if columns is None else _PRINT) if file.suffix == ".png" else 1
                        for file in files
                    ],
                )
            )
        except Exception as error:  # kaleido passes on whatever the browser's start may raise
            first, _, _ = " ".join(str(error).split()).partition(". ")
            reason = first[:200] or type(error).__name__
            raise InvalidInput(f"figure: kaleido can't make {names} ({reason}); {hint}") from error
        return {file.name: file.read_bytes() for file in files}


_BROWSER_SECONDS = 180.0
"""After which a browser is taken for one that will not answer; a slow machine needs a tenth of it."""

_BROWSER_TRIES = 2


def _by_a_browser(draw: Callable[[], None]) -> None:
    """Draws, and ends a browser that doesn't answer, for which kaleido would wait for ever; then by another.

    Raises:
        TimeoutError: No browser has answered.
    """
    for _ in range(_BROWSER_TRIES):
        before = set(_browsers())
        failures: list[Exception] = []
        drawing = threading.Thread(target=_tried, args=(draw, failures), daemon=True)
        drawing.start()
        drawing.join(_BROWSER_SECONDS)
        if not drawing.is_alive():
            if failures:
                raise failures[0]
            return
        for process in set(_browsers()) - before:
            with suppress(psutil.NoSuchProcess):
                for part in (*process.children(recursive=True), process):
                    with suppress(psutil.NoSuchProcess):
                        part.kill()
        drawing.join(_BROWSER_SECONDS)  # kaleido notices, and tidies up
    raise TimeoutError(f"the browser did not answer within {_BROWSER_SECONDS:g} seconds")


def _tried(work: Callable[[], None], failures: list[Exception]) -> None:
    try:
        work()
    except Exception as error:
        failures.append(error)


def _browsers() -> Iterator[psutil.Process]:
    """The processes of the browsers that this one has started for kaleido."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "--remote-debugging-pipe" in process.cmdline():
                yield process


def _still(figure: go.Figure) -> go.Figure:
    """A figure without what waits for a click: nobody can click on paper."""
    shown = [trace for trace in figure.data if trace.visible != "legendonly"]
    still = go.Figure(data=shown, layout=figure.layout)
    still.layout.updatemenus = ()
    return still


def replace_file(path: Path, content: bytes) -> None:
    """Writes under a temporary name in the same folder, then renames."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


Columns = Literal["one", "two"]

MILLIMETRES: dict[Columns, float] = {"one": 85.0, "two": 175.0}
"""Widths of one and of two columns: those of most journals and conferences, or a little less."""

SMALLEST_POINTS = 7.0
"""Points of the smallest letters."""

_PER_MILLIMETRE = 96 / 25.4
"""Pixels: browsers print 96 of them as an inch, and 3 as 4 points."""

_SMALLEST, _LARGEST = SMALLEST_POINTS * 96 / 72 + 0.1, 11.5
_MARKS = 0.7
_INLINE = re.compile(r"font-size: *\d+px")
_TICKS = 4

_PLOT, _AROUND, _ROW, _LETTER, _SYMBOL = 180, 56, 18, 5.4, 40
"""Pixels in one column: height of the plot, of axes below it and of a line of the legend, width of a letter
and of what stands before an entry."""

_PLOT_ON_PAGES = 280
"""Pixels that the plot is high on the report's page, about."""


def pixels(columns: Columns) -> int:
    """The width that a figure is drawn with."""
    return round(MILLIMETRES[columns] * _PER_MILLIMETRE)


def fitted(figure: go.Figure, columns: Columns) -> go.Figure:
    """A figure for paper: in one column with small letters and marks, a short legend and few ticks."""
    found = figure.to_dict()
    if columns == "one":
        found = _smaller(found)
        layout = found["layout"]
        _narrow(layout, layout.get("template", {}).get("layout", {}))
        _stacked(layout, [each["name"] for each in found["data"] if _listed(each)])
    drawn = go.Figure(found)
    drawn.layout.width = pixels(columns)
    return drawn


def _smaller(value: Any, key: str = "") -> Any:
    """Letters and marks smaller, wherever they are."""
    if isinstance(value, dict):
        return {name: _sized(name, inner, key) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_smaller(each, key) for each in value]
    return _INLINE.sub(f"font-size:{_SMALLEST:.3g}px", value) if isinstance(value, str) else value


def _sized(name: str, value: Any, within: str) -> Any:
    if name == "size" and isinstance(value, int | float):
        return min(max(value * _MARKS, _SMALLEST), _LARGEST) if "font" in within else value * _MARKS
    if name == "width" and within == "line" and isinstance(value, int | float):
        return value * _MARKS
    return _smaller(value, name)


def _narrow(layout: dict[str, Any], template: dict[str, Any]) -> None:
    layout["margin"] = {"l": 40, "r": 10, "t": 8, "b": 36}
    legend = layout.setdefault("legend", {})
    if title := legend.get("title", {}).get("text"):
        first, *small = title.split("<br><span")
        legend["title"]["text"] = "<br><span".join([_wrapped(first), *map(_wrapped_small, small)])
    for name, axis in [(name, axis) for name, axis in layout.items() if re.fullmatch(r"[xy]axis\d*", name)]:
        if "nticks" in axis:
            axis["nticks"] = min(axis["nticks"], _TICKS)
        if name[0] == "x" and "(max_lr)" in (text := axis.get("title", {}).get("text", "")):
            axis["title"]["text"] = text.replace(" (max_lr)", "")
    for axis in (template.get("xaxis", {}), template.get("yaxis", {})):
        axis["title"] = {**axis.get("title", {}), "standoff": 4}
    for axis in (each for name, each in layout.items() if name.startswith("coloraxis")):
        axis.setdefault("colorbar", {})["thickness"] = 8


def _listed(trace: dict[str, Any]) -> bool:
    return bool(trace.get("name")) and trace.get("showlegend") is not False


def _stacked(layout: dict[str, Any], names: list[str]) -> None:
    """A legend of one or two columns above the plot, and the height that both need."""
    legend = layout["legend"]
    legend["entrywidth"] = _LETTER * max(map(len, names), default=0)
    columns = 2 if 2 * (legend["entrywidth"] + _SYMBOL) < pixels("one") - _AROUND else 1
    title = legend.get("title", {}).get("text", "")
    lines = math.ceil(len(names) / columns) + (title.count("<br>") + 1 if title else 0)
    gap = (legend.get("y", 1.0) - 1.0) * _PLOT_ON_PAGES * _MARKS
    legend["y"] = 1.0 + gap / _PLOT
    layout["height"] = round(_PLOT + _AROUND + _ROW * lines + gap)


def _wrapped(title: str) -> str:
    return _broken(title.replace("<br>", " "), 42)


def _wrapped_small(rest: str) -> str:
    style, _, text = rest.partition(">")
    text, end, after = text.partition("</span>")
    return f"{style}>{_broken(text, 48)}{end}{after}"


def _broken(text: str, width: int) -> str:
    """Lines of at most so many letters; entities count as they are written."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])
