"""A search being run: the state machine, the ledger behind it, and those who watch.

Drivers move tasks; everything else about a search happens here: its storage is marked as its own, its state
machine is restored from the rows of its ledger, and goes on.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from oracle import interrupts
from oracle.cycles import Choice, Cycle
from oracle.errors import Refused
from oracle.identity import Keys, checkpoint_sha256, differences, growth, initial_weights
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.lease import Lease
from oracle.ledger.ledger import cycle_name
from oracle.ledger.rows import Axis
from oracle.ledger.tables import add_choices, add_rounds, forget_choices, read_choices, read_rounds, reading
from oracle.measure import chance_of
from oracle.observers import Observer
from oracle.policies import Round
from oracle.search import Rules, Search, Signal
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


MARK = ".oracle-search.json"


def claim_storage(store: Store, ledger: Ledger, search: str) -> None:
    """Marks a storage as that of a ledger's search; one that has no mark yet is taken as it is.

    Two ledgers that give a search the same name and the same storage would delete each other's networks.
    A ledger or a storage that was moved, or both copied together, are marked anew.

    Raises:
        Refused: It is that of another search, or of another ledger's.
    """
    shown = without_secrets(store.root)
    own = {"search": search, "ledger": ledger.identity(), "place": ledger.place(), "storage": shown}
    data = json.dumps(own).encode()
    try:
        found = store.claim(MARK, data)
    except OSError as error:
        raise Refused(
            f"storage {shown}: its mark {MARK} can't be read or written ({error.strerror or error}); make "
            "it so, or name another storage"
        ) from error
    if found == data:
        return
    try:
        mark = {name: str(json.loads(found)[name]) for name in own}
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(
            f"storage {shown}: its mark {MARK} can't be read; delete that file if the networks there are "
            f"those of search {search!r} in this ledger, or name another storage"
        ) from error
    if (mark["search"], mark["ledger"]) != (search, own["ledger"]):
        raise Refused(
            f"storage {shown} holds the networks of search {mark['search']!r} of another ledger, "
            f"{mark['place']}; give this search another name or storage, or delete that folder if nobody "
            "needs them any more"
        )
    if mark["storage"] == own["storage"] and _is_another_file(mark["place"], str(own["place"])):
        raise Refused(
            f"storage {shown} holds the networks of the ledger {mark['place']}, of which this one is a copy; "
            "name another storage, or go on with that ledger"
        )
    store.write_bytes(MARK, data)


def _is_another_file(one: str, other: str) -> bool:
    """Whether two places are files that are both there, and not the same."""
    there = os.path.isfile(one) and os.path.isfile(other)
    return there and not os.path.samefile(one, other)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a ledger holds of a search.

    Attributes:
        outcomes: All finished trials by their keys.
        prunings: All pruned networks.
        choices: What was chosen to be pruned.
        baseless: Cycles of other choices, which nothing is left of: neither a training nor a later one.
        known: The choices that there were before the outcomes were read.
        rounds: Cycle to what a selective policy has asked for.
    """

    outcomes: Mapping[str, Trial]
    prunings: tuple[PrunedNetwork, ...]
    choices: tuple[Choice, ...]
    baseless: tuple[int, ...]
    known: tuple[Choice, ...]
    rounds: Mapping[int, Sequence[Round]]

    @classmethod
    def of(cls, ledger: Ledger, record: SearchRecord) -> Recorded:
        """What is recorded of a search that is run now: nothing of one that begins anew.

        Raises:
            Refused: A row can't be read.
        """
        if begins_anew(ledger, record):
            return cls(outcomes={}, prunings=(), choices=(), baseless=(), known=(), rounds={})
        return cls.read(ledger, record.name)

    @classmethod
    def read(cls, ledger: Ledger, name: str) -> Recorded:
        """Reads it; the outcomes first, as all that explains one is written before it is.

        Raises:
            Refused: A row can't be read.
        """
        known = read_choices(ledger, name)
        outcomes = ledger.outcomes(name)
        last = max((trial.cycle for trial in outcomes.values()), default=-1)
        choices = read_choices(ledger, name)
        return cls(
            outcomes=outcomes,
            prunings=ledger.prunings(name),
            choices=tuple(choice for choice in choices if choice.cycle <= last),
            known=known,
            baseless=tuple(choice.cycle for choice in choices if choice.cycle > last),
            rounds=read_rounds(ledger, name),
        )

    def undone(self, search: Search) -> list[int]:
        """Cycles that were decided among as many replicates, and aren't by what is there."""
        if search.rules.growth != 1:  # they get their part of a larger budget first
            return []
        count = search.rules.replicates
        return [each.cycle for each in self.known if each.cycle >= search.cycle and each.replicates >= count]

    def search(self, rules: Rules, record: SearchRecord, choices: Sequence[Choice] | None = None) -> Search:
        """The state machine that these rules make of it.

        Args:
            rules: The rules.
            record: The search as the ledger knows it, or will know it.
            choices: What was chosen, if that is not what is recorded.

        Raises:
            Refused: A row does not belong to the search.
        """
        self._check_scores(record)
        rounds = self.rounds if rules.policy.selective else {}
        check = _Check(record, self.outcomes)
        search = Search(rules, self.choices if choices is None else choices, rounds, check)
        search.restore(self.outcomes.values(), self.prunings)
        return search

    def _check_scores(self, record: SearchRecord) -> None:
        """Refuses scores out of the metric's range, where it has one: accuracy lies in [0, 1]."""
        if record.spec.get("metric", {}).get("name", "accuracy") != "accuracy":
            return
        for each in self.outcomes.values():
            for name, score in (("validation", each.score), ("test", each.test_score)):
                missing = name == "test" and math.isnan(score)  # a loop of one's own may give none
                if not (missing or 0 <= score <= 1):
                    raise Refused(
                        f"ledger: search {record.name!r}, cycle {each.cycle}, max_lr {each.max_lr:g}, "
                        f"replicate {each.replicate}: its {name} accuracy is {score:g}, not in [0, 1]; put "
                        f"back what was there, or delete study {cycle_name(record.name, each.cycle)!r} and "
                        "run the search again, which trains it anew"
                    )


def begins_anew(ledger: Ledger, record: SearchRecord) -> bool:
    """Whether a search that has no results is run under another spec than the one that is recorded."""
    known = ledger.search(record.name)
    return known is not None and bool(
        known.execution != record.execution or differences(known.identity, record.identity)
    )


class _Check:
    """Refuses rows that say they belong to a search and don't; see :data:`oracle.search.Check`.

    A trial of cycle m starts from what the cycles before it chose, so whether its row belongs to the search
    is known once those are decided, and not before: the rows are looked at cycle by cycle, by whoever reads
    them.
    """

    def __init__(self, record: SearchRecord, outcomes: Mapping[str, Trial]) -> None:
        self._record = record
        self._keys: Keys | None = None
        self._rows: dict[int, list[tuple[str, Trial]]] = defaultdict(list)
        for key, outcome in outcomes.items():
            self._rows[outcome.cycle].append((key, outcome))

    def __call__(self, decisions: Sequence[Cycle], pruned: Sequence[PrunedNetwork]) -> list[PrunedNetwork]:
        rows = self._rows.pop(len(decisions), [])
        if rows:
            if self._keys is None:
                with reading(self._record.name, "its row of oracle_searches"):
                    self._keys = Keys(self._record.identity, self._record.execution, decisions)
            for key, outcome in rows:
                if not _is_key(self._keys, key, outcome):
                    why = "it was edited, or a cycle before it was decided otherwise"
                    raise self._refused(outcome, why)
        made = {each.replicate for each in pruned}
        if lacking := [outcome for _, outcome in rows if decisions and outcome.replicate not in made]:
            raise self._refused(lacking[0], "nothing is recorded of the pruned network that it started from")
        selected = {trial.replicate: trial for trial in decisions[-1].selected.trials} if pruned else {}
        others = [
            each for each in pruned if each.parent not in (None, selected[each.replicate].checkpoint.sha256)
        ]
        for other in others:
            if trained := [outcome for _, outcome in rows if outcome.replicate == other.replicate]:
                why = "the cycle before was trained anew since, and came out otherwise"
                raise self._refused(trained[0], why)
        return others

    def _refused(self, outcome: Trial, why: str) -> Refused:
        name = self._record.name
        return Refused(
            f"ledger: the row of cycle {outcome.cycle}, max_lr {outcome.max_lr:g}, replicate "
            f"{outcome.replicate} does not belong to search {name!r} as its rows stand: {why}. Delete "
            f"study {cycle_name(name, outcome.cycle)!r} and those of later cycles and run the search again, "
            "which trains them anew, or run it under a new name"
        )


def _is_key(keys: Keys, key: str, outcome: Trial) -> bool:
    known = outcome.replicate < keys.replicates
    return known and key == keys.key(outcome.cycle, outcome.replicate, outcome.max_lr)


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
