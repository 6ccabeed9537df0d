"""The learning-rate schedule inside one cycle: linear warmup, then drops, as a multiplier of ``max_lr``.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Algorithm 1 (lines 6 to 8) and "LR warmup" of Table 1.
"""

from collections.abc import Iterable, Sequence

from silo import checks
from silo.errors import InvalidInput

UNITS = ("iterations", "epochs")


def multiplier(step: int, *, warmup: int, milestones: Sequence[int], factor: float = 0.1) -> float:
    """The multiple of ``max_lr`` at one step: "increase to a over b Iters, 10x drop at c, d, e Iters".

    With a warmup of w steps, step i (from 0) has (i + 1) / w, so that no step is lost on a rate of zero and
    step w − 1 is the first at the peak. From each milestone on the rate is multiplied by ``factor``; a
    milestone inside the warmup divides the ramp. Arguments are trusted: their callers have checked them.

    Args:
        step: The step within the cycle, from 0.
        warmup: Steps of the warmup, at least 0; 0 starts at the peak.
        milestones: The steps, ascending, from which on the rate is lower.
        factor: What each milestone multiplies the rate by, in (0, 1].

    Returns:
        The multiplier, in [0, 1].
    """
    ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return ramp * factor ** sum(step >= milestone for milestone in milestones)


def epoch_iterations(unit: object, steps_per_epoch: object) -> int | None:
    """Iterations per epoch where ``unit`` is "epochs", None where it is "iterations".

    Raises:
        InvalidInput: The unit is unknown, or ``steps_per_epoch`` is no integer of at least 1, or is missing.
    """
    if unit not in UNITS:
        raise InvalidInput(f"there is no unit {unit!r}: {checks.nearest(str(unit), UNITS)}")
    if steps_per_epoch is None:
        if unit == "epochs":
            raise InvalidInput(
                "unit='epochs' needs steps_per_epoch: give len(loader), the batches of an epoch"
            )
        return None
    try:
        steps = checks.whole("steps_per_epoch", steps_per_epoch)
    except InvalidInput:
        steps = 0
    if steps < 1:
        raise InvalidInput(
            f"steps_per_epoch must be an integer of at least 1, not {steps_per_epoch!r}: give len(loader)"
        )
    return steps if unit == "epochs" else None


def in_iterations(name: str, value: object, epoch_length: int | None) -> int:
    """A length in whole iterations, rounded where it was given in epochs.

    Args:
        name: What to call it in the error.
        value: The length, at least 0: in iterations, whole, or in epochs, where fractions are good too.
        epoch_length: Iterations per epoch, or None where ``value`` is in iterations.

    Raises:
        InvalidInput: It is no number, negative or not finite, or a fraction of iterations.
    """
    unit, example = ("iterations", "10000") if epoch_length is None else ("epochs", "2.5")
    try:
        length = checks.finite(name, checks.not_negative(name, value) * (epoch_length or 1))
    except InvalidInput:
        raise InvalidInput(
            f"{name} must be a number of {unit}, finite and at least 0, not {value!r}: give {example}"
        ) from None
    if epoch_length is None and not length.is_integer():
        raise InvalidInput(
            f"{name} must be a whole number of iterations, not {value!r}: give 10000, or unit='epochs'"
        )
    return round(length)


def milestones_in_iterations(values: object, epoch_length: int | None) -> tuple[int, ...]:
    """The milestones in whole iterations; ``values`` and ``epoch_length`` as for ``in_iterations``.

    Raises:
        InvalidInput: They are no numbers, or do not ascend from above 0 in whole iterations.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"milestones must be a list of numbers, not {values!r}: give [32000, 48000]")
    given = list(values)
    steps = [in_iterations(f"milestones[{index}]", value, epoch_length) for index, value in enumerate(given)]
    if steps != sorted(set(steps)) or 0 in steps:
        raise InvalidInput(
            f"milestones must ascend and be above 0, not {given!r} (iterations {steps}): give [32000, 48000]"
        )
    return tuple(steps)
