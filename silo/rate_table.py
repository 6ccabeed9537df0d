"""A table of peak learning rates, one per pruning cycle, such as an Oracle finds it."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Self

from silo import checks
from silo.errors import InvalidInput


@dataclass(frozen=True)
class RateTable:
    """The peak learning rate of each pruning cycle; the last one holds for all later cycles.

    Attributes:
        rates: Learning rates above 0, of cycles 0, 1, …; at least one.
    """

    rates: tuple[float, ...]

    @classmethod
    def checked(cls, given: object) -> Self:
        """A table of what was given: any list, array or column of numbers.

        Raises:
            InvalidInput: It has no order or no numbers, or one of them is not above 0.
        """
        if isinstance(given, cls):
            return given
        orderless = isinstance(given, str | bytes | Mapping | Set)
        if orderless or not isinstance(given, Iterable):
            raise InvalidInput(
                f"rates must be a list of numbers, those of cycles 0, 1, …, not {given!r}: give [0.05, 0.1], "
                "or a search's Results.rates"
            )
        rates = tuple(checks.positive(f"rates[{cycle}]", rate) for cycle, rate in enumerate(given))
        if not rates:
            raise InvalidInput("rates must have a number for cycle 0 at least, not none: give [0.05, 0.1]")
        return cls(rates)

    def max_lr(self, cycle: int) -> float:
        """The peak learning rate of a cycle of at least 0."""
        return self.rates[min(cycle, len(self.rates) - 1)]
