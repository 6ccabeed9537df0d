"""Searches from Python: what the commands do, without a command line.

import oracle

results = oracle.run("mine.yaml", driver="in-process")
results.intervals

Searches that nothing refuses are driven here: leases and nodes first, then the drivers, group by group.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oracle.errors import LeaseLost, LedgerFailed, Refused, TrialsFailed
from oracle.execution import room
from oracle.interrupts import check, remembering
from oracle.ledger import Ledger, Retries, SearchRecord
from oracle.ledger.database import DATABASE_ERRORS, FileReplaced, check_url, reason
from oracle.observers import Observer, careful, make_observers
from oracle.preflight import cautions
from oracle.results import Results
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from oracle.spec_file import given_specs, load_variants, naming_variant
from silo.errors import InvalidInput, SiloOracleError
from trials.imports import uncollected
from trials.secrets import without_secrets
from trials.tasks import Execution

if TYPE_CHECKING:
    from oracle.drivers.cluster import LocalStart
    from oracle.preflight import Facts
    from trials.datasets import LoadOnce


DriverName = Literal["ray", "in-process"]
Source = Spec | str | Path
Interrupt = Callable[[], None]

_PACKAGES = ("silo-oracle", "torch", "torchvision", "numpy", "ray", "optuna")

_log = logging.getLogger("oracle")


def interrupt_main() -> None:
    """Interrupts the main thread as Ctrl-C does.

    By a real signal, so that a thread that waits in a library wakes up. A process that a shell has put into
    the background ignores that one: it is interrupted at its next step in Python.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        main = ctypes.c_ulong(threading.main_thread().ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))
    else:
        os.kill(os.getpid(), signal.SIGINT)


def run(
    spec: Source,
    *,
    driver: DriverName = "ray",
    address: str | None = None,
    observers: Sequence[Observer] = (),
) -> Results:
    """Runs a search, or goes on with it: what the ledger holds is never trained again.

    Everything is checked as ``oracle run`` does it, before anything is written; warnings go to the logger
    ``oracle``. An interrupt keeps every finished trial, and the same call goes on.

    Args:
        spec: A spec, or the YAML file of one.
        driver: ``ray``, or ``in-process`` for this process alone.
        address: Address of a running Ray cluster, ``HOST:PORT``; by default one is started here.
        observers: Who hears of its progress, beside those that the spec names; after an error, which is
            logged, one hears no more, and the search goes on.

    Returns:
        What it has found.

    Raises:
        InvalidInput: The spec is wrong, or has variants.
        Refused: It can't run here and now.
        TrialsFailed: A task failed too often; the rest is in the ledger.
        LedgerFailed: The database stopped answering.
        LeaseLost: Another driver has taken the search over.
        DeviceLost: In this process, which can't use its GPU any more; the rest is in the ledger.
    """
    specs = given_specs(spec)
    if len(specs) > 1:
        names = ", ".join(each.name for each in specs.values())
        raise InvalidInput(f"{spec}: has several variants ({names}): oracle.run_variants runs them")
    (results,) = _run(specs, driver, address, observers, spec)
    return results


def run_variants(
    path: str | Path,
    *,
    driver: DriverName = "ray",
    address: str | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Results]:
    """Runs the variants of a spec file, on Ray side by side; everything else is as for :func:`run`.

    Returns:
        Variant to what it has found; a file without variants has one, named ``""``.
    """
    specs = load_variants(path)
    return dict(zip(specs, _run(specs, driver, address, observers, path), strict=True))


def _run(
    specs: Mapping[str, Spec],
    driver: DriverName,
    address: str | None,
    observers: Sequence[Observer],
    source: Source,
) -> list[Results]:
    place = None if isinstance(source, Spec) else source
    with searching(specs, driver=driver, address=address, observers=observers, path=place) as found:
        for search in found:
            if search.stuck:
                raise TrialsFailed(
                    f"search {search.record.name!r} stops at a cycle whose trials fail; the same call tries "
                    f"them again. First error:\n{search.error}"
                )
        own = {spec.name: spec for spec in specs.values()}
        return [Results.read(each.ledger, each.record, own=own[each.record.name]) for each in found]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A search that a driver has left, done or not.

    Attributes:
        ledger: Its ledger, open.
        record: The search as the ledger knows it.
        stuck: Whether its tasks failed too often.
        error: The first error of one that is stuck, if any is known.
    """

    ledger: Ledger
    record: SearchRecord
    stuck: bool
    error: str | None


@contextmanager
def searching(
    specs: Mapping[str, Spec],
    *,
    driver: DriverName = "ray",
    address: str | None = None,
    observers: Sequence[Observer] = (),
    path: str | Path | None = None,
    interrupt: Interrupt = interrupt_main,
) -> Iterator[list[Finished]]:
    """Runs searches to their ends, or goes on with them; their ledgers are open as long as this lasts.

    Args:
        specs: Variant to spec; one without variants is named ``""``.
        driver: ``ray``, on which variants share workers, or ``in-process``, one after the other.
        address: Address of a running Ray cluster; None starts one here.
        observers: Who hears of their progress.
        path: The file that the specs were read from, for messages.
        interrupt: Ends what this process does as Ctrl-C would, from any thread: somebody asked for it.

    Raises:
        InvalidInput: A spec is wrong.
        Refused: A search can't run here and now.
        LedgerFailed: The database stopped answering.
        LeaseLost: Another driver has taken a search over.
        DeviceLost: In this process, which can't use its GPU any more.
    """
    if driver not in ("ray", "in-process"):
        raise InvalidInput(f"there is no driver {driver!r}: give 'ray' or 'in-process'")
    if address and driver != "ray":
        raise InvalidInput(f"an address goes with driver 'ray', got {address!r} with {driver!r}")
    watching = careful(observers)  # once for all searches: after its first error one hears of none
    with remembering(), _saying_that_a_ledger_failed(specs.values()), ExitStack() as stack:
        start = stack.enter_context(_starting(list(specs.values()), driver, address))
        with uncollected():  # which takes longer than to refuse a spec
            import torch

            from trials.datasets import LoadOnce, load_dataset

        stack.callback(torch.set_num_threads, torch.get_num_threads())  # workers' threads are the spec's
        prepared, load = [], LoadOnce(load_dataset)
        retries = Retries(_log.warning)
        for variant, spec in specs.items():
            check()
            with naming_variant(path or "spec", variant):
                prepared.append(_prepare(spec, driver, stack, load, retries, watching))
        errors = drive(_groups(prepared, driver), driver, address, load, interrupt, start)
        yield [
            Finished(
                ledger=each.ledger,
                record=each.ledger.search(each.spec.name) or each.record,  # as a worker may have measured it
                stuck=each.spec.name in errors,
                error=errors.get(each.spec.name),
            )
            for each in prepared
        ]


def _starting(
    specs: Sequence[Spec], driver: DriverName, address: str | None
) -> AbstractContextManager[LocalStart | None]:
    """Ray and its workers, where they can start here while everything is checked.

    Not for workers that have a GPU, nor beside measurements that take more than this process's own thread;
    nor for searches that were done, which may need no workers.
    """
    few = all(spec.resources.gpus == 0 and spec.recipe(execution=Execution()).threads == 1 for spec in specs)
    if driver != "ray" or address is not None or not few or all(map(_was_done, specs)):
        return nullcontext()
    import ray

    from oracle.drivers.cluster import starting

    return nullcontext() if ray.is_initialized() else starting(specs)


def _was_done(spec: Spec) -> bool:
    """Whether a ledger on this machine says that the search has run to its end."""
    if not spec.ledger.startswith("sqlite"):
        return False
    try:
        with closing(Ledger(spec.ledger)) as ledger:
            runs = ledger.runs(spec.name)
    except (
        SiloOracleError,
        *DATABASE_ERRORS,
    ):  # there is none yet; what else it is is said later
        return False
    return bool(runs) and runs[-1].state == "done"


@contextmanager
def _saying_that_a_ledger_failed(specs: Iterable[Spec]) -> Iterator[None]:
    try:
        yield
    except FileReplaced as failure:
        raise LedgerFailed(
            f"{failure}, and what it was told since is not in what lies there now; put the file back if you "
            "have it, and run the same command again, which trains what is missing"
        ) from failure
    except DATABASE_ERRORS as failure:
        why, would_do = reason(failure), "run"
        if "is full" in why:
            ledgers = sorted({without_secrets(spec.ledger) for spec in specs})
            why, would_do = f"{why}: {', '.join(ledgers)}", "free some space there, and run"
        raise LedgerFailed(
            f"the ledger failed ({why}); no finished trial is lost: {would_do} the same command again"
        ) from failure


def _groups(prepared: list[Prepared], driver: DriverName) -> list[list[Prepared]]:
    """The searches that share workers: those that want the same of them."""
    if driver != "ray":
        return [[search] for search in prepared]
    groups: dict[str, list[Prepared]] = {}
    for search in prepared:
        groups.setdefault(repr(search.spec.resources), []).append(search)
    return list(groups.values())


def _prepare(
    spec: Spec,
    driver: DriverName,
    stack: ExitStack,
    load: LoadOnce,
    retries: Retries,
    observers: Sequence[Observer],
) -> Prepared:
    """Everything that can refuse a search, before anything is written about it."""
    from oracle.preflight import check_device, examine, open_runner, prepare

    check_url(spec.ledger)
    watching = [*observers, *make_observers(spec)]
    if driver == "in-process":
        check_device(spec)
        if spec.resources.time_limit:
            _log.warning("resources.time_limit holds on Ray's workers only, not in-process")
    runner = open_runner(spec, load)
    facts = examine(spec, runner, here=driver == "in-process")
    if facts.never_pruned is not None:
        _log.warning(facts.never_pruned.sentence())
    for note in facts.notes:
        _log.info("data set %r: %s", spec.dataset.name, note)
    if facts.begins:
        _log.info("network %r: %s", spec.network.name, facts.begins)
    for line in facts.warnings:
        _log.warning(line)
    try:
        runner.store.check_writable()
    except InvalidInput as error:
        raise Refused(str(error)) from error
    ledger = Ledger(spec.ledger, create=True, retries=retries)
    stack.callback(ledger.close)
    record = prepare(spec, facts, ledger)
    for line in cautions(spec):
        _log.warning(line)
    return Prepared(spec=spec, ledger=ledger, record=record, facts=facts, observers=watching)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search that nothing refuses."""

    spec: Spec
    ledger: Ledger
    record: SearchRecord
    facts: Facts
    observers: Sequence[Observer]


def drive(
    prepared: list[list[Prepared]],
    driver: str,
    address: str | None,
    load: LoadOnce,
    interrupt: Interrupt = interrupt_main,
    start: LocalStart | None = None,
) -> dict[str, str | None]:
    """Runs groups of searches one after the other, those of a group side by side, each under its lease.

    Whatever can refuse one of them does so before the first of them begins. On Ray a cluster is started here
    unless there is one: at the address, or one that starts already.

    Returns:
        The first error of each search that is stuck.
    """
    with ExitStack() as stack:
        groups: list[list[Session]] = []
        leases: list[ExitStack] = []
        for group in prepared:
            held = stack.enter_context(ExitStack())
            if found := _sessions(group, held, load, interrupt):
                groups.append(found)
                leases.append(held)
            else:
                held.close()
        workers, shared = [1] * len(groups), {}
        if driver == "ray" and groups:
            from oracle.drivers.cluster import cluster
            from oracle.drivers.nodes import check_workers
            from oracle.drivers.shared_data import share

            with _keeping_signals():  # Ray sets a handler of its own
                workers = stack.enter_context(cluster([group[0].spec for group in groups], address, start))
            groups = [
                [_measured(_on_cluster(session, address, count), count) for session in group]
                for group, count in zip(groups, workers, strict=True)
            ]
            shared = share(load.kept)
            if address is not None:
                _check_cluster(groups, workers, shared)
            else:
                for sessions in groups:
                    check_workers(sessions, shared)
        errors: dict[str, str | None] = {}
        desk = None if start is None else start.desk
        for sessions, held, count in zip(groups, leases, workers, strict=True):
            errors.update(_begin(sessions, driver, count, load, shared, desk))
            desk = None  # it is closed
            held.close()  # a search that is stuck doesn't run any more, though this process does
        return errors


def _sessions(group: list[Prepared], stack: ExitStack, load: LoadOnce, interrupt: Interrupt) -> list[Session]:
    """Sessions under their leases, of the searches that are not done yet."""
    from dashboards.optuna.summary_study import SummaryStudy
    from oracle.preflight import open_runner

    sessions = []
    for search in group:
        lease = stack.enter_context(
            search.ledger.lease(search.spec.name, waiting=_log.warning, stopped=interrupt)
        )
        # A search that goes on keeps its execution, which this preflight may not have found again.
        known = search.record.execution == search.facts.execution
        session = Session(
            search.spec,
            search.record,
            search.ledger,
            lease,
            observers=[*search.observers, SummaryStudy()],
            graphs=search.facts.graphs if known else (),
            workers=room(search.spec),
        )
        if session.search.done:
            session.finish()
            settle(search.ledger, Results.read(search.ledger, session.record, draws=0))
        else:
            session.claim_storage()
            # Now, as long as this process holds the data set, whose shape a network is built for.
            open_runner(search.spec, load).begin(session.initial)
            sessions.append(session)
    return sessions


def _check_cluster(groups: list[list[Session]], workers: list[int], shared: Mapping[str, Any]) -> None:
    """Looks at what can only be found out on the nodes of a cluster that others started."""
    from oracle.drivers.cluster import is_open
    from oracle.drivers.nodes import check_nodes, kinds_of_gpu
    from oracle.drivers.tokens import OPEN
    from oracle.jobs.client import PREFLIGHT_PASSED

    if is_open():
        _log.warning(OPEN)
    found = []
    for group, count in zip(groups, workers, strict=True):
        nodes = check_nodes(group, shared)
        if len(kinds := kinds_of_gpu(group[0].spec)) > 1:
            _log.warning(
                "the workers' nodes have different kinds of GPU (%s): candidates of a cycle will differ by "
                "rounding, too",
                ", ".join(kinds),
            )
        if not nodes:
            _log.warning("no node is there yet: storage, data and memory weren't looked at")
        found.append(f"{count} worker{'s' * (count != 1)} on {nodes} node{'s' * (nodes != 1)}")
    _log.info("%s %s", PREFLIGHT_PASSED, ", then ".join(found))


def _on_cluster(session: Session, address: str | None, workers: int) -> Session:
    """The session of a search whose rounds are to keep a whole cluster's workers busy."""
    selective = session.search.rules.policy.selective
    return session.with_workers(workers) if selective and address is not None else session


def _measured(session: Session, workers: int) -> Session:
    """The session of a new search with the execution that a worker measures, where this process didn't."""
    from oracle.drivers.nodes import choose_execution_on_worker
    from oracle.execution import measured_on_workers

    name = session.spec.name
    if not measured_on_workers(session.spec) or session.ledger.search(name) is not None:
        return session
    _log.info("a worker measures how to train %r fastest", name)
    choice = choose_execution_on_worker(session.spec, workers)
    if isinstance(choice, str):
        _log.warning("that failed (%s); a rule of thumb decides", choice)
        record = session.record
        reason = f"{record.execution_reason}; measuring on a worker failed ({choice})"
        return session.with_execution(record.execution, reason, session.graphs)
    return session.with_execution(choice.execution, choice.reason, choice.graphs)


def _begin(
    sessions: list[Session], driver: str, workers: int, load: LoadOnce, shared: Mapping[str, Any], desk: Any
) -> dict[str, str | None]:
    """Runs searches side by side; gives the first error of those that are stuck."""
    from oracle.preflight import clear_failures

    runs = {}
    for session in sessions:
        clear_failures(session.record, session.ledger)
        session.start()
        name = session.spec.name
        runs[name] = session.ledger.start_run(name, driver=driver, host=platform.node(), versions=_versions())
    return _driven(sessions, runs, driver, workers, load, shared, desk)


def _driven(
    sessions: list[Session],
    runs: Mapping[str, str],
    driver: str,
    workers: int,
    load: LoadOnce,
    shared: Mapping[str, Any],
    desk: Any,
) -> dict[str, str | None]:
    signals: dict[str, Signal] = {}
    state, broken = "failed", None
    try:
        if driver == "ray":
            from oracle.drivers import ray_tune

            signals = ray_tune.run(sessions, workers, shared, desk=desk)
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
        _log.warning(
            "search %s is interrupted; every finished trial is in the ledger. Run the same command again to "
            "go on",
            names,
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
            error = session.first_error if stuck else None if session.search.done else broken
            with suppress(*DATABASE_ERRORS) if failing else nullcontext():
                session.ledger.end_run(runs[session.spec.name], state=ended, error=without_secrets(error))
            session.end(ended)


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Gives this process its own signal handlers back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def settled(ledger: Ledger, results: Results) -> Results:
    """The results, once the ledger says how their search ended where nobody runs it any more.

    Nothing is done where a driver holds the lease, or where the ledger can't be written.
    """
    runs = results.recorded_runs
    if runs and runs[-1].state == "done" and not results.done:
        counts = len(results.decided), results.search_spec.cycles
        logging.getLogger("oracle").warning(
            "search %r was done, and %d of its %d cycles are decided: it was extended, or rows are missing; "
            "run it again",
            *(results.name, *counts),
        )
    if _is_settled(ledger, results) or ledger.holder(results.name) is not None:
        return results
    with suppress(Refused, *DATABASE_ERRORS), ledger.lease(results.name):
        settle(ledger, results)
        return replace(results, recorded_runs=ledger.runs(results.name))
    return results


def settle(ledger: Ledger, results: Results) -> None:
    """Ends what the last run has left open, and rewrites the summary study; the search's lease is held.

    A search that has every result is done, and was when the last one came; any other was interrupted.
    """
    if _is_settled(ledger, results):
        return
    from dashboards.optuna.summary_study import write_all  # imports plotly

    ended = max((trial.ended for trial in results.outcomes), default=None)
    state = "done" if results.done else "interrupted"
    ledger.end_abandoned(results.name, state=state, ended=ended if results.done else None)
    if not results.done:
        state = ledger.runs(results.name)[-1].state if results.recorded_runs else state
    try:
        write_all(ledger, replace(results, draws=0), state=state)
    except Exception as error:  # it is decoration, as it is while a search runs
        logging.getLogger("oracle").warning("the summary study can't be written: %s", reason(error))


def _is_settled(ledger: Ledger, results: Results) -> bool:
    runs = results.recorded_runs
    open_ended = bool(runs) and runs[-1].state == "running"
    shown = ledger.summary_state(results.name)
    return not open_ended and shown != "running" and not (results.done and shown != "done")
