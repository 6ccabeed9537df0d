"""How fast packs are trained here, measured on a few steps."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from trials.datasets import beginning
from trials.engine import Engine, StackedNetwork, evaluation_batch, named_tensors
from trials.process import free_memory, is_out_of_memory
from trials.runner import Runner
from trials.tasks import Component, Recipe
from trials.training import train_pack

_STEPS, _REPEATS = 12, 3
_LONGEST_MEASUREMENT = 2.0
"""Seconds for the steps of one execution; a slow step is measured fewer times."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a pack is trained.

    Attributes:
        step: Seconds of one step of the pack.
        validation: Seconds of one validation of the pack.
        first: Seconds of the first step, which compiles where the execution is compiled.
    """

    step: float
    validation: float
    first: float

    def training(self, steps: int, validations: int) -> float:
        """Seconds of the pack's training."""
        return steps * self.step + validations * self.validation


def measure_speed(
    recipe: Recipe, runner: Runner, *, count: int, graphs: tuple[str, ...] = (), engine: Engine | None = None
) -> Speed:
    """Times steps and validations of a pack on this process's device: medians of a few.

    Args:
        recipe: How to train, with the execution that is measured.
        runner: A worker for this process; it gives the network, the data and the device.
        count: Candidates of the pack.
        graphs: The graphs that were compiled for the recipe: see :class:`trials.engine.Engine`.
        engine: The recipe's, if there is one already: its steps are made, and nothing is made anew.
    """
    pack = _TrialPack(recipe, runner, count, graphs, engine)
    first = _timed(runner, lambda: pack.train(1), clock=time.perf_counter)  # the compiler is another process
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


def try_one_step(recipe: Recipe, runner: Runner) -> None:
    """Takes one step of a whole pack on the runner's device, and one validation: does it fit into memory?

    A pack that does not is halved, as trainings do it; one candidate alone must fit.
    """
    execution, size = dataclasses.replace(recipe.execution, compiled=False), recipe.execution.pack_size
    while True:
        some = dataclasses.replace(recipe, execution=dataclasses.replace(execution, pack_size=size))
        try:
            _take_one_step(some, runner)
            return
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        size = -(-size // 2)
        free_memory(runner.device)


def _take_one_step(recipe: Recipe, runner: Runner) -> None:
    pack = _TrialPack(recipe, runner, recipe.execution.pack_size)
    pack.train(1)
    pack.validate()


class _TrialPack:
    """Trainings of a pack of any length, at rates that change nothing.

    Attributes:
        share: How many times the validation that is timed goes into the real one.
    """

    def __init__(
        self,
        recipe: Recipe,
        runner: Runner,
        count: int,
        graphs: tuple[str, ...] = (),
        engine: Engine | None = None,
    ) -> None:
        self._recipe = dataclasses.replace(
            recipe,
            unit="iterations",
            evaluate_every=None,
            rewind_to=0,
            diagnostics=False,
            retraining="weight_rewinding",
            schedule=Component(name="constant"),
        )
        self._device, self._count = runner.device, count
        if engine is None:
            engine = Engine(runner.network(0).to(runner.device), self._recipe, graphs=graphs)
        self._engine, self._module = engine, engine.module
        # A batch of examples stands for the whole splits: those may take minutes.
        size = evaluation_batch(runner.data.validation, recipe.batch_size)
        validation, test = (beginning(split, size) for split in (runner.data.validation, runner.data.test))
        self._data = dataclasses.replace(
            runner.data,
            channels_last=recipe.execution.channels_last,
            validation=validation,
            test=test,
        )
        self.share = len(runner.data.validation) / len(validation)
        self._state = named_tensors(self._module)

    def train(self, length: int) -> None:
        """Trains the pack for so many steps."""
        train_pack(
            module=self._module,
            start=self._state,
            masks={},
            data=self._data,
            recipe=dataclasses.replace(self._recipe, length=length),
            cycle=0,
            replicate=0,
            max_lrs=tuple(1e-6 * (index + 1) for index in range(self._count)),
            engine=self._engine,
        )

    @cached_property
    def _copies(self) -> StackedNetwork:
        return StackedNetwork.of(self._module, self._state, self._count, self._device)

    def validate(self) -> None:
        """Validates the pack once."""
        with self._engine.computing(self._device):
            self._engine.scores(self._copies, self._data, self._data.validation)


def _timed(runner: Runner, work: Callable[[], None], clock: Callable[[], float] | None = None) -> float:
    """Seconds that work takes.

    Those that this thread computes, where it alone does: what else runs on the machine, as workers that start
    do, then makes no way look slower than another.
    """
    if clock is None:
        alone = runner.device.type == "cpu" and runner.recipe.threads == 1
        clock = time.thread_time if alone else time.perf_counter
    begin = clock()
    work()
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    return clock() - begin
