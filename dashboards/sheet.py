"""Tables and a figure about several searches, as files and in every form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from dashboards import _page
from dashboards._lines import Line
from dashboards.accuracies import accuracy_figure
from dashboards.figure_files import replace_file
from dashboards.latex import latex
from dashboards.paper import paper_table
from dashboards.searches import search_table
from dashboards.side_by_side import accuracy_table
from dashboards.table import Table
from dashboards.table_forms import csv_text, heading_text, html, markdown, to_json
from oracle.comparison import Comparison
from silo.errors import InvalidInput

ENDINGS = {"html": "html", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}
"""The forms of a sheet, and what their files' names end in."""

_MOST_NAMES = 2


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is shown together.

    Attributes:
        title: A line.
        tables: The first is what CSV holds.
        figure: What the page begins with; None without one.
    """

    title: str
    tables: tuple[Table, ...]
    figure: go.Figure | None = None


def compare_sheet(comparisons: Sequence[Comparison], *, also: Sequence[Line] = ()) -> Sheet:
    """Searches side by side: their accuracies, and what each says.

    Args:
        comparisons: The searches.
        also: What is to stand beside their accuracies, such as the lines of ``dashboards.paper``.
    """
    names = [comparison.name for comparison in comparisons]
    listed = f"{len(names)} searches" if len(names) > _MOST_NAMES else " and ".join(names)
    return Sheet(
        title=f"{listed} beside the paper" if also else f"{listed} side by side",
        tables=(accuracy_table(comparisons, also=also), search_table(comparisons)),
        figure=accuracy_figure(comparisons, also=also),
    )


def paper_sheet(number: int) -> Sheet:
    """A table of the SILO paper.

    Raises:
        InvalidInput: There is no such table.
    """
    table = paper_table(number)
    return Sheet(title=table.title, tables=(table,))


def sheet_text(sheet: Sheet, form: str) -> str:
    """A sheet in one of the forms of :data:`ENDINGS`."""
    if form == "html":
        return _html(sheet)
    if form == "markdown":
        alone = len(sheet.tables) == 1
        parts = [] if alone else [f"# {heading_text(sheet.title)}\n"]
        return "\n".join([*parts, *(markdown(table, level=1 if alone else 2) for table in sheet.tables)])
    if form == "latex":
        return "\n".join(latex(table) for table in sheet.tables)
    if form == "csv":
        return csv_text(sheet.tables[0].columns, sheet.tables[0].records)
    data = {"title": sheet.title, "tables": [to_json(table) for table in sheet.tables]}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_sheet(sheet: Sheet, folder: Path) -> Path:
    """Writes ``compare.html``, ``.md``, ``.tex``, ``.csv`` and ``.json``.

    A file is replaced as a whole or not at all.

    Args:
        sheet: The sheet.
        folder: Where to; made if it does not exist.

    Returns:
        The path of ``compare.html``.

    Raises:
        InvalidInput: The folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for form, ending in ENDINGS.items():
            replace_file(folder / f"compare.{ending}", sheet_text(sheet, form).encode())
    except OSError as error:
        raise InvalidInput(
            f"compare: {folder} can't be written ({error.strerror or error}); name another folder by --out"
        ) from error
    return folder / "compare.html"


def _html(sheet: Sheet) -> str:
    parts = [_page.heading(sheet.title, level=1)]
    if sheet.figure is not None:
        parts.append(_page.figure(sheet.figure, "accuracy", with_library=True))
    for table in sheet.tables:
        if table.title != sheet.title:
            parts.append(_page.heading(table.title))
        parts.append(html(table))
    return _page.page(sheet.title, parts)
