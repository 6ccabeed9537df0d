"""Searches from Python: what the commands do, without a command line.

import oracle

results = oracle.run("mine.yaml", driver="in-process")
results.intervals
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from oracle.driving import Interrupt, Prepared, drive, interrupt_main
from oracle.errors import LedgerFailed, Refused, TrialsFailed
from oracle.interrupts import check, remembering
from oracle.ledger import Ledger, Retries, SearchRecord
from oracle.ledger.database import check_url
from oracle.ledger.retrying import DATABASE_ERRORS, reason
from oracle.observers import Observer, careful, make_observers
from oracle.preflight import cautions
from oracle.results import Results
from oracle.spec import Spec
from oracle.spec_file import load_variants, naming_variant
from silo.errors import InvalidInput, SiloOracleError
from trials.secrets import without_secrets
from trials.tasks import Execution

if TYPE_CHECKING:
    from oracle.drivers.cluster import LocalStart
    from trials.datasets import LoadOnce

    Source = Spec | str | Path

DriverName = Literal["ray", "in-process"]

_log = logging.getLogger("oracle")


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
    specs = {"": spec} if isinstance(spec, Spec) else load_variants(spec)
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
        import torch  # which takes longer than to refuse a spec

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
