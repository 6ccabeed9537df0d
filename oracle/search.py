"""The Oracle as a pure ask/tell state machine: no I/O, no clock, no Ray.

``ask`` gives the next task, ``tell`` takes its result. What is decided depends on the set of outcomes alone,
never on the order in which they came, so that a search that was interrupted ends as one that was not.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from oracle.cycles import Choice, Cycle, PosteriorChoice, Rule, chunks
from oracle.errors import Refused
from oracle.measure import BY_ACCURACY, Measure
from oracle.policies import CycleState, Policy, Round
from silo.landscape.adaptive import work
from trials.tasks import (
    Damaged,
    Failed,
    PrunedNetwork,
    PruneNetwork,
    Result,
    StoredFile,
    Task,
    TrainPack,
    Trial,
)


class Signal(enum.Enum):
    """The answers of ``ask`` when it has no task."""

    WAIT = "wait"
    """The cycle's remaining tasks are out: ask again after a result."""

    DONE = "done"
    """Every cycle is decided."""

    STUCK = "stuck"
    """A task failed too often, so that its cycle can't be decided; nothing is out any more."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of a search.

    Attributes:
        policy: What sets the rates.
        cycles: How many cycles there are; the first trains the dense network.
        replicates: Independent seeds per candidate.
        tolerance: How far below the best mean validation score the interval reaches, of comparable scores.
        measure: How scores are compared.
        decide: What chooses the networks to prune: the best mean, or the landscape's posterior.
        chance: The comparable score up to which a network may be guessing; None if that is not known.
        pack_size: Most candidates in one pack.
        together: Most of them that are trained at a time; None for all.
        workers: How many packs are trained side by side, as far as the policy is to make use of that.
        attempts: How often a task is tried before the search is stuck.
        growth: How many times the budget that the search began with it has now: cycles that are decided get
            their part of what came, too, and what was chosen stays.
    """

    policy: Policy
    cycles: int
    replicates: int
    tolerance: float
    measure: Measure = BY_ACCURACY
    decide: Rule = "point"
    chance: float | None = None
    pack_size: int = 1
    together: int | None = None
    workers: int = 1
    attempts: int = 3
    growth: float = 1.0


Check = Callable[[Sequence[Cycle], Sequence[PrunedNetwork]], Iterable[PrunedNetwork]]
"""(decisions so far, pruned networks of the next cycle) to those of them that were made of other networks.

Raises :class:`oracle.errors.Refused` where an outcome of the next cycle does not belong to it.
"""


class Search:
    """The state of a search.

    Args:
        rules: The rules; they don't change.
        choices: What was chosen already: it stays, and replicates that have come since follow it.
        asked: Cycle to its rounds that are recorded, which stay likewise.
        check: What looks at a cycle before anything is made of its outcomes.
    """

    def __init__(
        self,
        rules: Rules,
        choices: Iterable[Choice] = (),
        asked: Mapping[int, Sequence[Round]] | None = None,
        check: Check | None = None,
    ) -> None:
        self.rules = rules
        self.refusal: str | None = None
        """Why the policy does not go on, where it does not."""
        self._recorded_rounds = asked or {}
        self._choices = {choice.cycle: choice for choice in choices}
        self._by_posterior = PosteriorChoice(rules.tolerance, rules.chance)
        self.decisions: list[Cycle] = []
        self._rounds: list[list[Round]] = [[]]
        self._spent = [0.0]  # before each cycle
        self._outcomes: dict[tuple[int, int, float], Trial] = {}
        self._pruned: dict[tuple[int, int], PrunedNetwork] = {}
        self._lost: set[tuple[int, int, float]] = set()
        self._out: set[Task] = set()
        self._failures: Counter[Task] = Counter()
        self.hopeless: set[Task] = set()
        self._finished: Counter[int] = Counter()
        self._scan: Iterator[Task] | None = None
        self._check, self._unchecked = check, 0
        self.together = min(rules.together or rules.pack_size, rules.pack_size)
        self._begin()

    @property
    def cycle(self) -> int:
        """The cycle under way; ``rules.cycles`` once all are decided."""
        return len(self.decisions)

    @property
    def done(self) -> bool:
        """Whether every cycle is decided."""
        return self.cycle >= self.rules.cycles

    @property
    def failed(self) -> tuple[Task, ...]:
        """Tasks that failed as often as the rules allow, or would fail again."""
        return tuple(t for t, count in self._failures.items() if count >= self.rules.attempts)

    @property
    def out(self) -> frozenset[Task]:
        """Tasks that were asked for and not yet told."""
        return frozenset(self._out)

    def finished(self, cycle: int | None = None) -> int:
        """Trials of a cycle that have an outcome; of all cycles without one."""
        return self._finished.total() if cycle is None else self._finished[cycle]

    def planned(self) -> int:
        """Trials that the cycle under way means so far, its extensions included."""
        return 0 if self.done else len(self._asked(self.cycle))

    def outcomes(self) -> tuple[Trial, ...]:
        """All outcomes, by cycle, rate and replicate."""
        return tuple(sorted(self._outcomes.values(), key=lambda t: (t.cycle, t.max_lr, t.replicate)))

    def outcomes_of(self, cycle: int) -> tuple[Trial, ...]:
        """The outcomes of what a cycle has asked for so far."""
        places = ((cycle, *each) for each in self._asked(cycle))
        return tuple(self._outcomes[place] for place in places if place in self._outcomes)

    def prunings(self, cycle: int) -> tuple[PrunedNetwork, ...]:
        """The pruned networks that a cycle starts from, by replicate; empty at cycle 0."""
        found = (self._pruned.get((cycle, r)) for r in range(self.rules.replicates))
        return tuple(pruned for pruned in found if pruned is not None)

    def ask(self) -> Task | Signal:
        """The next task, or why there is none."""
        if self.done:
            return Signal.DONE
        if self.refusal is not None or (self.hopeless and not self._outcomes):
            # None has succeeded yet, and one failed as all would.
            return Signal.WAIT if self._out else Signal.STUCK
        # One look at all that is missing serves until a result adds to it; most only take away.
        self._scan = self._scan or self._missing()
        for task in self._scan:
            if task not in self._out and self._failures[task] < self.rules.attempts:
                self._out.add(task)
                return task
        return Signal.WAIT if self._out else Signal.STUCK

    def tell(self, task: Task, result: Result) -> None:
        """Takes a task's result. A known outcome stays as it was first told; its file is the newest."""
        self._out.discard(task)
        if isinstance(result, Failed | Damaged):
            hopeless = isinstance(result, Failed) and result.final
            if hopeless:
                self.hopeless.add(task)
            if not (isinstance(result, Failed) and result.memory and self._halve(task)):
                self._failures[task] += self.rules.attempts if hopeless else 1
            self._scan = None
        if isinstance(result, Damaged):
            self._forget(result.file)
        elif isinstance(result, Failed):
            return
        elif isinstance(result, PrunedNetwork):
            self.restore((), (result,))
        else:
            self.restore(result, ())

    def hold_together(self, most: int) -> bool:
        """Has at most so many candidates of a pack trained at a time from now on; gives whether that is news.

        The packs stay as they are, and so do their trials' keys: a candidate's numbers are the same to
        rounding, however many are trained beside it.
        """
        fewer = 0 < most < self.together
        if fewer:
            self.together = most
        return fewer

    def _halve(self, task: Task) -> bool:
        """Whether a task that ran out of memory can be asked for again with fewer candidates at a time."""
        if not isinstance(task, TrainPack):
            return False
        count = min(len(task.max_lrs), task.together or self.rules.pack_size)
        return count > 1 and self.hold_together(-(-count // 2))

    def restore(self, outcomes: Iterable[Trial], prunings: Iterable[PrunedNetwork]) -> None:
        """Takes outcomes that are known already, of any cycle and in any order."""
        for outcome in outcomes:
            key = (outcome.cycle, outcome.replicate, outcome.max_lr)
            known = self._outcomes.get(key)
            self._finished[outcome.cycle] += known is None
            self._outcomes[key] = replace(known or outcome, checkpoint=outcome.checkpoint)
            if key in self._lost:
                self._lost.remove(key)
                self._scan = None
        for pruned in prunings:
            self._pruned.setdefault((pruned.cycle, pruned.replicate), pruned)
            self._scan = None
        while not self.done and self._advance():
            self._scan = None

    def rounds(self, cycle: int) -> tuple[Round, ...]:
        """What a cycle has asked for, in turn."""
        return tuple(self._rounds[cycle]) if cycle < len(self._rounds) else ()

    def checkpoint(self, cycle: int, replicate: int) -> StoredFile:
        """The selected network of a decided cycle, as it was last written."""
        return self._outcomes[cycle, replicate, self.decisions[cycle].chosen].checkpoint

    def _missing(self) -> Iterator[Task]:
        """The tasks that the cycle under way lacks, each once, those that others wait for first."""
        seen = set()
        if not self._rounds[self.cycle]:
            missing = (r for r in range(self.rules.replicates) if (self.cycle, r) not in self._pruned)
            yield from (self._pruning(self.cycle, replicate) for replicate in missing)
        for replicate, chunk in (pack for asked in self._rounds[self.cycle] for pack in self._packs(asked)):
            if all((self.cycle, replicate, rate) in self._outcomes for rate in chunk):
                continue
            task = self._pack(self.cycle, replicate, chunk)
            if task not in seen:
                seen.add(task)
                yield task

    def _packs(self, asked: Round) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Replicate and rates of each pack of a round, the replicates by turns."""
        packs = [
            [(replicate, chunk) for chunk in chunks(asked[replicate], self.rules.pack_size)]
            for replicate in sorted(asked)
        ]
        for turn in zip_longest(*packs):
            yield from (pack for pack in turn if pack is not None)

    def _pack(self, cycle: int, replicate: int, max_lrs: tuple[float, ...]) -> Task:
        """The pack, or what must be done before it: a file that it needs may have been lost."""
        together = self.together if self.together < self.rules.pack_size else None
        if cycle == 0:
            return TrainPack(cycle=0, replicate=replicate, max_lrs=max_lrs, start=None, together=together)
        if (cycle, replicate) not in self._pruned:
            return self._pruning(cycle, replicate)
        start = self._pruned[cycle, replicate].start
        return TrainPack(cycle=cycle, replicate=replicate, max_lrs=max_lrs, start=start, together=together)

    def _pruning(self, cycle: int, replicate: int) -> Task:
        parent = cycle - 1
        chosen = self.decisions[parent].chosen
        if (parent, replicate, chosen) in self._lost:
            return self._pack(parent, replicate, self._chunk_of(parent, replicate, chosen))
        if parent > 0 and (parent, replicate) not in self._pruned:
            return self._pruning(parent, replicate)
        return PruneNetwork(
            cycle=cycle,
            replicate=replicate,
            parent=self.checkpoint(parent, replicate),
            parent_start=self._pruned[parent, replicate].start if parent > 0 else None,
        )

    def _chunk_of(self, cycle: int, replicate: int, max_lr: float) -> tuple[float, ...]:
        """The rates of the pack that a candidate of a cycle was trained in."""
        packs = (pack for asked in self._rounds[cycle] for pack in self._packs(asked))
        return next(chunk for owner, chunk in packs if owner == replicate and max_lr in chunk)

    def _advance(self) -> bool:
        """Asks for more trainings of the cycle under way or decides it, if all its outcomes are there."""
        cycle = self.cycle
        if cycle == self._unchecked:
            self._unchecked += 1
            self._begin_with(self._check(self.decisions, self.prunings(cycle)) if self._check else ())
        if not self._rounds[cycle] and not self._begin():
            return False
        asked = self._asked(cycle)
        if self.finished(cycle) < len(asked) or any((cycle, *each) not in self._outcomes for each in asked):
            return False
        added = self._next_round(cycle)
        if added is None:
            return False
        if added:
            self._rounds[cycle].append(added)
        else:
            self.decisions.append(self._decided(cycle))
            self._spent.append(self._spent[cycle] + self._work(cycle))
            self._rounds.append([])
        return True

    def _begin_with(self, others: Iterable[PrunedNetwork]) -> None:
        """Drops the next cycle's pruned networks that were made of others than there are now.

        Where nothing rests on them, what was chosen before those were trained again is chosen anew.
        """
        cycle, dropped = self.cycle, list(others)
        for pruned in dropped:
            del self._pruned[cycle, pruned.replicate]
        if dropped and not self._finished[cycle] and cycle - 1 in self._choices:
            del self._choices[cycle - 1]
            self.decisions[-1] = self._decided(cycle - 1)

    def _decided(self, cycle: int) -> Cycle:
        state = self._state(cycle, self.rules.replicates)
        found = self.rules.policy.decided(state)
        choice = self._choices.get(cycle, found.choice)
        if len(state.trials.get(choice.max_lr, ())) < self.rules.replicates:
            raise Refused(
                f"the ledger says that cycle {cycle} went on with max_lr {choice.max_lr:g}, which is none of "
                "its candidates: it was edited, or an earlier version of this program chose it; take another "
                "name for the search"
            )
        policy = self.rules.policy
        by_posterior = self.rules.decide == "posterior" and policy.searches and not policy.selective
        if cycle not in self._choices and by_posterior:
            rate = self._by_posterior([*self.decisions, found])
            choice = choice if rate is None else replace(choice, max_lr=rate, rule="posterior")
        return replace(found, choice=choice)

    def _asked(self, cycle: int) -> list[tuple[int, float]]:
        """Replicate and rate of each trial that a cycle means so far, once."""
        pairs = (pair for each in self._rounds[cycle] for pair in each.items())
        return list(dict.fromkeys((replicate, rate) for replicate, rates in pairs for rate in rates))

    def _begin(self) -> bool:
        """Asks for the first trainings of the cycle under way; gives whether they are known already."""
        added = self._next_round(self.cycle)
        if added:
            self._rounds[self.cycle].append(added)
        return bool(added)

    def _next_round(self, cycle: int) -> Round | None:
        """What is recorded, else what the policy asks for.

        Replicates that came after a cycle's choice train what the others did.
        """
        recorded, chosen = self._recorded_rounds.get(cycle, ()), self._choices.get(cycle)
        if len(self._rounds[cycle]) < len(recorded):
            return recorded[len(self._rounds[cycle])]
        count = min(chosen.replicates, self.rules.replicates) if chosen else self.rules.replicates
        if chosen and recorded:
            joined = self._joined(cycle, count)
            if joined or self.rules.growth == 1:
                return joined
        try:
            added = self.rules.policy.next_round(self._state(cycle, count))
        except Refused as refused:
            self.refusal = str(refused)
            return None
        if not added or count == self.rules.replicates:
            return added
        rates = tuple(sorted({rate for each in added.values() for rate in each}))
        return {**added, **dict.fromkeys(range(count, self.rules.replicates), rates)}

    def _joined(self, cycle: int, count: int) -> Round:
        """What the first replicates were all trained with, for those that came later and lack it."""
        trials = self._trials(cycle, self.rules.replicates)
        rates = [rate for rate in sorted(trials) if all(r in trials[rate] for r in range(count))]
        lacking = {
            replicate: tuple(rate for rate in rates if replicate not in trials[rate])
            for replicate in range(count, self.rules.replicates)
        }
        return {replicate: each for replicate, each in lacking.items() if each}

    def _state(self, cycle: int, replicates: int) -> CycleState:
        """A cycle as its policy sees it, with so many replicates."""
        rounds = ({r: rates for r, rates in each.items() if r < replicates} for each in self.rounds(cycle))
        return CycleState(
            cycle=cycle,
            replicates=replicates,
            tolerance=self.rules.tolerance,
            measure=self.rules.measure,
            prunings=tuple(pruned for pruned in self.prunings(cycle) if pruned.replicate < replicates),
            trials=self._trials(cycle, replicates),
            decisions=self.decisions,
            rounds=tuple(each for each in rounds if each),
            spent=self._spent[cycle],
            chance=self.rules.chance,
            workers=self.rules.workers,
            pack=self.rules.pack_size,
            growth=self.rules.growth,
        )

    def _work(self, cycle: int) -> float:
        """What a cycle took, in trainings that go alone."""
        counts = [len(rates) for asked in self._rounds[cycle] for rates in asked.values() if rates]
        return sum(work(count, self.rules.pack_size) for count in counts)

    def _trials(self, cycle: int, replicates: int) -> dict[float, dict[int, Trial]]:
        """Rate to replicate to outcome of all that was asked for, of the first replicates."""
        trials: dict[float, dict[int, Trial]] = {}
        for replicate, rate in self._asked(cycle):
            if replicate < replicates:
                trials.setdefault(rate, {})[replicate] = self._outcomes[cycle, replicate, rate]
        return trials

    def _forget(self, file: StoredFile) -> None:
        """Marks a file as lost, so that what writes it is asked for again."""
        for key, outcome in self._outcomes.items():
            if outcome.checkpoint == file:
                self._lost.add(key)
        for place in [place for place, pruned in self._pruned.items() if pruned.start == file]:
            del self._pruned[place]
