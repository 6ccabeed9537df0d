"""The command that runs a search, and the signals that interrupt one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from oracle.cli.progress import progress_observer
from oracle.cli.report import show_comparisons
from oracle.cli.specs import JSON, SPEC
from oracle.errors import ReportFailed
from oracle.service import DriverName, searching
from oracle.spec_file import load_variants
from silo.errors import InvalidInput


@click.command()
@SPEC
@click.option(
    "--driver",
    type=click.Choice(["ray", "in-process"]),
    default="ray",
    show_default=True,
    help="Ray Tune's workers, or this process alone.",
)
@click.option("--address", help="Address of a running Ray cluster; by default one is started here.")
@JSON
@click.pass_context
def run(
    context: click.Context, spec_file: Path, driver: DriverName, address: str | None, as_json: bool
) -> None:
    """Run a search from this terminal, to its end.

    Or go on with it: what the ledger holds is never trained again. It starts Ray here, or takes the workers
    of a running cluster by --address; the search lasts as long as this command. To leave one to a cluster:
    'oracle submit'. A spec with variants is one search for each; on Ray they run side by side and share the
    workers.

    \b
    Example:
      oracle run mine.yaml
    """
    if address and driver != "ray":
        raise click.UsageError("--address goes with --driver ray")
    specs = load_variants(spec_file)
    progress = progress_observer(several=len(specs) > 1)
    unwritten = None
    with searching(
        specs, driver=driver, address=address, observers=[progress], path=spec_file, interrupt=interrupt
    ) as found:
        try:
            show_comparisons([(search.ledger, search.record) for search in found], as_json=as_json)
        except InvalidInput as failure:
            unwritten = failure
    failed = [search for search in found if search.stuck]
    for search in failed:
        click.echo(
            f"oracle: some trials failed, search {search.record.name} stops at their cycle. First error:\n"
            f"{search.error}\noracle: run the same command again to retry them",
            err=True,
        )
    if unwritten:
        raise ReportFailed(
            f"every finished trial is in the ledger, but {unwritten}: run the same command again once that "
            f"is mended, or oracle report {spec_file} --out FOLDER"
        )
    if failed:
        context.exit(1)


def interrupt() -> None:
    """Ends this process's search as Ctrl-C does, from any thread."""
    os.kill(os.getpid(), signal.SIGTERM)
