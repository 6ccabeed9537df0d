"""Drives searches that nothing refuses: leases and nodes first, then the drivers, group by group."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from oracle.errors import LeaseLost, Refused
from oracle.execution import room
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.retrying import DATABASE_ERRORS, reason
from oracle.observers import Observer
from oracle.results import Results
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from trials.secrets import without_secrets

if TYPE_CHECKING:
    from oracle.drivers.cluster import LocalStart
    from oracle.preflight import Facts
    from trials.datasets import LoadOnce


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
    return _run(sessions, runs, driver, workers, load, shared, desk)


def _run(
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
