"""What all policies that search a grid have in common."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.grid import Grid
from oracle.policies.protocol import Span


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
        """See :class:`oracle.policies.Policy`."""
        return len(self.grid.values)

    @property
    def extension(self) -> int:
        """See :class:`oracle.policies.Policy`."""
        return 2 * self.grid.limit

    @property
    def rates(self) -> tuple[float, ...]:
        """See :class:`oracle.policies.Policy`."""
        return self.grid.values

    def span(self, cycles: int) -> Span:
        """See :class:`oracle.policies.Policy`."""
        return Span(low=self.grid.values[0], high=self.grid.values[-1], scale=self.grid.scale)
