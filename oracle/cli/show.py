"""Commands that look at what a ledger holds: status, list, report."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from oracle.cli.specs import JSON, echo_json, target_spec
from oracle.comparison import Comparison, load_comparison
from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.spec import Spec

_DEFAULT_LEDGER = Spec.model_fields["ledger"].default
_WIDTH = 110

TARGET = click.argument("target", metavar="SPEC|NAME")
LEDGER = click.option(
    "--ledger",
    envvar="ORACLE_LEDGER",
    help=f"Database URL, if a name is given; by default $ORACLE_LEDGER, then {_DEFAULT_LEDGER}.",
)


@click.command()
@TARGET
@LEDGER
@JSON
def status(target: str, ledger: str | None, as_json: bool) -> None:
    """Say how far a search is, and whether it runs."""
    opened, record = _open(target, ledger)
    comparison = load_comparison(opened, record)
    facts = _status(opened, record, comparison)
    if as_json:
        echo_json(facts)
        return
    for label in ("name", "state", "cycles", "trials", "storage", "verdict"):
        click.echo(f"{label:<9} {facts[label]}")
    if facts["error"]:
        click.echo(f"{'error':<9} {facts['error']}")


@click.command("list")
@LEDGER
@JSON
def list_searches(ledger: str | None, as_json: bool) -> None:
    """List the searches of a ledger."""
    opened = open_ledger(ledger or _DEFAULT_LEDGER, create=False)
    records = opened.searches()
    found = [_status(opened, record, load_comparison(opened, record)) for record in records]
    if as_json:
        echo_json(found)
        return
    table = Table("name", "state", "cycles", "trials", "created", box=None, pad_edge=False)
    for facts in found:
        created = datetime.fromtimestamp(facts["created"]).strftime("%Y-%m-%d %H:%M")
        table.add_row(facts["name"], facts["state"], facts["cycles"], str(facts["trials"]), created)
    _console().print(table)


@click.command()
@TARGET
@LEDGER
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report; by default NAME-report.",
)
@click.option("--png", is_flag=True, help="Also write the figure as PNG (needs silo-oracle[images]).")
@JSON
def report(target: str, ledger: str | None, out: Path | None, png: bool, as_json: bool) -> None:
    """Show the comparison, and write it as HTML, Markdown, CSV and JSON."""
    opened, record = _open(target, ledger)
    show_comparison(opened, record, as_json=as_json, folder=out or Path(f"{record.name}-report"), png=png)


def show_comparison(
    ledger: Ledger, record: SearchRecord, *, as_json: bool, folder: Path | None = None, png: bool = False
) -> None:
    """Prints the comparison and writes the report; beside the ledger's networks unless a folder is given."""
    from dashboards.report import write_report
    from dashboards.tables import terminal_table, to_json

    comparison = load_comparison(ledger, record)
    place = folder or _report_folder(comparison.spec)
    page = write_report(comparison, place, runs=ledger.runs(record.name), png=png)
    if as_json:
        echo_json({**to_json(comparison), "report": str(page)})
        return
    console = _console()
    if comparison.rows:
        console.print(terminal_table(comparison))
    if comparison.fit:
        console.print(str(comparison.fit), highlight=False, markup=False, soft_wrap=True)
    console.print(comparison.verdict(), style="bold", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {page}", highlight=False, markup=False, soft_wrap=True)


def open_ledger(url: str, *, create: bool) -> Ledger:
    """The ledger at a URL."""
    return Ledger(url, create=create)


def _open(target: str, ledger: str | None) -> tuple[Ledger, SearchRecord]:
    spec = target_spec(target)
    url = spec.ledger if spec and not ledger else ledger or _DEFAULT_LEDGER
    name = spec.name if spec else target
    opened = open_ledger(url, create=False)
    record = opened.search(name)
    if record is None:
        known = ", ".join(found.name for found in opened.searches()) or "none"
        raise Refused(f"no search {name!r} in this ledger; there are: {known}")
    return opened, record


def _status(ledger: Ledger, record: SearchRecord, comparison: Comparison) -> dict[str, Any]:
    runs, holder = ledger.runs(record.name), ledger.holder(record.name)
    last = runs[-1] if runs else None
    if comparison.done:
        state = "done"
    elif holder:
        state = f"running ({holder})"
    else:
        state = "interrupted" if last is None or last.state == "running" else last.state
    error = last.error if last and state == "failed" else None
    return {
        "name": record.name,
        "state": state,
        "cycles": f"{len(comparison.rows)}/{comparison.cycles}",
        "trials": comparison.trials,
        "storage": comparison.spec.storage_root(),
        "created": record.created,
        "verdict": comparison.verdict(),
        "error": error,
    }


def _report_folder(spec: Spec) -> Path:
    """Beside the search's networks; in the working directory if those are not on this machine's disk."""
    root = spec.storage_root()
    return Path(f"{spec.name}-report") if "://" in root else Path(root) / "report"


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)
