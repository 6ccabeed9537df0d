"""Policies: what sets ``max_lr`` at each cycle, by a search or by one rate that is known without one.

A policy is asked for trainings whenever a cycle has nothing out: first for those that the cycle begins with,
then, knowing their outcomes, for more, until it asks for none and decides the cycle.

The adaptive ones train where the model of the landscape says that it would tell something, a share of the
trainings that every value of the grid takes in every replicate. What they state of a cycle is what the model
tells: the interval is the run of rates that are rather in than out, of all that may have been tried, and the
optimum the rate that loses least of those that were trained in every replicate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from oracle.cycles import Choice, Cycle, Grid, Learned, Scale, candidates_of, decide, densities, last_known
from oracle.errors import Refused
from oracle.measure import BY_ACCURACY, Measure
from silo.checks import nearest
from silo.curve import SiloCurve, unlike
from silo.errors import InvalidInput
from silo.landscape import CycleBelief, learn
from silo.landscape.adaptive import Adaptive, Begun, Pair
from silo.measured import CycleInterval, grid_interval
from trials.tasks import PrunedNetwork, Trial, rate_at

__all__ = [
    "AdaptivePolicy",
    "AllrPolicy",
    "CurvePolicy",
    "CycleState",
    "EdgePolicy",
    "FixedPolicy",
    "OraclePolicy",
    "Policy",
    "Round",
    "Span",
    "make_policy",
]

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


@dataclass(frozen=True, kw_only=True)
class GridPolicy:
    """A policy that searches a grid; see :class:`oracle.policies.Policy`.

    Attributes:
        grid: The candidates, and how they extend.
    """

    grid: Grid

    searches = True

    @property
    def candidates(self) -> int:
        return len(self.grid.values)

    @property
    def extension(self) -> int:
        return 2 * self.grid.limit

    @property
    def rates(self) -> tuple[float, ...]:
        return self.grid.values

    def span(self, cycles: int) -> Span:
        return Span(low=self.grid.values[0], high=self.grid.values[-1], scale=self.grid.scale)


class PointRule(ABC):
    """A policy that trains all candidates in all replicates and decides by their means."""

    selective = False

    @property
    def together(self) -> int:
        return self.candidates

    @property
    @abstractmethod
    def candidates(self) -> int:
        """See :class:`Policy`."""

    def expected(self, replicates: int) -> float:
        return self.candidates * replicates

    def decided(self, state: CycleState) -> Cycle:
        return decide(
            state.cycle, state.trials, state.prunings, tolerance=state.tolerance, measure=state.measure
        )


@dataclass(frozen=True, kw_only=True)
class OraclePolicy(GridPolicy, PointRule):
    """Every value of a grid, at every cycle (Section 5.4 of the SILO paper).

    The grid grows past an edge that the optimized interval touches, by one of its steps at a time.
    """

    def next_round(self, state: CycleState) -> Round:
        return state.everywhere(self._extension(state) if state.trials else self.grid.values)

    def _extension(self, state: CycleState) -> tuple[float, ...]:
        interval = decide(
            state.cycle, state.trials, state.prunings, tolerance=state.tolerance, measure=state.measure
        ).interval
        base, values = self.grid.values, state.trials
        below = self.grid.below(sum(v < base[0] for v in values) + 1) if interval.low_cut else None
        above = self.grid.above(sum(v > base[-1] for v in values) + 1) if interval.high_cut else None
        return tuple(value for value in (below, above) if value is not None)


class _OneRate(PointRule):
    """A policy that trains each cycle with one rate."""

    searches = False
    extension = 0

    @property
    def candidates(self) -> int:
        return 1

    @property
    def rates(self) -> tuple[float, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class CurvePolicy(_OneRate):
    """SILO's rate of each cycle (Equation 3).

    Where the pruner took other shares than planned, as one that leaves 2 weights of 4 does, the curve goes by
    the densities that there were.
    """

    curve: SiloCurve

    def next_round(self, state: CycleState) -> Round | None:
        if state.trials:
            return {}
        if state.cycle and len(state.prunings) < state.replicates:
            return None
        known = (*(each.density for each in state.decisions), densities(state.prunings)["density"])
        other = unlike(known, self.curve.pruning_rate, self.curve.densities)
        curve = replace(self.curve, densities=known) if other else self.curve
        return state.everywhere((float(curve.max_lr(state.cycle)),))

    def span(self, cycles: int) -> Span:
        """See :class:`Policy`; the curve never falls."""
        low, high = (float(self.curve.max_lr(cycle)) for cycle in (0, cycles - 1))
        return Span(low=low, high=high, scale="linear")


@dataclass(frozen=True, kw_only=True)
class FixedPolicy(_OneRate):
    """The same rate at every cycle."""

    max_lr: float

    @property
    def rates(self) -> tuple[float, ...]:
        return (self.max_lr,)

    def next_round(self, state: CycleState) -> Round:
        return state.everywhere(() if state.trials else (self.max_lr,))

    def span(self, cycles: int) -> Span:
        return Span(low=self.max_lr, high=self.max_lr, scale="linear")


@dataclass(frozen=True, kw_only=True)
class AllrPolicy(_OneRate):
    """ALLR of BIMP (Zimmer, Spiegel and Pokutta 2021, arXiv 2111.00843): as much as pruning took away.

    The dense network trains with ``max_lr``, a pruned one with ``max_lr`` · clip(d / √s, ``minimum``, 1).
    Here d is the share of the weights' Euclidean norm that the pruning before it took, √(1 − ‖after‖² /
    ‖before‖²), and s the pruning rate, so that d / √s is 1 if all weights were alike. The mean of d over the
    replicates counts: all train with one rate. It never exceeds ``max_lr``. (Of BIMP's bounds from below this
    is the constant one: the other, the share of the epochs that are left, is always 1 here.)
    """

    max_lr: float
    minimum: float = 0.01
    pruning_rate: float | tuple[float, ...]

    def next_round(self, state: CycleState) -> Round | None:
        if state.trials:
            return {}
        if state.cycle == 0:
            return state.everywhere((self.max_lr,))
        if len(state.prunings) < state.replicates:
            return None
        drop = math.fsum(pruned.norm_drop for pruned in state.prunings) / len(state.prunings)
        share = min(max(drop / math.sqrt(rate_at(self.pruning_rate, state.cycle)), self.minimum), 1.0)
        return state.everywhere((self.max_lr * share,))

    def span(self, cycles: int) -> Span:
        low = self.max_lr * (self.minimum if cycles > 1 else 1.0)
        return Span(low=low, high=self.max_lr, scale="linear")


BUDGETS = "share", "trainings"
"""Fields of :class:`AdaptivePolicy` that may grow under a search that has results."""


@dataclass(frozen=True, kw_only=True)
class AdaptivePolicy(GridPolicy):
    """Rounds of trainings that tell most, within a budget; see :mod:`silo.landscape.adaptive`.

    Attributes:
        share: The budget, as a share of what the whole grid takes in all replicates.
        trainings: The budget as a number of trainings a cycle, in place of a share.
    """

    share: float = 0.25
    trainings: float | None = None

    selective = True

    @property
    def together(self) -> int:
        return min(Adaptive.probes + 1, self.candidates)

    def expected(self, replicates: int) -> float:
        return max(self._settings(replicates).share * self.candidates, 1) * replicates

    def next_round(self, state: CycleState) -> Round:
        reach = self._reach(state)
        places = {rate: place for place, rate in enumerate(reach)}
        decision = self._settings(state.replicates, state.growth).decide(
            self._learned(state).landscape,
            self._begun(state),
            _pairs(state.trials, places, state.measure),
            [
                tuple((places[rate], r) for r, rates in each.items() for rate in rates)
                for each in state.rounds
            ],
        )
        asked: dict[int, list[float]] = {}
        for rate, replicate in sorted(decision.asks):
            asked.setdefault(replicate, []).append(reach[rate])
        return {replicate: tuple(asked[replicate]) for replicate in sorted(asked)}

    def decided(self, state: CycleState) -> Cycle:
        reach, landscape = self._reach(state), self._learned(state).landscape
        places = {rate: place for place, rate in enumerate(reach)}
        pairs = _pairs(state.trials, places, state.measure)
        found = self._settings(state.replicates).decided(landscape, self._begun(state), pairs)
        belief = None if found.known is None else landscape.belief(found.known, landscape.drawn(found.known))
        grid = reach[slice(*found.window)]
        return modelled_cycle(state.cycle, grid, state.trials, state.prunings, belief, state.measure)

    @cached_property
    def _everything(self) -> tuple[float, ...]:
        return self.grid.reach

    def _reach(self, state: CycleState) -> tuple[float, ...]:
        """The grid, what was tried beyond it, and one rate further at both ends: a round adds no more."""
        tried = {*self.grid.values, *state.trials, *(rate for each in state.decisions for rate in each.grid)}
        tried |= {rate for each in state.rounds for rates in each.values() for rate in rates}
        everything = self._everything
        first, last = everything.index(min(tried)), everything.index(max(tried))
        return everything[max(first - 1, 0) : last + 2]

    @cached_property
    def _kept(self) -> dict[tuple[object, ...], Learned]:
        return {}

    def _learned(self, state: CycleState) -> Learned:
        terms = state.tolerance, state.chance, self._reach(state)
        if terms not in self._kept:
            self._kept.clear()
            self._kept[terms] = Learned(*terms)
        return self._kept[terms]

    def _settings(self, replicates: int, growth: float = 1.0) -> Adaptive:
        share = self.share
        if self.trainings is not None:
            share = min(self.trainings / (self.candidates * replicates), 1.0)
        return Adaptive(share=share, rounds=math.ceil(growth * Adaptive.rounds))

    def _begun(self, state: CycleState) -> Begun:
        reach = self._reach(state)
        first = reach.index(self.grid.values[0])
        return Begun(
            cycle=state.cycle,
            grid=np.array(reach),
            replicates=state.replicates,
            before=last_known(self._learned(state).from_cycles(state.decisions)),
            earlier=len(state.decisions),
            spent=state.spent,
            base=(first, first + self.candidates),
            workers=state.workers,
            pack=state.pack,
        )


def _pairs(
    trials: Mapping[float, Mapping[int, Trial]], places: Mapping[float, int], measure: Measure
) -> dict[Pair, float]:
    """The comparable score of each pair that was trained."""
    return {
        (places[rate], replicate): measure.comparable(trial.score)
        for rate, each in trials.items()
        for replicate, trial in each.items()
    }


def modelled_cycle(
    cycle: int,
    grid: tuple[float, ...],
    trials: Mapping[float, Mapping[int, Trial]],
    prunings: Sequence[PrunedNetwork],
    belief: CycleBelief | None,
    measure: Measure = BY_ACCURACY,
    among: Collection[float] | None = None,
) -> Cycle:
    """A cycle as the model of the landscape decides it; by the means where that knows nothing.

    Args:
        cycle: Times that the network has been pruned.
        grid: All rates that were considered, ascending.
        trials: Rate to replicate to outcome; of one rate at least in every replicate.
        prunings: The networks that the trainings started from.
        belief: What the trainings tell of the grid; None where they tell nothing.
        measure: How scores are compared.
        among: The rates to choose from; by default all that were trained in every replicate.
    """
    most = max(len(each) for each in trials.values())
    among = trials if among is None else among
    everywhere = {rate: each for rate, each in trials.items() if len(each) == most and rate in among}
    if belief is None:
        found = decide(cycle, everywhere, prunings, tolerance=measure.within, measure=measure)
        return replace(found, candidates=candidates_of(trials), grid=grid)
    interval = stated_interval(belief, everywhere)
    return Cycle(
        interval=interval,
        choice=Choice(cycle=cycle, max_lr=interval.optimum, rule="posterior", replicates=most),
        candidates=candidates_of(trials),
        grid=grid,
        detached=(),
        measure=measure,
        belief=belief,
        **densities(prunings),
    )


def stated_interval(belief: CycleBelief, everywhere: Iterable[float]) -> CycleInterval:
    """The likeliest interval, and the best of the rates that were trained in every replicate."""
    best = belief.optimum(np.flatnonzero(np.isin(belief.rates, list(everywhere))))
    first, last = belief.stated
    return grid_interval(belief.cycle, belief.rates.tolist(), best, min(first, best), max(last, best))


def restated(cycles: Sequence[Cycle], tolerance: float, chance: float | None) -> tuple[Cycle, ...]:
    """Cycles with the intervals that the trainings of all of them tell; what was chosen stays.

    Args:
        cycles: As they were decided, each by what was known then.
        tolerance: How far from the best a score may be, of comparable scores.
        chance: The comparable score up to which a network may be guessing, if known.
    """
    if not cycles:
        return ()
    found = []
    for each, belief in zip(
        cycles, learn([each.scores for each in cycles], tolerance=tolerance, chance=chance), strict=True
    ):
        most = max(len(candidate.trials) for candidate in each.candidates)
        everywhere = [candidate.max_lr for candidate in each.candidates if len(candidate.trials) == most]
        silent = belief.silent
        found.append(each if silent else replace(each, interval=stated_interval(belief, everywhere)))
    return tuple(found)


_PROBES = 2
"""Single trainings beside the expected edge in every later cycle."""


@dataclass(frozen=True, kw_only=True)
class EdgePolicy(GridPolicy):
    """Follows the edge of collapse.

    The first cycle searches the whole grid, as the Oracle does. It tells how far below the edge, at which
    half of the replicates collapse, the best rate lies, as a ratio. Every later cycle trains the candidate at
    that share of the expected edge in every replicate, and the two candidates beside the edge once each,
    which tell where it moves.

    It was found with SGD, where the edge is steep. Without an edge the rule says nothing, and refuses.
    """

    selective = True
    together = 1

    @property
    def extension(self) -> int:
        """See :class:`Policy`: only the first cycle's grid extends."""
        return 0

    def expected(self, replicates: int) -> float:
        """See :class:`Policy`; the first cycle takes those of the whole grid."""
        return replicates + _PROBES

    def next_round(self, state: CycleState) -> Round:
        """See :class:`Policy`.

        Raises:
            Refused: At the first cycle's highest rate fewer than half of the replicates collapsed.
        """
        if not state.decisions:
            return self._oracle.next_round(state)
        if state.trials:
            return {}
        grid, (place, edge) = state.decisions[0].grid, self._followed(state)
        near = [int(k) for k in np.argsort(abs(np.log(grid) - edge), kind="stable") if k != place]
        asked = {replicate: {grid[place]} for replicate in range(state.replicates)}
        for turn, probe in enumerate(sorted(near[:_PROBES])):
            asked[(state.cycle + turn) % state.replicates].add(grid[probe])
        return {replicate: tuple(sorted(rates)) for replicate, rates in asked.items()}

    def decided(self, state: CycleState) -> Cycle:
        """See :class:`Policy`: a later cycle's choice is the rule's rate, whatever that reached."""
        first = not state.decisions
        grid = tuple(sorted(state.trials)) if first else state.decisions[0].grid
        parts = state.cycle, grid, state.trials, state.prunings
        plain = modelled_cycle(*parts, None, state.measure)
        learned = self._learned(state)
        known = learned.from_cycles([*state.decisions, plain])[-1]
        belief = None if known is None else learned.landscape.belief(known, learned.landscape.drawn(known))
        everywhere = [c.max_lr for c in plain.candidates if len(c.trials) == plain.choice.replicates]
        if not first and len(everywhere) > 1:  # with one replicate the probes are trained in all of them, too
            everywhere = [min(everywhere, key=lambda rate: abs(grid.index(rate) - self._followed(state)[0]))]
        return modelled_cycle(*parts, belief, state.measure, everywhere)

    def _followed(self, state: CycleState) -> tuple[int, float]:
        """Place in the first cycle's grid of the rate that keeps its distance, and ln(max_lr) of the edge.

        Raises:
            Refused: There is no edge.
        """
        first, learned = state.decisions[0], self._learned(state)
        known = learned.from_cycles(state.decisions)
        before = last_known(known)
        edges = learned.landscape.edges
        likely = known[0] is not None and edges.chances(known[0].edge)[-1] >= 0.5
        if known[0] is None or before is None or not (likely and _collapses(first, state.chance)):
            raise Refused(
                "policy edge follows the rate at which trainings collapse, and at max_lr "
                f"{first.grid[-1]:g}, the highest of the first cycle, most did not: take policy adaptive, or "
                "a grid that reaches higher, and another name"
            )
        edge = edges.mean(learned.landscape.predicted(before, state.cycle).edge)
        moved = edge - edges.mean(known[0].edge)
        return int(abs(np.log(first.grid) - (np.log(first.chosen) + moved)).argmin()), edge

    @cached_property
    def _oracle(self) -> OraclePolicy:
        return OraclePolicy(grid=self.grid)

    @cached_property
    def _kept(self) -> dict[tuple[float, float | None], Learned]:
        return {}

    def _learned(self, state: CycleState) -> Learned:
        terms = state.tolerance, state.chance
        if terms not in self._kept:
            self._kept[terms] = Learned(*terms)
        return self._kept[terms]


def _collapses(cycle: Cycle, chance: float | None) -> bool:
    """Whether half of the trainings at a cycle's highest rate lost half of what there is to learn, or more.

    A score that falls slowly, as with Adam, is far below the best there, too, and has no edge. Where it isn't
    known what guessing reaches, the model's word has to do.
    """
    if chance is None:
        return True
    middle = (cycle.measure.comparable(cycle.best.score) + chance) / 2
    scores = cycle.measure.all_comparable(trial.score for trial in cycle.candidates[-1].trials)
    return float(np.mean(scores < middle)) >= 0.5


_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "oracle": (),
    "adaptive": ("share", "trainings"),
    "edge": (),
    "silo": (),
    "fixed": ("max_lr",),
    "allr": ("max_lr", "minimum"),
}


def make_policy(
    name: str,
    arguments: Mapping[str, Any],
    *,
    grid: Grid | None,
    curve: SiloCurve | None,
    pruning_rate: float | tuple[float, ...],
) -> Policy:
    """The policy of a spec.

    Args:
        name: ``oracle``, ``adaptive``, ``edge``, ``silo``, ``fixed`` or ``allr``.
        arguments: Its arguments: ``share`` or ``trainings`` for ``adaptive``, ``max_lr`` for ``fixed`` and
            ``allr``, ``minimum`` for ``allr``.
        grid: The Oracle's grid.
        curve: SILO's curve.
        pruning_rate: Share of the remaining weights that each pruning removes, or one per pruning.

    Raises:
        InvalidInput: There is no such policy, it takes no such argument, or it lacks what it needs.
    """
    if name not in _ARGUMENTS:
        raise InvalidInput(f"there is no policy {name!r}: {nearest(name, _ARGUMENTS)}")
    known = _ARGUMENTS[name]
    for argument in arguments:
        if argument not in known:
            known_arguments = nearest(argument, known) if known else "it takes none"
            raise InvalidInput(f"{name} takes no argument {argument!r}: {known_arguments}")
    if name in ("oracle", "adaptive", "edge"):
        if grid is None:
            raise InvalidInput(f"{name} needs a grid: give low and high with points or step, or values")
        if name == "adaptive":
            return AdaptivePolicy(grid=grid, **_budget(arguments))
        return OraclePolicy(grid=grid) if name == "oracle" else EdgePolicy(grid=grid)
    if name == "silo":
        if curve is None:
            raise InvalidInput("silo needs the field silo: give q, beta, epsilon and delta")
        if not curve.epsilon:
            raise InvalidInput(
                "silo would train with a rate of 0, where its curve begins: give epsilon above 0"
            )
        return CurvePolicy(curve=curve)
    if "max_lr" not in arguments:
        raise InvalidInput(f"{name} needs the argument 'max_lr', a peak learning rate such as 0.1")
    max_lr = _above_zero("max_lr", arguments["max_lr"])
    if name == "fixed":
        return FixedPolicy(max_lr=max_lr)
    minimum = _above_zero("minimum", arguments.get("minimum", AllrPolicy.minimum))
    if minimum > 1:
        raise InvalidInput(f"allr.minimum must be a share of max_lr, in (0, 1], not {minimum:g}")
    return AllrPolicy(max_lr=max_lr, minimum=minimum, pruning_rate=pruning_rate)


def _budget(arguments: Mapping[str, Any]) -> dict[str, float]:
    if len(arguments) > 1:
        raise InvalidInput("adaptive takes a share or a number of trainings, not both: leave one out")
    budget = {name: _above_zero(name, value) for name, value in arguments.items()}
    if budget.get("share", 0) > 1:
        raise InvalidInput(
            "adaptive.share must be a share of the whole grid's trainings, in (0, 1], not "
            f"{budget['share']:g}: 25 % is 0.25"
        )
    return budget


def _above_zero(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(f"{name} must be a number above 0, not {value!r}")
    return float(value)
