"""Learning rate schedules: pure functions from the step to a multiplier in [0, 1] of ``max_lr``.

Each is ``(*, steps, steps_per_unit, **arguments) -> Schedule``: ``steps`` are those of the whole training,
counted from 0, and ``steps_per_unit`` are the steps per epoch if the recipe counts in epochs, else 1. Lengths
are in the recipe's unit and are rounded to steps.

Sources: Table 1 of the SILO paper (TMLR 08/2023) for LR decay, cyclical LR and LR warmup; its Table 7 for the
cosine decay; torch's schedulers, which these equal step by step, for the details that those leave open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeGuard

from silo.errors import InvalidInput
from silo.warmup import multiplier
from trials.registry import call, resolve
from trials.tasks import Component

Schedule = Callable[[int], float]

LEAST_HELD = 1e-3
"""Least multiplier that fine-tuning may hold: what the paper's three drops by ten leave."""


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
        warmup: Length of the warmup, in the recipe's unit.
        drops: When the rate drops, ascending, in the recipe's unit.
        factor: Factor of the rate at each drop, in (0, 1].

    Raises:
        InvalidInput: A length is negative or no number, the drops don't ascend or lie outside the training.
    """
    if not _is_number(factor) or not 0.0 < factor <= 1.0:
        raise InvalidInput(f"schedule.factor must lie in (0, 1], got {factor!r}")
    warmup_steps = _warmup_steps(warmup, steps, steps_per_unit)
    if not isinstance(drops, Sequence) or not all(map(_is_number, drops)):
        raise InvalidInput(f"schedule.drops must be a list of numbers, such as [80, 120], got {drops!r}")
    drop_steps = [round(d * steps_per_unit) for d in drops]
    if drop_steps != sorted(set(drop_steps)) or any(not 0 < d < steps for d in drop_steps):
        raise InvalidInput(
            f"schedule.drops must ascend and lie inside the training, got {list(drops)} "
            f"(steps {drop_steps} of {steps})"
        )
    return partial(multiplier, warmup=warmup_steps, milestones=drop_steps, factor=factor)


def linear_decay(
    *, steps: int, steps_per_unit: float, over: float | None = None, final: float = 0.0
) -> Schedule:
    """A straight line from ``max_lr`` down to ``final`` ("LR decay" of the SILO paper's Table 1).

    Decaying over d steps, step 0 has the multiplier 1, step d is the first of ``final``, and those after it
    keep it. Over the whole training, the last step is one step short of ``final``: final + (1 - final) / d.
    As torch's LinearLR with total_iters = d.

    Args:
        over: Length of the decay, in the recipe's unit; None means the whole training.
        final: Where it ends, as a ratio of ``max_lr`` in [0, 1].

    Raises:
        InvalidInput: ``over`` rounds to no step or exceeds the training, or ``final`` is no ratio.
    """
    length = steps if over is None else _length("over", over, steps, steps_per_unit)
    _check_ratio("final", final)
    return lambda step: final + (1.0 - final) * (1.0 - min(step, length) / length)


def cyclical(*, steps: int, steps_per_unit: float, low: float, step: float) -> Schedule:
    """A triangle wave between ``low`` and ``max_lr`` (Smith 2017; "cyclical LR" of the SILO paper's Table 1).

    With half a cycle of s steps, the steps 0, 2s, 4s, … have the multiplier ``low`` and s, 3s, 5s, … are at
    the peak, with straight lines between; the training ends wherever in a cycle its last step falls. As
    torch's CyclicLR, mode triangular, with step_size_up = s.

    Args:
        low: The lower bound, as a ratio of ``max_lr`` in [0, 1].
        step: Half a cycle's length, in the recipe's unit; less than the training's, so that it has a peak.

    Raises:
        InvalidInput: ``step`` rounds to no step or reaches no peak, or ``low`` is no ratio.
    """
    half = _length("step", step, steps, steps_per_unit)
    if half == steps:
        raise InvalidInput(
            f"schedule.step must be less than the training's length, so that max_lr is reached, got {step} "
            f"({half} of {steps} steps)"
        )
    _check_ratio("low", low)
    return lambda index: low + (1.0 - low) * (1.0 - abs(index % (2 * half) - half) / half)


def cosine(*, steps: int, steps_per_unit: float, warmup: float = 0.0, final: float = 0.0) -> Schedule:
    """Linear warmup to ``max_lr``, then half a cosine down towards ``final``.

    With a warmup of w steps, step i < w has the multiplier (i + 1) / w, as in :func:`warmup_drops`. Step w
    starts the cosine, at the peak again, and the last step is one step short of ``final``. As torch's
    CosineAnnealingLR with T_max = steps - w, after a LinearLR where there is a warmup.

    Args:
        warmup: Length of the warmup, in the recipe's unit.
        final: Where it ends, as a ratio of ``max_lr`` in [0, 1].

    Raises:
        InvalidInput: ``warmup`` lies outside the training, or ``final`` is no ratio.
    """
    warmup_steps = _warmup_steps(warmup, steps, steps_per_unit)
    _check_ratio("final", final)

    def at(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return _anneal_cos(1.0, final, (step - warmup_steps) / (steps - warmup_steps))

    return at


def one_cycle(
    *,
    steps: int,
    steps_per_unit: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal_strategy: str = "cos",
) -> Schedule:
    """Up to ``max_lr`` and down to almost nothing (Smith and Topin 2017), as torch's OneCycleLR.

    Step 0 has the multiplier 1 / div_factor, step pct_start · steps - 1 is the peak (passed between two steps
    where it isn't whole, and step 0 starts behind it where it is negative), and the last step has
    1 / (div_factor · final_div_factor). The momentum stays what it is: torch's ``cycle_momentum=False``.

    Args:
        pct_start: Share of the training in which the rate rises, in [0, 1].
        div_factor: ``max_lr`` over the first rate, at least 1.
        final_div_factor: The first rate over the last, at least 1.
        anneal_strategy: "cos" or "linear".

    Raises:
        InvalidInput: An argument is out of its range.
    """
    del steps_per_unit
    _check_ratio("pct_start", pct_start)
    _check_divisors(div_factor=div_factor, final_div_factor=final_div_factor)
    if anneal_strategy not in ("cos", "linear"):
        raise InvalidInput(f"schedule.anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
    anneal = _anneal_cos if anneal_strategy == "cos" else _anneal_linear
    peak, end = pct_start * steps - 1.0, steps - 1.0
    first, last = 1.0 / div_factor, 1.0 / div_factor / final_div_factor

    def at(step: int) -> float:
        if step < peak:
            return anneal(first, 1.0, step / peak)
        return anneal(1.0, last, (step - peak) / (end - peak)) if peak < end else 1.0

    return at


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "warmup_drops": warmup_drops,
    "linear_decay": linear_decay,
    "cyclical": cyclical,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


def multipliers(
    schedule: Component, *, steps: int, steps_per_unit: float, fine_tuning: bool = False
) -> list[float]:
    """The schedule's multiplier at each of the training's steps.

    Args:
        schedule: Its name and arguments.
        steps: Steps of the whole training.
        steps_per_unit: Steps per epoch if the recipe counts in epochs, else 1.
        fine_tuning: Whether pruned networks are trained with the last multiplier throughout: then it must be
            at least :data:`LEAST_HELD`.

    Raises:
        InvalidInput: The schedule is unknown, an argument is wrong, a multiplier leaves [0, 1], or the last
            is too small to be held.
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
    if fine_tuning and values[-1] < LEAST_HELD * (1.0 - 1e-9):
        raise InvalidInput(
            f"schedule {schedule.name!r} ends at {values[-1]:.3g} of max_lr, which fine_tuning would hold "
            f"from cycle 1 on, training next to nothing: let it end at {LEAST_HELD:g} or more (by 'final', "
            "'final_div_factor', 'low' or 'factor'), or take the retraining lr_rewinding or weight_rewinding"
        )
    return values


def _anneal_cos(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))


def _anneal_linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _is_number(value: object) -> TypeGuard[float]:
    """A number, not so large that its product with another overflows."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e15


def _check_ratio(name: str, value: object) -> None:
    if not _is_number(value) or not 0.0 <= value <= 1.0:
        raise InvalidInput(f"schedule.{name} must lie in [0, 1], got {value!r}")


def _check_divisors(**values: object) -> None:
    for name, value in values.items():
        if not _is_number(value) or value < 1.0:
            raise InvalidInput(f"schedule.{name} must be a number of at least 1, got {value!r}")


def _warmup_steps(warmup: object, steps: int, steps_per_unit: float) -> int:
    if not _is_number(warmup):
        raise InvalidInput(f"schedule.warmup must be a number, got {warmup!r}")
    found = round(warmup * steps_per_unit)
    if warmup < 0 or found > steps:
        raise InvalidInput(
            f"schedule.warmup must lie between 0 and the training's length, got {warmup} "
            f"({found} of {steps} steps)"
        )
    return found


def _length(name: str, value: object, steps: int, steps_per_unit: float) -> int:
    """A length of at least one step that doesn't exceed the training."""
    if not _is_number(value):
        raise InvalidInput(f"schedule.{name} must be a number, got {value!r}")
    found = round(value * steps_per_unit)
    if not 1 <= found <= steps:
        raise InvalidInput(
            f"schedule.{name} must lie between one step and the training's length, got {value} "
            f"({found} of {steps} steps)"
        )
    return found
