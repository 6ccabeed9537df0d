"""The command that shows and writes a search's comparison; ``oracle run`` ends with the same."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oracle.cli.show import LEDGER, TARGET, console, open_searches, read_results
from oracle.cli.specs import JSON, echo_json
from oracle.ledger import Ledger, SearchRecord
from oracle.results import Results
from oracle.spec import Spec
from silo.errors import InvalidInput
from silo.measured import cycles_in_words

if TYPE_CHECKING:
    from dashboards.files import Columns


@click.command()
@TARGET
@LEDGER
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report; by default NAME-report.",
)
@click.option(
    "--image",
    "images",
    type=click.Choice(["png", "svg", "pdf"]),
    multiple=True,
    help="Also write the figures as images, such as --image png --image pdf (needs silo-oracle[images]).",
)
@click.option(
    "--width",
    type=click.Choice(["one", "two"]),
    help="Images as wide as one (85 mm) or two columns (175 mm) of a paper, letters of 7 points or more.",
)
@click.option(
    "--cycles",
    callback=lambda _context, _parameter, value: _numbers(value),
    help="Cycles of the tables in the terminal, Markdown and LaTeX, such as 0,3,5,7,13, with λ in columns.",
)
@JSON
def report(
    target: str,
    ledger: str | None,
    out: Path | None,
    images: tuple[str, ...],
    width: Columns | None,
    cycles: tuple[int, ...] | None,
    as_json: bool,
) -> None:
    """Show what a search has found, and write the report.

    As HTML, Markdown, LaTeX, CSV and JSON; while the search runs, of the cycles that are decided.

    \b
    Example:
      oracle report mine.yaml
    """
    if width and not images:
        raise InvalidInput("--width: is that of images; give --image pdf, too")
    searches = open_searches(target, ledger)
    places = [
        (out / record.name if len(searches) > 1 else out) if out else Path(f"{record.name}-report")
        for _, record in searches
    ]
    show_comparisons(searches, as_json=as_json, folders=places, images=images, width=width, cycles=cycles)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """Numbers between commas."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"--cycles: {text!r} is no list of cycles; give numbers, such as 0,3,5,7"
        ) from None


def show_comparisons(
    searches: Sequence[tuple[Ledger, SearchRecord]],
    *,
    as_json: bool,
    folders: Sequence[Path] | None = None,
    images: Sequence[str] = (),
    width: Columns | None = None,
    cycles: Sequence[int] | None = None,
) -> None:
    """Prints the comparisons and writes their reports; beside the networks unless folders are given.

    Several are also shown side by side.
    """
    from dashboards.style import attempt
    from dashboards.tables.accuracy import side_by_side

    found, data = [], []
    for index, (ledger, record) in enumerate(searches):
        results = read_results(ledger, record)
        place = folders[index] if folders else _report_folder(results.search_spec)
        found.append(results)
        data.append(_show(results, place, as_json=as_json, images=images, width=width, cycles=cycles))
    if as_json:
        echo_json(data if len(data) > 1 else data[0])
    elif len(found) > 1 and any(results.decided for results in found):
        console().print(attempt("the searches side by side", lambda: side_by_side(found), str))


def _show(
    results: Results,
    folder: Path,
    *,
    as_json: bool,
    images: Sequence[str],
    width: Columns | None,
    cycles: Sequence[int] | None,
) -> dict[str, Any]:
    """Writes a report, and prints the comparison unless it is wanted as JSON, which it gives."""
    from dashboards.report import write_report
    from dashboards.style import attempt, failed_table
    from dashboards.tables.comparison import terminal_table, to_json
    from dashboards.tables.table import TerminalTable

    if missing := sorted(set(cycles or ()) - {each.cycle for each in results.decided}):
        raise InvalidInput(
            f"--cycles: search {results.name!r} has not decided {cycles_in_words(missing)}; "
            f"decided are {len(results.decided)}, from 0 on"
        )
    page = write_report(results, folder, kinds=images, columns=width, cycles=cycles)
    if as_json:
        data = attempt("the comparison", lambda: to_json(results), lambda why: {"error": why})
        return {**data, "report": str(page)}
    screen = console()
    if results.decided:
        screen.print(
            attempt(
                "the table",
                lambda: terminal_table(results, cycles),
                lambda why: TerminalTable(table=failed_table(results.name, why)),
            )
        )
    for what, make, style in (
        ("the fit", lambda: str(results.point_fit or ""), ""),
        ("the verdict", results.verdict, "bold"),
        ("what to take", lambda: _recommended(results), ""),
        ("the advice", results.advice_text, ""),
        ("the GPUs", results.gpus_text, ""),
    ):
        if text := attempt(what, make, str):
            screen.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
    screen.print(f"Report: {page}", highlight=False, markup=False, soft_wrap=True)
    return {}


def _recommended(results: Results) -> str:
    found = results.recommendation
    return "" if found is None else f"{found.text}\n{textwrap.indent(found.code, '    ')}"


def _report_folder(spec: Spec) -> Path:
    """Beside the search's networks; in the working directory if those are not on this machine's disk."""
    root = spec.storage_root()
    return Path(f"{spec.name}-report") if "://" in root else Path(root) / "report"
