"""Learning rate schedules: pure functions from the step to a multiplier in [0, 1] of ``max_lr``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from silo.errors import InvalidInput
from silo.warmup import multiplier
from trials.recipe import Component
from trials.registry import call, resolve

Schedule = Callable[[int], float]


def constant(*, steps: int, steps_per_unit: float) -> Schedule:
    """``max_lr`` at every step."""
    del steps, steps_per_unit
    return lambda step: 1.0


def warmup_drops(
    *,
    steps: int,
    steps_per_unit: float,
    warmup: float = 0.0,
    drops: Sequence[float] = (),
    factor: float = 0.1,
) -> Schedule:
    """Linear warmup to ``max_lr``, then a division at each drop ("LR warmup" of the SILO paper's Table 1).

    With a warmup of w steps, step i (from 0) has the multiplier (i + 1) / w, so that no step is lost on a
    rate of zero and step w - 1 is the first at the peak. From each drop on the rate is multiplied by
    ``factor``.

    Args:
        steps: Steps of the whole training.
        steps_per_unit: Steps per epoch if the recipe counts in epochs, else 1.
        warmup: Length of the warmup, in the recipe's unit.
        drops: When the rate drops, ascending, in the recipe's unit.
        factor: What each drop multiplies the rate by, in (0, 1].

    Raises:
        InvalidInput: A length is negative or no number, the drops don't ascend or lie outside the training.
    """
    if not _is_number(factor) or not 0.0 < factor <= 1.0:
        raise InvalidInput(f"schedule.factor must lie in (0, 1], got {factor!r}")
    if not _is_number(warmup):
        raise InvalidInput(f"schedule.warmup must be a number, got {warmup!r}")
    if not isinstance(drops, Sequence) or not all(map(_is_number, drops)):
        raise InvalidInput(f"schedule.drops must be a list of numbers, such as [80, 120], got {drops!r}")
    warmup_steps, drop_steps = round(warmup * steps_per_unit), [round(d * steps_per_unit) for d in drops]
    if warmup < 0 or warmup_steps > steps:
        raise InvalidInput(
            f"schedule.warmup must lie between 0 and the training's length, got {warmup} "
            f"({warmup_steps} of {steps} steps)"
        )
    if drop_steps != sorted(set(drop_steps)) or any(not 0 < d < steps for d in drop_steps):
        raise InvalidInput(
            f"schedule.drops must ascend and lie inside the training, got {list(drops)} "
            f"(steps {drop_steps} of {steps})"
        )
    return partial(multiplier, warmup=warmup_steps, milestones=drop_steps, factor=factor)


SCHEDULES: dict[str, Callable[..., Schedule]] = {"constant": constant, "warmup_drops": warmup_drops}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def multipliers(schedule: Component, *, steps: int, steps_per_unit: float) -> list[float]:
    """The schedule's multiplier at each of the training's steps.

    Raises:
        InvalidInput: The schedule is unknown, an argument is wrong, or a multiplier leaves [0, 1].
    """
    function = call(
        "schedule",
        schedule.name,
        resolve("schedule", schedule.name, SCHEDULES),
        schedule.arguments,
        steps=steps,
        steps_per_unit=steps_per_unit,
    )
    values = [float(function(step)) for step in range(steps)]
    outside = [(step, value) for step, value in enumerate(values) if not 0.0 <= value <= 1.0]
    if outside:
        step, value = outside[0]
        raise InvalidInput(f"schedule {schedule.name!r} gives {value} at step {step}: it must lie in [0, 1]")
    return values
