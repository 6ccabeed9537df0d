"""A search being run: the state machine, the ledger behind it, and those who watch.

Drivers move tasks; everything else about a search happens here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from oracle import interrupts
from oracle.claim import claim_storage
from oracle.cycles import Choice, Cycle
from oracle.identity import Keys, checkpoint_sha256, growth, initial_weights
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.choices import add_choices, forget_choices
from oracle.ledger.lease import Lease
from oracle.ledger.rounds import add_rounds
from oracle.ledger.rows import Axis
from oracle.measure import chance_of
from oracle.observers import Observer
from oracle.restoring import Recorded
from oracle.search import Rules, Signal
from oracle.spec import Spec, recorded_rule
from silo.errors import InvalidInput
from trials.secrets import without_secrets
from trials.tasks import (
    Damaged,
    Execution,
    Failed,
    PrunedNetwork,
    PruneNetwork,
    Recipe,
    Result,
    Task,
    TrainPack,
    Trial,
    WeightsFingerprint,
)

if TYPE_CHECKING:
    from trials.checkpoints import Store

_HALF_WRITTEN = re.compile(r"cycle-[^/]*/replicate-[^/]*/\.[^/]*\.tmp$")


class Session:
    """Runs a search's bookkeeping between the drivers and the ledger.

    Making one reads the ledger only; :meth:`start` is the first to write.

    What a driver tells is in the ledger before the state machine hears of it, so that nothing is decided on
    an outcome that could be lost.

    Args:
        spec: The spec.
        record: The search as the ledger knows it.
        ledger: The open ledger.
        lease: The lease, held.
        observers: Those who watch.
        attempts: How often a task is tried.
        graphs: What this process has compiled for the record's way: workers on this machine load it.
        workers: How many of them train side by side, as far as that plays a part.
    """

    def __init__(
        self,
        spec: Spec,
        record: SearchRecord,
        ledger: Ledger,
        lease: Lease,
        *,
        observers: Sequence[Observer] = (),
        attempts: int = 3,
        graphs: tuple[str, ...] = (),
        workers: int = 1,
    ) -> None:
        self.spec, self.record = spec.model_copy(update={"decide": recorded_rule(record.spec)}), record
        self.ledger, self._lease = ledger, lease
        self.graphs = graphs
        self.observers = observers
        rules = search_rules(spec, record, attempts=attempts, workers=workers)
        recorded = Recorded.of(ledger, record)
        self._before = self._chosen_before(rules, recorded)
        self.search = recorded.search(rules, record, self._before)
        self.keys = Keys(record.identity, record.execution, self.search.decisions)
        self._baseless = recorded.baseless
        self._recorded, self._asked = dict(recorded.outcomes), dict(recorded.rounds)
        self._resumed = len(self._recorded)
        self._first_error: str | None = None
        self._workers = workers
        span = self.search.rules.policy.span(spec.cycles)
        self._axis = Axis(low=span.low, high=span.high, log=span.scale == "log", name=rules.measure.searched)

    def with_execution(self, execution: Execution, reason: str, graphs: tuple[str, ...]) -> Session:
        """The same session, of a search that hasn't begun, with its trainings computed in another way."""
        record = replace(self.record, execution=execution, execution_reason=reason)
        return self._with(record, graphs, self._workers)

    def with_workers(self, workers: int) -> Session:
        """The same session with so many workers."""
        return self._with(self.record, self.graphs, workers)

    def _with(self, record: SearchRecord, graphs: tuple[str, ...], workers: int) -> Session:
        return Session(
            self.spec,
            record,
            self.ledger,
            self._lease,
            observers=self.observers,
            graphs=graphs,
            workers=workers,
        )

    @property
    def recipe(self) -> Recipe:
        """The recipe that the workers are given."""
        return self.spec.recipe(
            execution=self.record.execution, checkpoint=checkpoint_sha256(self.record.identity)
        )

    @property
    def initial(self) -> tuple[WeightsFingerprint, ...]:
        """Fingerprints of the weights that the search began with, by replicate."""
        return initial_weights(self.record.identity)

    @property
    def first_error(self) -> str | None:
        """Why the search is stuck, if it is."""
        return self._first_error or self.search.refusal

    @property
    def resumed(self) -> int:
        """Finished trials that the ledger held when the session began."""
        return self._resumed

    def start(self) -> None:
        """Registers the search, clears up after a driver that was killed, and tells those who watch."""
        self.finish()
        for observer in self.observers:
            observer.started(self)

    def finish(self) -> None:
        """Registers the search, and does what a driver that was killed has left undone of what is decided."""
        # First: once more replicates are registered, nothing else tells what was chosen without them.
        self.claim_storage()
        forget_choices(self.ledger, self.spec.name, self._baseless)
        add_choices(self.ledger, self.spec.name, self._before)
        self.ledger.register(self.record)
        self._record_choices(self.search.decisions)
        self._record_rounds()
        self._sweep()

    def claim_storage(self) -> None:
        """Marks the storage as this search's, before anything is written to it.

        Raises:
            Refused: It is that of another search, or of another ledger's.
        """
        claim_storage(self._store, self.ledger, self.spec.name)

    def end(self, state: str) -> None:
        """Tells those who watch that the search ends, and how: see :meth:`Observer.ended`."""
        for observer in self.observers:
            observer.ended(self, state)

    def ask(self) -> Task | Signal:
        """The next task, or why there is none.

        Raises:
            KeyboardInterrupt: This process was interrupted, and a library has swallowed that.
        """
        interrupts.check()
        return self.search.ask()

    def tell(self, task: Task, result: Result) -> None:
        """Records a task's result and what follows from it.

        Raises:
            LeaseLost: Another driver has taken the search over; nothing was written.
            StorageFailed: No worker can write its files before somebody sees to the storage.
        """
        self._lease.check()
        before = len(self.search.decisions)
        if isinstance(result, Failed | Damaged):
            interrupts.check()  # an interrupt within a library may look like its failure
            self._tell_trouble(task, result)
        elif isinstance(result, PrunedNetwork):
            assert isinstance(task, PruneNetwork)
            result = replace(result, parent=task.parent.sha256)
            self.ledger.add_pruning(self.spec.name, result)
            self.search.tell(task, result)
            for observer in self.observers:
                observer.pruned(self, result)
        else:
            new = self._record(result)
            self.search.tell(task, result)
            for observer in self.observers if new else ():
                observer.trained(self, new)
            if self.search.hold_together(max((each.pack for each in result if each.halved), default=0)):
                self._tell_halved(task)
            if task.cycle < before:
                self._discard_losers(self.search.decisions[task.cycle])
        self._record_choices(self.search.decisions[before:])
        self._record_rounds(before)
        for decision in self.search.decisions[before:]:
            self._discard_losers(decision)
            for observer in self.observers:
                observer.decided(self, decision)

    def _chosen_before(self, rules: Rules, recorded: Recorded) -> tuple[Choice, ...]:
        """The choices of cycles that were decided, with the replicates that there were."""
        known = self.ledger.search(self.spec.name)
        if known is None or known.spec.get("replicates", rules.replicates) >= rules.replicates:
            return recorded.choices
        fewer = recorded.search(replace(rules, replicates=known.spec["replicates"]), self.record)
        # Those recorded win: where replicates grew before, not every cycle may be decided anew yet.
        found = {each.choice.cycle: each.choice for each in fewer.decisions}
        found |= {choice.cycle: choice for choice in recorded.choices}
        return tuple(found[cycle] for cycle in sorted(found))

    def _record_choices(self, decisions: Sequence[Cycle]) -> None:
        """Writes what was chosen, in place of what was chosen among trainings that are no more."""
        before = {choice.cycle: choice for choice in self._before}
        chosen = [each.choice for each in decisions]
        others = [each.cycle for each in chosen if before.get(each.cycle, each) != each]
        forget_choices(self.ledger, self.spec.name, others)
        add_choices(self.ledger, self.spec.name, chosen)

    def _record_rounds(self, first: int = 0) -> None:
        """Writes what a selective policy asked for from a cycle on, before it is trained."""
        if not self.search.rules.policy.selective:
            return
        found = {cycle: self.search.rounds(cycle) for cycle in range(first, self.search.cycle + 1)}
        new = {cycle: rounds for cycle, rounds in found.items() if rounds != self._asked.get(cycle, ())}
        add_rounds(self.ledger, self.spec.name, new)
        self._asked |= new

    def _record(self, outcomes: tuple[Trial, ...]) -> tuple[Trial, ...]:
        """Writes what the ledger lacks; gives the outcomes that are new."""
        keys = {self.keys.key(each.cycle, each.replicate, each.max_lr): each for each in outcomes}
        new = {key: outcome for key, outcome in keys.items() if key not in self._recorded}
        if new:
            self.ledger.add_outcomes(self.spec.name, new, axis=self._axis)
        for key in keys.keys() - new.keys():
            if self._recorded[key].checkpoint != keys[key].checkpoint:
                self.ledger.replace_checkpoint(self.spec.name, key, keys[key])
        self._recorded |= keys
        return tuple(new.values())

    def _tell_trouble(self, task: Task, result: Failed | Damaged) -> None:
        from trials.checkpoints import StorageFailed

        if isinstance(result, Failed) and result.lasting:
            raise StorageFailed(result.error)
        together = self.search.together
        self.search.tell(task, result)
        reason = result.error if isinstance(result, Failed) else f"{result.file.path} is missing or damaged"
        reason = without_secrets(reason)
        for observer in self.observers:
            observer.retried(self, task, reason)
        if self.search.together < together:
            self._tell_halved(task)
        if task not in self.search.failed:
            return
        self._first_error = self._first_error or reason
        if isinstance(task, TrainPack):
            for max_lr in task.max_lrs:
                self.ledger.add_failure(
                    self.spec.name,
                    cycle=task.cycle,
                    replicate=task.replicate,
                    max_lr=max_lr,
                    error=reason,
                    axis=self._axis,
                )

    def _tell_halved(self, task: Task) -> None:
        for observer in self.observers:
            observer.halved(self, task, self.search.together)

    @cached_property
    def _store(self) -> Store:
        from trials.checkpoints import Store  # imports torch

        return Store(self.spec.storage_root())

    def _discard_losers(self, decision: Cycle) -> None:
        """Deletes the networks of a decided cycle that no later cycle can need."""
        self._discard(_losers(decision))

    def _discard(self, paths: Iterable[str]) -> None:
        """Deletes files. No search ends because one can't be deleted: the next run's sweep finds it."""
        for path in paths:
            try:
                self._store.delete(path)
            except (OSError, InvalidInput):
                return

    def _sweep(self) -> None:
        """Deletes what an earlier run may have left: half-written files, networks of decided cycles."""
        losers = {path for decision in self.search.decisions for path in _losers(decision)}
        try:
            found = self._store.files()
        except OSError:
            return
        self._discard(path for path in sorted(found) if path in losers or _HALF_WRITTEN.match(path))


def _losers(decision: Cycle) -> Iterator[str]:
    """Files of the networks of a decided cycle that no later cycle can need."""
    for candidate in decision.candidates:
        if candidate.max_lr != decision.chosen:
            yield from (trial.checkpoint.path for trial in candidate.trials)


def search_rules(spec: Spec, record: SearchRecord, *, attempts: int = 3, workers: int = 1) -> Rules:
    """The rules of a search."""
    measure = spec.measure()
    chance = chance_of(record.identity, measure)
    policy = spec.policy_of_rates()
    return Rules(
        policy=policy,
        cycles=spec.cycles,
        replicates=spec.replicates,
        tolerance=measure.within,
        measure=measure,
        decide=recorded_rule(record.spec),
        chance=None if chance is None else chance.highest,
        pack_size=record.execution.pack_size,
        together=spec.training.pack,
        workers=workers,
        attempts=attempts,
        growth=growth(record.identity, policy),
    )
