"""The rule of the edge, an experiment: the best rate keeps its distance from where trainings collapse.

The first cycle searches the whole grid, as the Oracle does. It tells how far below the edge, at which half of
the replicates collapse, the best rate lies, as a ratio. Every later cycle trains the candidate at that share
of the expected edge in every replicate, and the two candidates beside the edge once each, which tell where it
moves.

It was found with SGD, where the edge is steep. Without an edge the rule says nothing, and refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from oracle.cycles import Cycle
from oracle.errors import Refused
from oracle.learned import Learned, last_known
from oracle.policies.adaptive import modelled_cycle
from oracle.policies.exhaustive import OraclePolicy
from oracle.policies.on_grid import GridPolicy
from oracle.policies.protocol import CycleState, Round

_PROBES = 2
"""Single trainings beside the expected edge in every later cycle."""


@dataclass(frozen=True, kw_only=True)
class EdgePolicy(GridPolicy):
    """Follows the edge of collapse."""

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
