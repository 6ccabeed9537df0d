"""The Oracle: every value of a grid, at every cycle."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.cycles import Cycle, decide
from oracle.grid import Grid
from oracle.policies.protocol import CycleState, Round, Span


class PointRule:
    """A policy that trains all candidates in all replicates and decides by their means."""

    selective = False
    turns = 1

    @property
    def together(self) -> int:
        """See :class:`Policy`."""
        return self.candidates

    @property
    def candidates(self) -> int:
        raise NotImplementedError

    def expected(self, replicates: int) -> float:
        """See :class:`Policy`."""
        return self.candidates * replicates

    def decided(self, state: CycleState) -> Cycle:
        """See :class:`Policy`."""
        return decide(state.cycle, state.trials, state.prunings, tolerance=state.tolerance)


@dataclass(frozen=True, kw_only=True)
class OraclePolicy(PointRule):
    """Every value of a grid, at every cycle (Section 5.4 of the SILO paper).

    The grid grows past an edge that the optimized interval touches, by one of its steps at a time.
    """

    grid: Grid

    searches = True

    @property
    def candidates(self) -> int:
        """See :class:`Policy`."""
        return len(self.grid.values)

    @property
    def extension(self) -> int:
        """See :class:`Policy`."""
        return 2 * self.grid.limit

    @property
    def rates(self) -> tuple[float, ...]:
        """See :class:`Policy`."""
        return self.grid.values

    def next_round(self, state: CycleState) -> Round:
        """See :class:`Policy`."""
        return state.everywhere(self._extension(state) if state.trials else self.grid.values)

    def span(self, cycles: int) -> Span:
        """See :class:`Policy`."""
        return Span(low=self.grid.values[0], high=self.grid.values[-1], scale=self.grid.scale)

    def _extension(self, state: CycleState) -> tuple[float, ...]:
        interval = decide(state.cycle, state.trials, state.prunings, tolerance=state.tolerance).interval
        base, values = self.grid.values, state.trials
        below = self.grid.below(sum(v < base[0] for v in values) + 1) if interval.low_cut else None
        above = self.grid.above(sum(v > base[-1] for v in values) + 1) if interval.high_cut else None
        return tuple(value for value in (below, above) if value is not None)
