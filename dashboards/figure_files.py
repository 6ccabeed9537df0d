"""Files that are replaced as a whole, and figures as files."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import plotly.graph_objects as go

from silo.errors import InvalidInput

IMAGE_FORMATS = ("png", "svg", "pdf")

_WIDTH, _SCALE = 900, 2


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
        content = image(figure, path.name, kind)
    try:
        replace_file(path, content)
    except OSError as error:
        raise InvalidInput(f"figure: {path} can't be written ({error.strerror or error})") from error


def image(figure: go.Figure, name: str, kind: str = "png") -> bytes:
    """A figure as an image.

    Args:
        figure: The figure.
        name: What the file will be called.
        kind: One of :data:`IMAGE_FORMATS`.

    Raises:
        InvalidInput: kaleido or a browser is missing, with how to install them.
    """
    hint = (
        "install it by 'pip install silo-oracle[images]', and Chrome or Chromium; BROWSER_PATH names one "
        "that isn't found"
    )
    if importlib.util.find_spec("kaleido") is None:
        raise InvalidInput(f"figure: {name} needs kaleido; {hint}")
    try:
        made: bytes = _still(figure).to_image(format=kind, width=_WIDTH, scale=_SCALE)
    except Exception as error:  # kaleido passes on whatever the browser's start may raise
        first, _, _ = " ".join(str(error).split()).partition(". ")
        reason = first[:200] or type(error).__name__
        raise InvalidInput(f"figure: kaleido can't make {name} ({reason}); {hint}") from error
    return made


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
