"""Tables and a figure about several searches, as files and in every form."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import plotly.graph_objects as go

from dashboards.figures.accuracy import accuracy_figure
from dashboards.report.report import figure_html, page
from dashboards.style import attempt, failed_figure, failed_table, replace_file
from dashboards.tables.accuracy import AccuracySeries, accuracy_table, measure_of, series_of
from dashboards.tables.paper import paper_table
from dashboards.tables.searches import cost_table, search_table
from dashboards.tables.table import Table, csv_text, heading_text, latex, markdown, to_json
from oracle.results import Results
from silo.errors import InvalidInput

ENDINGS = {"html": "html", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}
"""The forms of a report, and what their files' names end in."""

_MOST_NAMES = 2


@dataclass(frozen=True, kw_only=True)
class CompareReport:
    """Tables and a figure that are shown together.

    Attributes:
        title: A line.
        tables: The first is what CSV holds.
        figure: What the page begins with; None without one.
    """

    title: str
    tables: tuple[Table, ...]
    figure: go.Figure | None = None


def compare_report(searches: Sequence[Results], *, also: Sequence[AccuracySeries] = ()) -> CompareReport:
    """Searches side by side: their test scores, what each says, and what it took.

    Args:
        searches: The searches.
        also: What is to stand beside them, such as the lines of ``dashboards.tables.paper``.

    Raises:
        InvalidInput: They are judged by different metrics.
    """
    measure = measure_of([*series_of(searches, [results.name for results in searches]), *also])
    names = [results.name for results in searches]
    listed = f"{len(names)} searches" if len(names) > _MOST_NAMES else " and ".join(names)
    return CompareReport(
        title=f"{listed} beside the paper" if also else f"{listed} side by side",
        tables=(
            _table(measure.named("{Scores}"), lambda: accuracy_table(searches, also=also)),
            _table("Searches", lambda: search_table(searches)),
            _table("Costs", lambda: cost_table(searches)),
        ),
        figure=attempt(
            "the figure of the accuracies", lambda: accuracy_figure(searches, also=also), failed_figure
        ),
    )


def _table(title: str, make: Callable[[], Table]) -> Table:
    return attempt(f"the table {title!r}", make, partial(failed_table, title))


def paper_report(number: int) -> CompareReport:
    """A table of the SILO paper.

    Raises:
        InvalidInput: There is no such table.
    """
    table = paper_table(number)
    return CompareReport(title=table.title, tables=(table,))


def report_text(report: CompareReport, form: str) -> str:
    """A report in one of the forms of :data:`ENDINGS`."""
    if form == "html":
        return _html(report)
    if form == "markdown":
        alone = len(report.tables) == 1
        parts = [] if alone else [f"# {heading_text(report.title)}\n"]
        return "\n".join([*parts, *(markdown(table, level=1 if alone else 2) for table in report.tables)])
    if form == "latex":
        return "\n".join(latex(table) for table in report.tables)
    if form == "csv":
        return csv_text(report.tables[0].columns, report.tables[0].records)
    data = {"title": report.title, "tables": [to_json(table) for table in report.tables]}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_compare_report(report: CompareReport, folder: Path) -> Path:
    """Writes ``compare.html``, ``.md``, ``.tex``, ``.csv`` and ``.json``.

    A file is replaced as a whole or not at all.

    Args:
        report: The report.
        folder: Where to; made if it does not exist.

    Returns:
        The path of ``compare.html``.

    Raises:
        InvalidInput: The folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for form, ending in ENDINGS.items():
            replace_file(folder / f"compare.{ending}", report_text(report, form).encode())
    except OSError as error:
        raise InvalidInput(
            f"compare: {folder} can't be written ({error.strerror or error}); name another folder by --out"
        ) from error
    return folder / "compare.html"


def _html(report: CompareReport) -> str:
    drawn = report.figure
    figure = None if drawn is None else figure_html(drawn, "accuracy", with_library=True)
    return page("compare.html", title=report.title, figure=figure, tables=report.tables)
