"""How fast a search's trainings are computed here, measured on a few steps."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from oracle.spec import Spec
from trials.recipe import Component, Execution

if TYPE_CHECKING:
    from trials.engine.stacked import StackedNetwork
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


def measure(
    spec: Spec, runner: Runner, execution: Execution, *, count: int, graphs: tuple[str, ...] = ()
) -> Speed:
    """Times steps and validations of a pack on this process's device: medians of a few.

    Args:
        spec: The spec.
        runner: A worker for this process.
        way: The way.
        count: Candidates of the pack.
        graphs: What has been compiled for the way: see :class:`trials.engine.engine.Engine`.
    """
    pack = _Rehearsal(spec, runner, execution, count, graphs)
    first = _timed(runner, lambda: pack.train(1))
    one = _timed(runner, lambda: pack.train(1))
    fits = max(1, min(_STEPS, int(_LONGEST_MEASUREMENT / max(one, 1e-6))))
    repeats = _REPEATS if one * fits < _LONGEST_MEASUREMENT / 2 else 1
    pairs = [
        (_timed(runner, lambda: pack.train(fits + 1)), _timed(runner, lambda: pack.train(1)))
        for _ in range(repeats)
    ]
    step = statistics.median((more - less) / fits for more, less in pairs)
    seconds = pack.share * statistics.median(_timed(runner, pack.validate) for _ in range(repeats))
    return Speed(step=max(step, 1e-6), validation=seconds, first=max(first - one + step, step, 1e-6))


def rehearse(spec: Spec, runner: Runner, execution: Execution) -> None:
    """Takes one step of a whole pack on the runner's device, and one validation: does it fit into memory?"""
    pack = _Rehearsal(spec, runner, dataclasses.replace(execution, compiled=False), execution.pack_size)
    pack.train(1)
    pack.validate()


class _Rehearsal:
    """Trainings of a pack of any length, at rates that change nothing.

    Attributes:
        share: How many times the validation that is rehearsed goes into the real one.
    """

    def __init__(
        self, spec: Spec, runner: Runner, execution: Execution, count: int, graphs: tuple[str, ...] = ()
    ) -> None:
        from trials.datasets import beginning
        from trials.engine.engine import Engine
        from trials.engine.evaluate import evaluation_batch
        from trials.engine.stacked import named_tensors

        self._recipe = dataclasses.replace(
            spec.recipe(execution=execution),
            unit="iterations",
            evaluate_every=None,
            rewind_to=0,
            diagnostics=False,
            retraining="weight_rewinding",
            schedule=Component(name="constant"),
        )
        self._module, self._device, self._count = runner.network(0).to(runner.device), runner.device, count
        # A batch of examples stands for the whole splits: those may take minutes.
        size = evaluation_batch(len(runner.data.validation))
        validation, test = (beginning(split, size) for split in (runner.data.validation, runner.data.test))
        self._data = dataclasses.replace(
            runner.data, channels_last=execution.channels_last, validation=validation, test=test
        )
        self.share = len(runner.data.validation) / len(validation)
        self._state = named_tensors(self._module)
        self._programs = Engine(self._module, self._recipe, graphs=graphs)

    def train(self, length: int) -> None:
        """Trains the pack for so many steps."""
        from trials.training import train_pack

        train_pack(
            module=self._module,
            start=self._state,
            masks={},
            data=self._data,
            recipe=dataclasses.replace(self._recipe, length=length),
            cycle=0,
            replicate=0,
            max_lrs=tuple(1e-6 * (index + 1) for index in range(self._count)),
            engine=self._programs,
        )

    @cached_property
    def _copies(self) -> StackedNetwork:
        from trials.engine.stacked import StackedNetwork

        return StackedNetwork.of(self._module, self._state, self._count, self._device)

    def validate(self) -> None:
        """Validates the pack once."""
        from trials.engine.gradients import quiet_vmap
        from trials.engine.precision import computing

        with computing(self._recipe.precision, self._device), quiet_vmap():
            self._programs.count_correct(self._copies, self._data, self._data.validation)


def _timed(runner: Runner, work: Callable[[], None]) -> float:
    import torch

    begin = time.perf_counter()
    work()
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    return time.perf_counter() - begin
