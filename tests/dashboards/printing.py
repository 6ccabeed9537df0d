"""Tables as a terminal without colours shows them, and the texts that they are compared with."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

_GOLDEN = Path(__file__).parent / "golden"


def traces(figure: Any) -> dict[str, Any]:
    """A figure's traces by name."""
    return {trace.name: trace for trace in figure.data if trace.name}


def golden(name: str) -> str:
    """A file of ``golden``."""
    return (_GOLDEN / name).read_text(encoding="utf-8")


def printed(table: Any, width: int) -> str:
    """What a terminal of a width shows, without the spaces at the lines' ends."""
    console = Console(width=width, file=io.StringIO(), no_color=True, force_terminal=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"
