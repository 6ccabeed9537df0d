"""The command that runs a search."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oracle.cli.progress import progress_observer
from oracle.cli.show import open_ledger, show_comparisons
from oracle.cli.signals import interrupt, interrupt_on_signals
from oracle.cli.specs import JSON, SPEC
from oracle.errors import LeaseLost, LedgerFailed, Refused, ReportFailed
from oracle.ledger import Ledger, Retries, SearchRecord
from oracle.ledger.retrying import DATABASE_ERRORS, reason
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from oracle.spec_file import load_variants, naming_variant
from silo.errors import InvalidInput
from trials.secrets import without_secrets

if TYPE_CHECKING:
    from oracle.preflight import Facts
    from trials.datasets.once import LoadOnce

PREFLIGHT_PASSED = "oracle: preflight passed:"
"""How the line begins after which a search on a cluster isn't refused any more."""

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

    A spec with variants is one search for each; on Ray they run side by side and share the workers.
    """
    if address and driver != "ray":
        raise click.UsageError("--address goes with --driver ray")
    specs = load_variants(spec_file)
    from trials.datasets import load_dataset  # imports torch, which takes longer than to refuse a spec
    from trials.datasets.once import LoadOnce

    with _saying_that_a_ledger_failed(specs.values()), ExitStack() as stack:
        prepared, load = [], LoadOnce(load_dataset)
        retries = Retries(lambda line: click.echo(f"oracle: {line}", err=True))
        for variant, spec in specs.items():
            with naming_variant(spec_file, variant):
                prepared.append(_Prepared(spec, *_preflight(spec, driver, stack, load, retries)))
        errors = {}
        for group in _groups(prepared, driver):
            errors.update(_drive(group, driver, address, load))
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


@dataclass(frozen=True)
class _Prepared:
    """A search that nothing refuses."""

    spec: Spec
    ledger: Ledger
    record: SearchRecord
    facts: Facts


def _groups(prepared: list[_Prepared], driver: str) -> list[list[_Prepared]]:
    """The searches that share workers: those that want the same of them."""
    if driver != "ray":
        return [[search] for search in prepared]
    groups: dict[str, list[_Prepared]] = {}
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


def _drive(group: list[_Prepared], driver: str, address: str | None, load: LoadOnce) -> dict[str, str | None]:
    """Runs searches side by side, each under its lease; gives the first error of those that are stuck."""
    from dashboards.summary_study import SummaryStudy
    from oracle.preflight import clear_failures

    progress = progress_observer(several=len(group) > 1)
    with ExitStack() as stack:
        sessions = []
        for search in group:
            lease = stack.enter_context(
                search.ledger.lease(
                    search.spec.name, waiting=lambda line: click.echo(line, err=True), stopped=interrupt
                )
            )
            observers = [progress, SummaryStudy()]
            # A search that goes on keeps its way, which this preflight may not have found again.
            graphs = search.facts.graphs if search.record.way == search.facts.way else ()
            session = Session(
                search.spec, search.record, search.ledger, lease, observers=observers, graphs=graphs
            )
            if session.search.done:
                search.ledger.register(search.record)
            else:
                sessions.append(session)
        if not sessions:
            return {}
        workers = 1
        if driver == "ray":
            from oracle.drivers.cluster import cluster

            workers = stack.enter_context(cluster(sessions[0].spec, address))
            interrupt_on_signals()  # Ray has set a handler of its own
            sessions = [_measured(session, workers) for session in sessions]
            if address is not None:
                _check_cluster(sessions, workers)
        runs = {}
        for session in sessions:
            clear_failures(session.record, session.ledger)
            session.start()
            name = session.spec.name
            runs[name] = session.ledger.start_run(
                name, driver=driver, host=platform.node(), versions=_versions()
            )
        return _run(sessions, runs, driver, workers, load)


def _check_cluster(sessions: list[Session], workers: int) -> None:
    """What can only be found out on the nodes of a cluster that others started."""
    from oracle.drivers.cluster import is_open
    from oracle.drivers.nodes import check_nodes
    from oracle.drivers.tokens import OPEN

    if is_open():
        click.echo(f"oracle: {OPEN}", err=True)
    nodes = check_nodes({session.spec.name: (session.spec, session.record.way) for session in sessions})
    if not nodes:
        click.echo("oracle: no node is there yet: neither storage nor memory could be looked at", err=True)
    click.echo(
        f"{PREFLIGHT_PASSED} {workers} worker{'s' * (workers != 1)} on {nodes} node{'s' * (nodes != 1)}",
        err=True,
    )


def _measured(session: Session, workers: int) -> Session:
    """The session of a new search with the way that a worker measures, where this process didn't."""
    from oracle.drivers.nodes import choose_way_on_worker
    from oracle.ways import measured_on_workers

    name = session.spec.name
    if not measured_on_workers(session.spec) or session.ledger.search(name) is not None:
        return session
    click.echo(f"oracle: a worker measures how to train {name!r} fastest", err=True)
    choice = choose_way_on_worker(session.spec, workers)
    if choice is None:
        click.echo("oracle: that failed; a rule of thumb decides", err=True)
        return session
    return session.in_another_way(choice.way, choice.reason, choice.graphs)


def _run(
    sessions: list[Session], runs: dict[str, str], driver: str, workers: int, load: LoadOnce
) -> dict[str, str | None]:
    signals: dict[str, Signal] = {}
    state, broken = "failed", None
    try:
        if driver == "ray":
            from oracle.drivers import ray_tune

            signals = ray_tune.run(sessions, workers, load.kept)
        else:
            from oracle.drivers import in_process

            (session,) = sessions
            signals = {session.spec.name: in_process.run(session, load)}
        return {s.spec.name: s.first_error for s in sessions if signals[s.spec.name] is not Signal.DONE}
    except LeaseLost:
        state = "taken over"
        raise
    except KeyboardInterrupt:
        state = "interrupted"
        names = ", ".join(repr(session.spec.name) for session in sessions if not session.search.done)
        click.echo(
            f"oracle: search {names} is interrupted; every finished trial is in the ledger. "
            "Run the same command again to go on",
            err=True,
        )
        raise
    except Exception as failure:
        broken = reason(failure)
        raise
    finally:
        failing = sys.exception() is not None  # by what the database's own failure must not hide
        for session in sessions:
            if failing:
                session.ledger.retries.give_up()
            stuck = signals.get(session.spec.name) is Signal.STUCK
            ended = "done" if session.search.done else "failed" if signals else state
            session.end(ended)
            error = session.first_error if stuck else None if session.search.done else broken
            with suppress(*DATABASE_ERRORS) if failing else nullcontext():
                session.ledger.end_run(runs[session.spec.name], state=ended, error=without_secrets(error))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
