"""The rules of a search, and what its state machine answers when it has no task."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from oracle.cycles import Rule
from oracle.measure import BY_ACCURACY, Measure
from oracle.policies import Policy


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
