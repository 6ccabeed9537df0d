"""The Oracle: every value of a grid, at every cycle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from oracle.cycles import Cycle, decide
from oracle.policies.on_grid import GridPolicy
from oracle.policies.protocol import CycleState, Round


class PointRule(ABC):
    """A policy that trains all candidates in all replicates and decides by their means."""

    selective = False
    turns = 1

    @property
    def together(self) -> int:
        """See :class:`Policy`."""
        return self.candidates

    @property
    @abstractmethod
    def candidates(self) -> int:
        """See :class:`Policy`."""

    def expected(self, replicates: int) -> float:
        """See :class:`Policy`."""
        return self.candidates * replicates

    def decided(self, state: CycleState) -> Cycle:
        """See :class:`Policy`."""
        return decide(
            state.cycle, state.trials, state.prunings, tolerance=state.tolerance, measure=state.measure
        )


@dataclass(frozen=True, kw_only=True)
class OraclePolicy(GridPolicy, PointRule):
    """Every value of a grid, at every cycle (Section 5.4 of the SILO paper).

    The grid grows past an edge that the optimized interval touches, by one of its steps at a time.
    """

    def next_round(self, state: CycleState) -> Round:
        """See :class:`Policy`."""
        return state.everywhere(self._extension(state) if state.trials else self.grid.values)

    def _extension(self, state: CycleState) -> tuple[float, ...]:
        interval = decide(
            state.cycle, state.trials, state.prunings, tolerance=state.tolerance, measure=state.measure
        ).interval
        base, values = self.grid.values, state.trials
        below = self.grid.below(sum(v < base[0] for v in values) + 1) if interval.low_cut else None
        above = self.grid.above(sum(v > base[-1] for v in values) + 1) if interval.high_cut else None
        return tuple(value for value in (below, above) if value is not None)
