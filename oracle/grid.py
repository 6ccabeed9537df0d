"""The candidates of a cycle: a grid of peak learning rates that can grow past its edges by its own step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Scale = Literal["linear", "log"]

_LARGEST_EXPONENT = 700.0  # exp overflows a float soon after


def linear_values(low: float, high: float, points: int) -> tuple[float, ...]:
    """``points`` evenly spaced rates from ``low`` to ``high``, to 12 significant digits."""
    step = (high - low) / (points - 1)
    return tuple(_round(low + index * step, 12) for index in range(points))


def stepped_values(low: float, high: float, step: float) -> tuple[float, ...]:
    """Rates from ``low`` by ``step`` up to ``high`` (which is included if the step meets it)."""
    count = math.floor((high - low) / step + 1e-9) + 1
    return tuple(_round(low + index * step, 12) for index in range(count))


def log_values(low: float, high: float, points: int) -> tuple[float, ...]:
    """``points`` rates from ``low`` to ``high`` with a constant ratio, to 6 significant digits."""
    ratio = (high / low) ** (1 / (points - 1))
    return (low, *(_round(low * ratio**index, 6) for index in range(1, points - 1)), high)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A cycle's first candidates and how they extend.

    Attributes:
        values: At least two rates, ascending, positive.
        scale: Whether a step past an edge adds (``linear``) or multiplies (``log``).
        limit: Most values that are added past each edge in one cycle; 0 turns extension off.
    """

    values: tuple[float, ...]
    scale: Scale
    limit: int

    def below(self, count: int) -> float | None:
        """The ``count``-th value below the grid, from 1; None past the limit or if it is not positive."""
        return self._past(self.values[0], self.values[1], count)

    def above(self, count: int) -> float | None:
        """The ``count``-th value above the grid, from 1; None past the limit."""
        return self._past(self.values[-1], self.values[-2], count)

    @property
    def reach(self) -> tuple[float, ...]:
        """All values, with those that may be added past the edges, ascending."""
        counts = range(1, self.limit + 1)
        below = [value for count in counts if (value := self.below(count)) is not None]
        above = [value for count in counts if (value := self.above(count)) is not None]
        return (*reversed(below), *self.values, *above)

    def _past(self, edge: float, neighbour: float, count: int) -> float | None:
        if count > self.limit:
            return None
        value, before = (self._step(edge, neighbour, steps) for steps in (count, count - 1))
        further = value > before if edge > neighbour else value < before
        return value if further and 1e-9 * edge < value < math.inf else None

    def _step(self, edge: float, neighbour: float, count: int) -> float:
        if count == 0:
            return edge
        if self.scale == "linear":
            return _round(edge + count * (edge - neighbour), 12)
        exponent = math.log(edge) + count * math.log(edge / neighbour)
        return _round(math.exp(exponent), 6) if exponent < _LARGEST_EXPONENT else math.inf


def chunks(values: Sequence[float], size: int) -> tuple[tuple[float, ...], ...]:
    """Splits values into the fewest runs of at most ``size``, as even as can be, in their order."""
    count = math.ceil(len(values) / size)
    bounds = [round(index * len(values) / count) for index in range(count + 1)]
    return tuple(tuple(values[begin:end]) for begin, end in pairwise(bounds))


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
