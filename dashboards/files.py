"""Files that are replaced as a whole, and figures as files."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import plotly.graph_objects as go
import plotly.io

from silo.errors import InvalidInput

IMAGE_FORMATS = ("png", "svg", "pdf")

_WIDTH, _SCALE = 900, 2
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
            plotly.io.write_images(
                still,
                files,
                width=_WIDTH if columns is None else pixels(columns),
                height=[figure.layout.height for figure in still],
                scale=[
                    (_SCALE if columns is None else _PRINT) if file.suffix == ".png" else 1 for file in files
                ],
            )
        except Exception as error:  # kaleido passes on whatever the browser's start may raise
            first, _, _ = " ".join(str(error).split()).partition(". ")
            reason = first[:200] or type(error).__name__
            raise InvalidInput(f"figure: kaleido can't make {names} ({reason}); {hint}") from error
        return {file.name: file.read_bytes() for file in files}


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
