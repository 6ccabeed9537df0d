"""How fast a search's trainings are computed here, measured on a few steps."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oracle.spec import Spec
from trials.recipe import Component, Way

if TYPE_CHECKING:
    from trials.runner import Runner

_STEPS, _REPEATS = 12, 3
_LONGEST_MEASUREMENT = 2.0
"""Seconds for the steps of one way; a slow step is measured fewer times."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a pack is trained.

    Attributes:
        step: Seconds of one step of the pack.
        validation: Seconds of one validation of the pack.
        first: Seconds of the first step, which compiles where that is the way.
    """

    step: float
    validation: float
    first: float

    def training(self, steps: int, validations: int) -> float:
        """Seconds of the pack's training."""
        return steps * self.step + validations * self.validation


def measure(spec: Spec, runner: Runner, way: Way, *, count: int, graphs: tuple[str, ...] = ()) -> Speed:
    """Times steps and validations of a pack on this process's device: medians of a few.

    Args:
        spec: The spec.
        runner: A worker for this process.
        way: The way.
        count: Candidates of the pack.
        graphs: What has been compiled for the way: see :class:`trials.programs.Programs`.
    """
    from trials.copies import Copies, named_tensors
    from trials.datasets import beginning
    from trials.gradients import quiet_vmap
    from trials.precision import computing
    from trials.programs import Programs
    from trials.training import train_pack
    from trials.validation import evaluation_batch

    recipe = dataclasses.replace(
        spec.recipe(way=way),
        unit="iterations",
        evaluate_every=None,
        rewind_to=0,
        diagnostics=False,
        retraining="weight_rewinding",
        schedule=Component(name="constant"),
    )
    module = runner.network(0).to(runner.device)
    # A batch of examples stands for the whole splits: those may take minutes.
    size = evaluation_batch(len(runner.data.validation))
    validation, test = (beginning(split, size) for split in (runner.data.validation, runner.data.test))
    data = dataclasses.replace(runner.data, channels_last=way.channels_last, validation=validation, test=test)
    share = len(runner.data.validation) / len(validation)
    state = named_tensors(module)
    copies = Copies.of(module, state, count, runner.device)
    rates = tuple(1e-6 * (index + 1) for index in range(count))
    programs = Programs(module, recipe, graphs=graphs)

    def trained(length: int) -> None:
        train_pack(
            module=module,
            start=state,
            masks={},
            data=data,
            recipe=dataclasses.replace(recipe, length=length),
            cycle=0,
            replicate=0,
            max_lrs=rates,
            programs=programs,
        )

    def validated() -> None:
        with computing(recipe.precision, runner.device), quiet_vmap():
            programs.count_correct(copies, data, data.validation)

    first = _timed(runner, lambda: trained(1))
    one = _timed(runner, lambda: trained(1))
    fits = max(1, min(_STEPS, int(_LONGEST_MEASUREMENT / max(one, 1e-6))))
    repeats = _REPEATS if one * fits < _LONGEST_MEASUREMENT / 2 else 1
    pairs = [
        (_timed(runner, lambda: trained(fits + 1)), _timed(runner, lambda: trained(1)))
        for _ in range(repeats)
    ]
    step = statistics.median((more - less) / fits for more, less in pairs)
    seconds = share * statistics.median(_timed(runner, validated) for _ in range(repeats))
    return Speed(step=max(step, 1e-6), validation=seconds, first=max(first - one + step, step, 1e-6))


def _timed(runner: Runner, work: Callable[[], None]) -> float:
    import torch

    begin = time.perf_counter()
    work()
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    return time.perf_counter() - begin
