"""The settings of the schedulers of :mod:`silo.scheduler`, checked, and their states read; without torch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from silo import checks
from silo.errors import InvalidInput
from silo.warmup import in_iterations, milestones_in_iterations

_SETTINGS = ("warmup", "milestones", "factor", "ratios")


class Peaks(Protocol):
    """What has a peak learning rate for each cycle."""

    def max_lr(self, cycle: int, /) -> float:
        """The peak learning rate of a cycle of at least 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that a scheduler keeps from cycle to cycle, in whole iterations."""

    peaks: Peaks
    warmup: int
    milestones: tuple[int, ...]
    factor: float
    ratios: tuple[float, ...]

    @classmethod
    def checked(
        cls,
        peaks: Peaks,
        *,
        warmup: object,
        milestones: object,
        factor: object,
        ratios: object,
        groups: int,
        epoch_length: int | None = None,
    ) -> Self:
        """``epoch_length`` is None where lengths are in iterations. Raises InvalidInput for a wrong value."""
        share = checks.finite("factor", factor)
        if not 0 < share <= 1:
            raise InvalidInput(
                f"factor must be above 0 and at most 1, not {factor!r}: give a float such as 0.1"
            )
        return cls(
            peaks=peaks,
            warmup=in_iterations("warmup", warmup, epoch_length),
            milestones=milestones_in_iterations(milestones, epoch_length),
            factor=share,
            ratios=_ratios(ratios, groups),
        )

    @classmethod
    def restored(
        cls, state: object, name: str, read: Callable[[object], Peaks], *, groups: int
    ) -> tuple[Self, int, int]:
        """The plan, the cycle and the iteration of a dict as a scheduler's ``state_dict`` writes it.

        Args:
            state: The dict.
            name: Under what it has the peaks.
            read: The peaks of what stands there.
            groups: The optimizer's parameter groups.

        Raises:
            InvalidInput: It is none.
        """
        known = (name, *_SETTINGS, "cycle", "iteration")
        if not isinstance(state, Mapping):
            raise InvalidInput(f"it is a {type(state).__name__}: give the dict that state_dict() returned")
        for given in state:
            if given not in known:
                raise InvalidInput(f"it has {given!r}: {checks.nearest(str(given), known)}")
        missing = [each for each in known if each not in state]
        if missing:
            raise InvalidInput(f"it lacks {', '.join(missing)}: give what state_dict() returned, whole")
        plan = cls.checked(read(state[name]), **{each: state[each] for each in _SETTINGS}, groups=groups)
        return plan, checks.whole("cycle", state["cycle"]), checks.whole("iteration", state["iteration"])


def _ratios(values: object, groups: int) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"ratios must be a list of numbers, not {values!r}: give {[1.0] * groups}")
    given = list(values)
    if len(given) != groups:
        raise InvalidInput(
            f"ratios must be {groups}, one for each parameter group, not {given!r}: give {[1.0] * groups}"
        )
    return tuple(checks.not_negative(f"ratios[{index}]", value) for index, value in enumerate(given))
