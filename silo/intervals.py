"""The Oracle's result for one pruning cycle: the best rate and the interval of rates that are as good."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from silo import checks
from silo.errors import InvalidInput

#: Rates this close, relative to the end of an interval, count as on it: curves are compared in float64.
SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class CycleInterval:
    """The Oracle optimized max_lr and interval of one pruning cycle (the paper's Section 5.4).

    Attributes:
        cycle: m, the number of completed pruning cycles; an int of at least 0.
        optimum: the rate with the best mean validation accuracy, within [low, high].
        low: the lowest rate of the interval, above 0.
        high: the highest rate of the interval.
        low_cut: the grid ended at ``low``, so that lower rates might be as good: it bounds nothing.
        high_cut: the grid ended at ``high``, so that higher rates might be as good: it bounds nothing.

    Raises:
        InvalidInput: a value is outside its range, not finite, or the three rates are out of order.
    """

    cycle: int
    optimum: float
    low: float
    high: float
    low_cut: bool = False
    high_cut: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycle", checks.whole("cycle", self.cycle))
        for name in ("optimum", "low", "high"):
            value = checks.positive(f"{name} of cycle {self.cycle}", getattr(self, name))
            object.__setattr__(self, name, value)
        for name in ("low_cut", "high_cut"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(
                    f"{name} of cycle {self.cycle} must be True or False, not {getattr(self, name)!r}"
                )
        if not self.low <= self.optimum <= self.high:
            raise InvalidInput(
                f"cycle {self.cycle} needs low <= optimum <= high, not low={self.low!r}, "
                f"optimum={self.optimum!r}, high={self.high!r}: give the interval around the optimum"
            )

    def contains(self, rate: float, slack: float = SLACK) -> bool:
        """Whether ``rate`` lies in [low, high] as stated, ends included: how the paper counts.

        Args:
            rate: a learning rate.
            slack: by which share of an end ``rate`` may lie beyond it.
        """
        return self.low * (1 - slack) <= rate <= self.high * (1 + slack)

    def compatible(self, rate: float, slack: float = SLACK) -> bool:
        """Whether the Oracle's data allow ``rate``: as ``contains``, but an end cut off bounds nothing."""
        above = self.low_cut or rate >= self.low * (1 - slack)
        below = self.high_cut or rate <= self.high * (1 + slack)
        return above and below


def check_intervals(intervals: Iterable[CycleInterval]) -> tuple[CycleInterval, ...]:
    """The intervals in the order of their cycles.

    Raises:
        InvalidInput: there are none, one is no CycleInterval, or two are of one cycle.
    """
    if not isinstance(intervals, Iterable):
        raise InvalidInput(f"intervals must be a list of CycleInterval, not {intervals!r}")
    given = tuple(intervals)
    if not given:
        raise InvalidInput(
            "intervals must not be empty, not (): give a CycleInterval for each measured cycle"
        )
    for interval in given:
        if not isinstance(interval, CycleInterval):
            raise InvalidInput(f"an interval must be a CycleInterval, not {interval!r}")
    ordered = tuple(sorted(given, key=lambda interval: interval.cycle))
    for before, after in pairwise(ordered):
        if before.cycle == after.cycle:
            raise InvalidInput(f"cycle {after.cycle} was given twice, as {before} and {after}: give it once")
    return ordered


def cycles_in_words(cycles: Sequence[int]) -> str:
    """``cycle 3`` or ``cycles 3, 7 and 9``; three or more in a row are ``5–8``."""
    if not cycles:
        raise InvalidInput("no cycles to name")
    named = cycle_ranges(cycles)
    if len(cycles) == 1:
        return f"cycle {named[0]}"
    if len(named) == 1:
        return f"cycles {named[0]}"
    return f"cycles {', '.join(named[:-1])} and {named[-1]}"


def cycle_ranges(cycles: Sequence[int]) -> list[str]:
    """Ascending cycles as texts, three or more in a row as one: ``5–8``."""
    breaks = [k + 1 for k, (one, other) in enumerate(pairwise(cycles)) if other != one + 1]
    runs = [cycles[a:b] for a, b in pairwise([0, *breaks, len(cycles)])]
    return [
        text
        for run in runs
        for text in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else [str(cycle) for cycle in run])
    ]
