"""The command that sets searches, and the paper's tables, side by side."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oracle.cli.show import LEDGER, console, open_searches, print_document, read_results
from oracle.cli.specs import target_specs
from oracle.ledger import Ledger, SearchRecord
from silo.errors import InvalidInput

if TYPE_CHECKING:
    from dashboards.report.compare_report import CompareReport

_FOLDER = Path("compare")
_TERMINAL = "terminal"
_FORMS = (_TERMINAL, "markdown", "latex", "csv", "json", "html")


@click.command()
@click.argument("targets", metavar="[SPEC|NAME]...", nargs=-1)
@LEDGER
@click.option(
    "--paper-table",
    type=int,
    metavar="N",
    help="Also show what the paper's Table N prints, 2 to 9 or 12 to 14; without searches, show it alone, 10 "
    "and 11 too.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMS),
    default=_TERMINAL,
    show_default=True,
    help="What is printed.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for the files; by default {_FOLDER}, and none for a table of the paper alone.",
)
def compare(
    targets: tuple[str, ...], ledger: str | None, paper_table: int | None, form: str, out: Path | None
) -> None:
    """Set searches, and tables of the paper, side by side.

    Shows the test accuracy (or your metric) by density, and what each says. A spec with variants stands for
    all of its searches, on the spec's own ledger; --ledger is for names. Writes compare.html, .md, .tex, .csv
    and .json.

    \b
    Example:
      oracle compare mine.yaml other
    """
    from dashboards.report.compare_report import report_text, write_compare_report
    from dashboards.tables.table import TerminalTable

    report = _report(targets, ledger, paper_table)
    folder = out or (_FOLDER if targets else None)
    page = write_compare_report(report, folder) if folder else None
    if form != _TERMINAL:
        print_document(report_text(report, form))
        return
    screen = console()
    for index, table in enumerate(report.tables):
        if index:
            screen.print()
        screen.print(TerminalTable(table=table))
    if page:
        screen.print(f"Files: {page}, .md, .tex, .csv, .json", highlight=False, markup=False, soft_wrap=True)


def _report(targets: tuple[str, ...], ledger: str | None, paper_table: int | None) -> CompareReport:
    from dashboards.report.compare_report import compare_report, paper_report
    from dashboards.tables.paper import paper_series

    if not targets:
        if paper_table is None:
            raise InvalidInput(
                "compare: name the searches, such as: oracle compare A B, or a table of the paper: "
                "oracle compare --paper-table 2"
            )
        return paper_report(paper_table)
    also = [] if paper_table is None else paper_series(paper_table)
    searches = _searches(targets, ledger)
    if len(searches) == 1 and not also:
        raise InvalidInput(
            f"compare: {searches[0][1].name} is one search: name another one, or see it alone by: "
            f"oracle report {targets[0]}"
        )
    return compare_report([read_results(opened, record, draws=0) for opened, record in searches], also=also)


def _searches(targets: tuple[str, ...], ledger: str | None) -> list[tuple[Ledger, SearchRecord]]:
    """The searches of the targets, spec files on their own ledgers, each search once."""
    found = [
        search
        for target in targets
        for search in open_searches(target, None if target_specs(target) else ledger)
    ]
    for name, count in Counter(record.name for _, record in found).items():
        if count > 1:
            raise InvalidInput(f"compare: search {name!r} is given {count} times: name each search once")
    return found
