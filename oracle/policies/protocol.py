"""What a policy is: what sets ``max_lr`` at each cycle.

A policy is asked for trainings whenever a cycle has nothing out: first for those that the cycle begins with,
then, knowing their outcomes, for more, until it asks for none and decides the cycle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from oracle.cycles import Cycle
from oracle.grid import Scale
from oracle.measure import BY_ACCURACY, Measure
from trials.tasks import PrunedNetwork, Trial

Round = Mapping[int, tuple[float, ...]]
"""Replicate to the rates that it is to be trained with."""


@dataclass(frozen=True, kw_only=True)
class CycleState:
    """The knowledge that a policy has of a cycle when it is asked for more trainings.

    Attributes:
        cycle: Times that the network has been pruned.
        replicates: Independent seeds.
        tolerance: How far below the best mean validation score the interval reaches, of comparable scores.
        prunings: The pruned networks that the cycle starts from, as far as there are any, by replicate.
        trials: Rate to replicate to outcome of all that the policy has asked for in this cycle.
        decisions: The cycles before, with their outcomes.
        rounds: What it has asked for in this cycle, in turn.
        spent: What the cycles before took, see :func:`silo.landscape.adaptive.work`.
        chance: The comparable score up to which a network may be guessing; None if that is not known.
        measure: How scores are compared.
        workers: How many packs of trainings go side by side.
        pack: Most rates of a replicate that are trained together.
        growth: How many times the budget that the search began with it has now.
    """

    cycle: int
    replicates: int
    tolerance: float
    prunings: Sequence[PrunedNetwork]
    trials: Mapping[float, Mapping[int, Trial]]
    decisions: Sequence[Cycle]
    rounds: Sequence[Round] = ()
    spent: float = 0.0
    chance: float | None = None
    measure: Measure = BY_ACCURACY
    workers: int = 1
    pack: int = 1
    growth: float = 1.0

    def everywhere(self, rates: tuple[float, ...]) -> Round:
        """The same rates in every replicate; nothing for none."""
        return dict.fromkeys(range(self.replicates), rates) if rates else {}


@dataclass(frozen=True, kw_only=True)
class Span:
    """The range of rates that a search is expected to train with.

    Attributes:
        low: Smallest.
        high: Largest.
        scale: Whether equal distances in it are differences or ratios.
    """

    low: float
    high: float
    scale: Scale


class Policy(Protocol):
    """Sets the rates of a search: a dataclass, of which all fields are part of what determines the search.

    The same question gets the same answer, whatever the order in which outcomes came.

    Attributes:
        searches: Whether a cycle has several candidates, so that optimum and interval mean something.
        selective: Whether a candidate may be trained in some replicates only. What was asked for is recorded
            then: it rests on a model, and machines differ in the last bits.
        candidates: Rates that a cycle begins with, or chooses from.
        together: How many of them a replicate is mostly trained with at a time.
        turns: How often a cycle mostly asks for trainings, extensions aside.
        extension: Most rates that a cycle may add to them.
        rates: Those that every cycle begins with, ascending, where that is known beforehand; else none.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def searches(self) -> bool: ...

    @property
    def selective(self) -> bool: ...

    @property
    def candidates(self) -> int: ...

    @property
    def together(self) -> int: ...

    @property
    def turns(self) -> int: ...

    @property
    def extension(self) -> int: ...

    @property
    def rates(self) -> tuple[float, ...]: ...

    def expected(self, replicates: int) -> float:
        """The trainings that a cycle mostly takes, extensions aside."""

    def next_round(self, state: CycleState) -> Round | None:
        """The trainings that the cycle needs now.

        Returns:
            None as long as they depend on prunings to come; an empty round once the cycle can be decided: by
            then each rate was asked for in every replicate, or with a selective policy one rate at least.
        """

    def decided(self, state: CycleState) -> Cycle:
        """The cycle's decision. Its choice stays if the ledger has none of an earlier one."""

    def span(self, cycles: int) -> Span:
        """The range of the rates of so many cycles, extensions aside."""
