"""The adaptive Oracle: trains where the model of the landscape says that it would tell something.

It takes a share of the trainings that every value of the grid takes in every replicate. What it states of a
cycle is what the model tells: the interval is the run of rates that are rather in than out, of all that may
have been tried, and the optimum the rate that loses least of those that were trained in every replicate.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from oracle.cycles import Choice, Cycle, Learned, candidates_of, decide, densities, last_known
from oracle.errors import Refused
from oracle.measure import BY_ACCURACY, Measure
from oracle.policies.policy import CycleState, GridPolicy, OraclePolicy, Round
from silo.landscape import CycleBelief, learn
from silo.landscape.adaptive import Adaptive, Begun, Pair
from silo.measured import CycleInterval, grid_interval
from trials.tasks import PrunedNetwork, Trial

BUDGETS = "share", "trainings"
"""Fields of :class:`AdaptivePolicy` that may grow under a search that has results."""

_TURNS = 3
"""A later cycle's rounds, mostly."""


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
    turns = _TURNS

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
    turns = 1

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
        if known[0] is None or before is None or edges.chances(known[0].edge)[-1] < 0.5:
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
