"""The choice of an execution for a search's trainings, by measuring a few steps of each.

A search that is over in seconds anyway isn't measured: a rule of thumb chooses, the same one every time.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import nn

from silo.errors import InvalidInput
from trials.datasets import beginning
from trials.engine import (
    FEWEST_PACKED,
    Engine,
    StackedNetwork,
    evaluation_batch,
    named_tensors,
    why_not_packed,
)
from trials.engine.compile_cache import lacks_place
from trials.objectives import make_loss
from trials.process import DeviceLost, free_memory, is_out_of_memory, raise_if_lost
from trials.runner import Runner
from trials.secrets import without_secrets
from trials.tasks import Component, Execution, Recipe
from trials.training import count_validations, train_pack, training_steps

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


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The parts of an execution that are fixed beforehand; None leaves one to be chosen.

    Attributes:
        pack: Most candidates that are trained together.
        compile: Whether a whole step is one compiled graph.
        cuda_graph: Whether steps are recorded on CUDA: one graph for a pack, or one for each candidate.
        channels_last: Whether images lie in memory with their channels innermost.
    """

    pack: int | None = None
    compile: bool | None = None
    cuda_graph: Literal["off", "pack", "streams"] | None = None
    channels_last: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A search's trainings, as far as their number and place count.

    Attributes:
        cycles: Cycles of the search.
        candidates: Candidates that a replicate is trained with at a time, as long as no grid extends.
        replicates: Independent seeds.
        workers: Workers at a time, among which a cycle's packs are shared out.
        device: Type of the workers' device, for example ``cpu``.
        turns: How often that happens in a cycle.
    """

    cycles: int
    candidates: int
    replicates: int
    workers: int
    device: str = "cpu"
    turns: int = 1

    @property
    def trainings(self) -> int:
        """All of them."""
        return self.cycles * self.turns * self.candidates * self.replicates

    def packs(self, size: int) -> int:
        """Packs of a cycle, of at most ``size`` candidates."""
        return math.ceil(self.candidates / size) * self.replicates

    def rounds(self, size: int) -> int:
        """Packs of a cycle that one worker trains, one after another."""
        return math.ceil(self.packs(size) / self.workers)


class ChosenExecution(NamedTuple):
    """How to compute a search's trainings.

    Attributes:
        execution: How.
        reason: Why, in words.
        graphs: The graphs that were compiled for it: see :class:`trials.engine.Engine`.
    """

    execution: Execution
    reason: str
    graphs: tuple[str, ...]


PACKED_PARAMETERS = 100_000
"""Rule of thumb: a network with more parameters keeps a core busy alone."""

PACKED_COPIES = 16
"""Rule of thumb: copies of a small network that still share a core's cache."""

MOST_COPIES = 32
"""Most copies that are tried on a CPU: beyond, they leave every core's cache."""

_WORTH_MEASURING = 20.0
"""Seconds of a search, one core after another, below which nothing is measured."""

_BUSY_STEP = 0.05
"""Seconds of a lone step on a CPU from which on its arithmetic is what takes time, not its calls."""

_COMPILE_SECONDS, _COMPILE_SECONDS_PER_TENSOR = 10.0, 0.4
"""Rule of thumb for the compilation of a step and an evaluation: at least, and per parameter tensor."""

_REPAID = 1.5
"""How many times its expected compilation a search must last for the compiled step to be tried. It halves the
time of a small network; what was compiled is kept, and costs the next search nothing."""

_WORTH_LOOKING = 10.0
"""Seconds of a search above which it is worth a second to look whether its step was compiled before."""

_STREAMS = (8, 16)
"""CUDA graphs that are replayed side by side, at most; a cycle's candidates are shared out evenly."""


def choose_execution(recipe: Recipe, runner: Runner, wishes: Wishes, workload: Workload) -> ChosenExecution:
    """How to compute a search's trainings, and why.

    Args:
        recipe: How the search trains; its execution is not looked at.
        runner: A worker for this process, with whose device and threads executions are measured.
        wishes: Fixed parts of the execution.
        workload: The search's trainings.

    Raises:
        InvalidInput: A compiled or recorded step is wished for, and it can't be had.
        DeviceLost: A way broke the GPU for this process.
    """
    chooser = _Chooser(recipe, runner, wishes, workload)
    execution, reason = chooser.choose()
    return ChosenExecution(execution, without_secrets(reason), chooser.graphs.get(execution, ()))


class _Chooser:
    """Finds an execution, and keeps what it learns on the way: seconds, graphs, and notes for the reason."""

    def __init__(self, recipe: Recipe, runner: Runner, wishes: Wishes, workload: Workload) -> None:
        self._recipe, self._runner, self._wishes, self._workload = recipe, runner, wishes, workload
        train = len(runner.data.train.labels)
        self._steps, self._validations = training_steps(recipe, train)[0], count_validations(recipe, train)
        self._module = runner.network(0)
        self._tensors = sum(1 for _ in self._module.parameters())
        self._notes: list[str] = []
        convolutions = nn.Conv1d | nn.Conv2d | nn.Conv3d
        self._convolves = any(isinstance(part, convolutions) for part in self._module.modules())
        self._here = workload.device == runner.device.type
        self._found: dict[Execution, float] = {}
        self.graphs: dict[Execution, tuple[str, ...]] = {}

    def choose(self) -> tuple[Execution, str]:
        wishes = self._wishes
        if wishes.compile or wishes.cuda_graph in ("pack", "streams"):
            # A wish needs no measuring but for the size of the packs.
            execution = self._fixed()
            if self._here and (reason := self._why_not_traced(self._engine(execution))):
                if execution.compiled and lacks_place(reason):
                    self._notes.append(f"its step is not compiled: {reason}")
                    return replace(execution, compiled=False), self._reason("as the spec says")
                field = "compile" if wishes.compile else "cuda_graph"
                done = "compiled" if wishes.compile else "recorded"
                raise InvalidInput(f"training.{field}: the step can't be {done} ({reason}); leave it out")
            return execution, self._reason("as the spec says")
        alone = Execution(channels_last=bool(wishes.channels_last))
        if not self._here:
            return self._by_thumb(alone, "as this process has not the workers' device")
        try:
            speed = self._speed(alone, 1)
        except Exception as error:  # what fails in training is the trials' to say, with its traceback
            self._check_device(error, alone)
            self._notes.append(_said(error))
            return self._by_thumb(alone, "as a first training failed")
        total = self._workload.trainings * speed.training(self._steps, self._validations)
        if total < _WORTH_MEASURING:
            return self._by_thumb(alone, "for a search of seconds")
        self._found = {alone: self._search_seconds(speed, 1)}
        self._measure(alone, speed.step)
        return self._best, self._reason(_ranking(self._found))

    def _by_thumb(self, alone: Execution, because: str) -> tuple[Execution, str]:
        thumb = replace(alone, pack_size=self._thumb())
        return thumb, self._reason(f"a rule of thumb, {because}")

    def _fixed(self) -> Execution:
        wishes = self._wishes
        streams = wishes.cuda_graph == "streams"
        return Execution(
            pack_size=(wishes.pack or _STREAMS[0]) if streams else self._thumb(),
            compiled=bool(wishes.compile),
            channels_last=bool(wishes.channels_last),
            captured=wishes.cuda_graph in ("pack", "streams"),
            streams=streams,
        )

    def _measure(self, alone: Execution, lone_step: float) -> None:
        """Tries the executions that are left open, each on top of what was the fastest so far."""
        wishes = self._wishes
        if self._convolves and wishes.channels_last is None:
            self._try(replace(alone, channels_last=True))
        layout = self._best
        pays = wishes.pack or lone_step < _BUSY_STEP or self._cuda
        if wishes.pack != 1 and pays and self._packable:
            for size in self._sizes():
                self._try(replace(layout, pack_size=size))
        asked = replace(layout, pack_size=wishes.pack or 1)
        if asked.pack_size > 1 and asked in self._found:
            self._found = {asked: self._found[asked]}
        if self._cuda and wishes.cuda_graph is None:
            self._capture(layout)
        if wishes.compile is None and self._worth_compiling(lone_step):
            for execution in self._fastest_of_each_kind() if self._cuda else [self._best]:
                self._traced(replace(execution, compiled=True))

    def _capture(self, layout: Execution) -> None:
        """CUDA graphs: of a lone step, of the best pack, and of lone steps side by side.

        What is slow in calls, one after the other, may be fast in a graph, and the other way round.
        """
        wanted, count = self._wishes.pack, self._workload.candidates
        packs = [each for each in self._found if each.pack_size > 1]
        fastest = sorted(packs, key=lambda each: self._found[each])[:1]
        for execution in [*([] if wanted and fastest else [layout]), *fastest]:
            self._traced(replace(execution, captured=True))
        sizes = {math.ceil(count / math.ceil(count / most)) for most in _STREAMS}
        for size in (wanted,) if wanted else sorted(sizes):
            if size > 1:
                self._traced(replace(layout, pack_size=size, captured=True, streams=True))

    def _fastest_of_each_kind(self) -> list[Execution]:
        """The fastest recorded execution of lone steps, of packs, and of steps side by side; without one, of
        all."""
        kinds: dict[tuple[bool, bool], Execution] = {}
        for each in sorted(self._found, key=lambda each: self._found[each]):
            if each.captured or self._wishes.cuda_graph is not None:
                kinds.setdefault((each.pack_size > 1, each.streams), each)
        return [*kinds.values()] or [self._best]

    def _traced(self, execution: Execution) -> None:
        begin, engine = time.perf_counter(), self._engine(execution)
        if reason := self._why_not_traced(engine):
            recorded = "CUDA graphs on streams" if execution.streams else "a CUDA graph"
            what = "compiled" if execution.compiled else recorded
            self._notes.append(f"its step can't be {what}: {reason}")
        else:
            # What a CPU has compiled is there for good; a GPU's process makes it anew.
            self._try(execution, engine, time.perf_counter() - begin if self._cuda else 0.0)

    @property
    def _cuda(self) -> bool:
        return self._runner.device.type == "cuda"

    @property
    def _best(self) -> Execution:
        return min(self._found, key=lambda execution: self._found[execution])

    @cached_property
    def _packable(self) -> bool:
        data = self._runner.data
        inputs, labels = data.train.first(8)
        loss, batch = make_loss(self._recipe.loss), data.normalise(inputs).cpu()
        reason = why_not_packed(self._runner.network(0), loss, batch, labels.cpu())
        if reason:
            self._notes.append(f"this network can't be packed: {reason}")
        return reason is None

    def _thumb(self) -> int:
        """The size of packs by the rule of thumb."""
        parameters = sum(parameter.numel() for parameter in self._module.parameters())
        small = not self._convolves and parameters <= PACKED_PARAMETERS
        few = 1 < self._workload.candidates < FEWEST_PACKED
        size = self._wishes.pack or (PACKED_COPIES if small and not few else 1)
        return size if size > 1 and self._packable else 1

    def _sizes(self) -> Iterator[int]:
        """Sizes of packs worth a try: those that leave the fewest workers idle, the largest first."""
        if wanted := self._wishes.pack:
            yield wanted
            return
        count = self._workload.candidates
        sizes, most = {math.ceil(count / packs) for packs in range(1, count + 1)}, MOST_COPIES
        if self._cuda:
            most = count
        fitting = sorted((size for size in sizes if 1 < size <= most), reverse=True)
        yield from sorted(fitting, key=self._idle)[:3]

    def _idle(self, size: int) -> float:
        """Share of the workers' places that stay empty in a cycle."""
        packs, rounds = self._workload.packs(size), self._workload.rounds(size)
        return round(1 - packs / (rounds * self._workload.workers), 6)

    def _search_seconds(self, speed: Speed, size: int) -> float:
        compilation = max(0.0, speed.first - speed.step)
        rounds = self._workload.cycles * self._workload.turns * self._workload.rounds(size)
        return compilation + rounds * speed.training(self._steps, self._validations)

    def _try(self, execution: Execution, engine: Engine | None = None, made: float = 0.0) -> None:
        """Measures an execution, by the engine that has made its steps, in so many seconds, if it has any."""
        try:
            speed = self._speed(execution, execution.pack_size, engine)
        except Exception as error:  # too little memory, most likely: another execution is taken
            self._check_device(error, execution)
            self._notes.append(f"{execution} failed ({_said(error)})")
            return
        self._found[execution] = made + self._search_seconds(speed, execution.pack_size)

    def _check_device(self, error: Exception, execution: Execution) -> None:
        """Measures nothing more where the device is lost: no training could follow in this process."""
        try:
            raise_if_lost(error, self._runner.device)
        except DeviceLost as lost:
            raise DeviceLost(
                f"{execution}, as it was measured: {lost}; fix another way by training.cuda_graph, compile "
                "or pack"
            ) from error

    def _worth_compiling(self, lone_step: float) -> bool:
        if lone_step >= _BUSY_STEP and self._recipe.precision == "fp32" and not self._cuda:
            return False
        seconds = self._found[self._best]
        expected = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_TENSOR * self._tensors
        return seconds > _REPAID * expected or (seconds > _WORTH_LOOKING and self._were_compiled())

    def _were_compiled(self) -> bool:
        execution = replace(self._best, compiled=True)
        engine = self._engine(execution)
        found = engine.was_compiled(self._runner.data)
        self.graphs[execution] = engine.graphs
        return found

    def _why_not_traced(self, engine: Engine) -> str | None:
        reason = engine.why_not(self._runner.data)
        self.graphs[engine.recipe.execution] = engine.graphs
        return reason

    def _engine(self, execution: Execution) -> Engine:
        module = self._runner.network(0).to(self._runner.device)
        recipe = replace(self._recipe, execution=execution)
        return Engine(module, recipe, graphs=self.graphs.get(execution, ()))

    def _speed(self, execution: Execution, count: int, engine: Engine | None = None) -> Speed:
        recipe = replace(self._recipe, execution=execution)
        return measure_speed(recipe, self._runner, count=count, engine=engine)

    def _reason(self, text: str) -> str:
        return "; ".join([text, *self._notes])


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _ranking(found: dict[Execution, float]) -> str:
    """The measurements in words, fastest first."""
    ranked = sorted(found, key=lambda execution: found[execution])
    return "measured for this search: " + ", ".join(
        f"{execution} {found[execution]:.0f} s" for execution in ranked
    )
