"""Files that are replaced as a whole, and figures as files."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from dashboards.paper_width import Columns, fitted, pixels
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
