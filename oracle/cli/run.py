"""The command that runs a search."""

from __future__ import annotations

import platform
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from oracle.cli.progress import progress_observer
from oracle.cli.show import open_ledger, show_comparisons
from oracle.cli.signals import interrupt_on_sigterm
from oracle.cli.specs import JSON, SPEC
from oracle.errors import LeaseLost, LedgerFailed, Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from oracle.spec_file import load_specs
from silo.errors import InvalidInput
from trials.secrets import without_secrets

_PACKAGES = ("silo-oracle", "torch", "torchvision", "numpy", "ray", "optuna")


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

    A spec with variants is one search for each, one after the other.
    """
    if address and driver != "ray":
        raise click.UsageError("--address goes with --driver ray")
    specs = load_specs(spec_file)
    with ExitStack() as stack:
        prepared = [(spec, *_preflight(spec, stack)) for spec in specs]
        errors = {}
        for spec, ledger, record in prepared:
            try:
                signal, error = _drive(spec, record, ledger, driver, address)
            except (SQLAlchemyError, StorageInternalError) as failure:
                reason = " ".join(str(getattr(failure, "orig", None) or failure).split())
                raise LedgerFailed(
                    f"the ledger failed ({reason}); no finished trial is lost: run the same command again"
                ) from failure
            if signal is Signal.STUCK:
                errors[spec.name] = error
        show_comparisons([(ledger, record) for _, ledger, record in prepared], as_json=as_json)
    for name, error in errors.items():
        click.echo(
            f"oracle: some trials failed, search {name} stops at their cycle. First error:\n{error}\n"
            f"oracle: run the same command again to retry them",
            err=True,
        )
    if errors:
        context.exit(1)


def _preflight(spec: Spec, stack: ExitStack) -> tuple[Ledger, SearchRecord]:
    """Everything that can refuse a search, before anything is written about it."""
    from oracle.preflight import examine, open_runner, prepare

    runner = open_runner(spec)
    facts = examine(spec, runner)
    try:
        runner.store.check_writable()
    except InvalidInput as error:
        raise Refused(str(error)) from error
    ledger = open_ledger(spec.ledger, create=True)
    stack.callback(ledger.close)
    return ledger, prepare(spec, facts, ledger)


def _drive(
    spec: Spec, record: SearchRecord, ledger: Ledger, driver: str, address: str | None
) -> tuple[Signal, str | None]:
    """Runs the search under its lease; gives how it ended and the first error of what failed for good."""
    from dashboards.summary_study import SummaryStudy

    observers = [progress_observer(), SummaryStudy()]
    with ExitStack() as stack:
        lease = stack.enter_context(ledger.lease(spec.name, waiting=lambda line: click.echo(line, err=True)))
        session = Session(spec, record, ledger, lease, observers=observers)
        if session.search.done:
            ledger.register(record)
            return Signal.DONE, None
        workers = 1
        if driver == "ray":
            from oracle.drivers import ray_tune

            workers = stack.enter_context(ray_tune.cluster(spec, address))
            interrupt_on_sigterm()  # Ray has set a handler of its own
        session.start()
        run_id = ledger.start_run(spec.name, driver=driver, host=platform.node(), versions=_versions())
        return _run(session, ledger, run_id, driver, workers)


def _run(
    session: Session, ledger: Ledger, run_id: str, driver: str, workers: int
) -> tuple[Signal, str | None]:
    state, error = "failed", None
    try:
        if driver == "ray":
            from oracle.drivers import ray_tune

            signal = ray_tune.run(session, workers)
        else:
            from oracle.drivers import in_process

            signal = in_process.run(session)
        state, error = ("done", None) if signal is Signal.DONE else ("failed", session.first_error)
        return signal, error
    except LeaseLost:
        state = "taken over"
        raise
    except KeyboardInterrupt:
        state = "interrupted"
        click.echo(
            f"oracle: search {session.spec.name!r} is interrupted; every finished trial is in the ledger. "
            "Run the same command again to go on",
            err=True,
        )
        raise
    finally:
        session.end(state)
        ledger.end_run(run_id, state=state, error=without_secrets(error))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
