"""A search's state machine as its ledger has it.

A trial of cycle m starts from what the cycles before it chose, so whether its row belongs to the search is
known once those are decided, and not before: the rows are looked at cycle by cycle, by whoever reads them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oracle.cycles import Choice, Cycle
from oracle.errors import Refused
from oracle.identity import Keys, differences
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.choices import read_choices
from oracle.ledger.ledger import cycle_name
from oracle.ledger.rounds import read_rounds
from oracle.ledger.values import reading
from oracle.policies import Round
from oracle.search import Rules, Search
from trials.tasks import PrunedNetwork, Trial


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
    """Refuses rows that say they belong to a search and don't; see :data:`oracle.search.Check`."""

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
