"""The command that runs a search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oracle.cli.drive import Prepared, drive
from oracle.cli.show import open_ledger, show_comparisons
from oracle.cli.specs import JSON, SPEC
from oracle.errors import LedgerFailed, Refused, ReportFailed
from oracle.ledger import Ledger, Retries, SearchRecord
from oracle.ledger.retrying import DATABASE_ERRORS, reason
from oracle.spec import Spec
from oracle.spec_file import load_variants, naming_variant
from silo.errors import InvalidInput
from trials.secrets import without_secrets

if TYPE_CHECKING:
    from oracle.preflight import Facts
    from trials.datasets.load_once import LoadOnce


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
def run(context: click.Context, spec_file: Path, driver: str, address: str | None, as_json: bool) -> None:
    """Run a search, or go on with it: what the ledger holds is never trained again.

    A spec with variants is one search for each; on Ray they run side by side and share the workers.
    """
    if address and driver != "ray":
        raise click.UsageError("--address goes with --driver ray")
    specs = load_variants(spec_file)
    from trials.datasets import load_dataset  # imports torch, which takes longer than to refuse a spec
    from trials.datasets.load_once import LoadOnce

    with _saying_that_a_ledger_failed(specs.values()), ExitStack() as stack:
        prepared, load = [], LoadOnce(load_dataset)
        retries = Retries(lambda line: click.echo(f"oracle: {line}", err=True))
        for variant, spec in specs.items():
            with naming_variant(spec_file, variant):
                prepared.append(Prepared(spec, *_preflight(spec, driver, stack, load, retries)))
        errors = drive(_groups(prepared, driver), driver, address, load)
        unwritten = None
        try:
            show_comparisons([(search.ledger, search.record) for search in prepared], as_json=as_json)
        except InvalidInput as failure:
            unwritten = failure
    for name, error in errors.items():
        click.echo(
            f"oracle: some trials failed, search {name} stops at their cycle. First error:\n{error}\n"
            f"oracle: run the same command again to retry them",
            err=True,
        )
    if unwritten:
        raise ReportFailed(
            f"every finished trial is in the ledger, but {unwritten}: run the same command again once that "
            f"is mended, or oracle report {spec_file} --out FOLDER"
        )
    if errors:
        context.exit(1)


@contextmanager
def _saying_that_a_ledger_failed(specs: Iterable[Spec]) -> Iterator[None]:
    try:
        yield
    except DATABASE_ERRORS as failure:
        why, would_do = reason(failure), "run"
        if "is full" in why:
            ledgers = sorted({without_secrets(spec.ledger) for spec in specs})
            why, would_do = f"{why}: {', '.join(ledgers)}", "free some space there, and run"
        raise LedgerFailed(
            f"the ledger failed ({why}); no finished trial is lost: {would_do} the same command again"
        ) from failure


def _groups(prepared: list[Prepared], driver: str) -> list[list[Prepared]]:
    """The searches that share workers: those that want the same of them."""
    if driver != "ray":
        return [[search] for search in prepared]
    groups: dict[str, list[Prepared]] = {}
    for search in prepared:
        groups.setdefault(repr(search.spec.resources), []).append(search)
    return list(groups.values())


def _preflight(
    spec: Spec, driver: str, stack: ExitStack, load: LoadOnce, retries: Retries
) -> tuple[Ledger, SearchRecord, Facts]:
    """Everything that can refuse a search, before anything is written about it."""
    from oracle.preflight import check_device, examine, open_runner, prepare

    if driver == "in-process":
        check_device(spec)
        if spec.resources.time_limit:
            click.echo("oracle: resources.time_limit holds on Ray's workers only, not in-process", err=True)
    runner = open_runner(spec, load)
    facts = examine(spec, runner, here=driver == "in-process")
    try:
        runner.store.check_writable()
    except InvalidInput as error:
        raise Refused(str(error)) from error
    ledger = open_ledger(spec.ledger, create=True, retries=retries)
    stack.callback(ledger.close)
    return ledger, prepare(spec, facts, ledger), facts
