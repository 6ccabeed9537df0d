"""The choice of a way to compute a search's trainings, by measuring a few steps of each.

A search that is over in a minute anyway isn't measured: a rule of thumb chooses, the same one every time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from oracle.machine import cores
from oracle.spec import Spec
from oracle.speed import Speed, measure
from silo.errors import InvalidInput
from trials.recipe import Execution

if TYPE_CHECKING:
    from trials.engine.engine import Engine
    from trials.runner import Runner

PACKED_PARAMETERS = 100_000
"""Rule of thumb: a network with more parameters keeps a core busy alone."""

PACKED_COPIES = 16
"""Rule of thumb: copies of a small network that still share a core's cache."""

MOST_COPIES = 32
"""Most copies that are tried: beyond, they leave every core's cache."""

_WORTH_MEASURING = 60.0
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


def room(spec: Spec) -> int:
    """Workers that this machine has room for, at most those that the spec wants and at least one."""
    import torch

    fits = int(cores() / spec.resources.cpus)
    if spec.resources.gpus > 0:
        fits = min(fits, int(torch.cuda.device_count() / spec.resources.gpus))
    wanted = fits if spec.resources.workers is None else min(fits, spec.resources.workers)
    return max(1, wanted)


def evaluations(spec: Spec, train: int) -> int:
    """Validations of one training; ``train`` is the number of training examples."""
    from trials.training import training_steps

    steps, _, every = training_steps(spec.recipe(execution=Execution()), train)
    return -(-steps // every)


def measured_on_workers(spec: Spec) -> bool:
    """Whether a driver leaves the measuring to a worker: of a GPU it would keep memory for ever."""
    return spec.device != "cpu"


class Choice(NamedTuple):
    """How to compute a search's trainings.

    Attributes:
        way: The way.
        reason: Why, in words.
        graphs: What was compiled for it: see :class:`trials.engine.engine.Engine`.
    """

    execution: Execution
    reason: str
    graphs: tuple[str, ...]


def choose_execution(spec: Spec, runner: Runner, workers: int) -> Choice:
    """How to compute a search's trainings, and why.

    Args:
        spec: The spec; what its training fixes is not chosen.
        runner: A worker for this process, with whose device and threads the ways are measured.
        workers: Workers at a time, among which a cycle's packs are shared out.

    Raises:
        InvalidInput: The spec asks for a compiled step, and it can't be compiled.
    """
    chooser = _Chooser(spec, runner, workers)
    execution, reason = chooser.choose()
    return Choice(execution, reason, chooser.graphs.get(execution, ()))


class _Chooser:
    def __init__(self, spec: Spec, runner: Runner, workers: int) -> None:
        from torch import nn

        from trials.training import training_steps

        self._spec, self._runner, self._workers = spec, runner, workers
        self._candidates = len(spec.rate_grid().values) if spec.searched else 1
        train = len(runner.data.train.labels)
        self._steps = training_steps(spec.recipe(execution=Execution()), train)[0]
        self._validations = evaluations(spec, train)
        self._module = runner.network(0)
        self._tensors = sum(1 for _ in self._module.parameters())
        self._notes: list[str] = []
        convolutions = nn.Conv1d | nn.Conv2d | nn.Conv3d
        self._convolves = any(isinstance(part, convolutions) for part in self._module.modules())
        self._here = spec.device == runner.device.type
        self._found: dict[Execution, float] = {}
        self.graphs: dict[Execution, tuple[str, ...]] = {}

    def choose(self) -> tuple[Execution, str]:
        training = self._spec.training
        if training.compile or training.cuda_graph in ("pack", "streams"):
            # What the spec fixes needs no measuring but for the size of the packs.
            execution = self._fixed()
            if self._here and (reason := self._why_not_traced(execution)):
                field = "compile" if training.compile else "cuda_graph"
                done = "compiled" if training.compile else "recorded"
                raise InvalidInput(f"training.{field}: the step can't be {done} ({reason}); leave it out")
            return execution, self._reason("as the spec says")
        alone = Execution(channels_last=bool(training.channels_last))
        if not self._here:
            thumb = replace(alone, pack_size=self._thumb())
            return thumb, self._reason("a rule of thumb, as this process has not the workers' device")
        try:
            speed = measure(self._spec, self._runner, alone, count=1)
        except Exception as error:  # what fails in training is the trials' to say, with its traceback
            self._notes.append(_said(error))
            thumb = replace(alone, pack_size=self._thumb())
            return thumb, self._reason("a rule of thumb, as a first training failed")
        trainings = self._spec.cycles * self._candidates * self._spec.replicates
        total = trainings * speed.training(self._steps, self._validations)
        if total < _WORTH_MEASURING:
            thumb = replace(alone, pack_size=self._thumb())
            return thumb, self._reason("a rule of thumb, for a search of about a minute")
        self._found = {alone: self._search_seconds(speed, 1)}
        self._measure(alone, speed.step)
        return self._best, self._reason(_ranking(self._found))

    def _fixed(self) -> Execution:
        training = self._spec.training
        streams = training.cuda_graph == "streams"
        return Execution(
            pack_size=(training.pack or _STREAMS[0]) if streams else self._thumb(),
            compiled=bool(training.compile),
            channels_last=bool(training.channels_last),
            captured=training.cuda_graph in ("pack", "streams"),
            streams=streams,
        )

    def _measure(self, alone: Execution, lone_step: float) -> None:
        """Tries the ways that the spec leaves open, each on top of what was the fastest so far."""
        training, cuda = self._spec.training, self._runner.device.type == "cuda"
        if self._convolves and training.channels_last is None:
            self._try(replace(alone, channels_last=True))
        layout = self._best
        pays = training.pack or lone_step < _BUSY_STEP or cuda
        if training.pack != 1 and pays and self._packable:
            for size in self._sizes():
                self._try(replace(layout, pack_size=size))
        asked = replace(layout, pack_size=training.pack or 1)
        if asked.pack_size > 1 and asked in self._found:
            self._found = {asked: self._found[asked]}
        if cuda and training.cuda_graph is None:
            self._capture(layout)
        if training.compile is None and self._worth_compiling(lone_step):
            self._traced(replace(self._best, compiled=True))

    def _capture(self, layout: Execution) -> None:
        """CUDA graphs: of the fastest step so far, and of lone steps side by side."""
        wanted, count = self._spec.training.pack, self._candidates
        self._traced(replace(self._best, captured=True))
        sizes = {math.ceil(count / math.ceil(count / most)) for most in _STREAMS}
        for size in (wanted,) if wanted else sorted(sizes):
            if size > 1:
                self._traced(replace(layout, pack_size=size, captured=True, streams=True))

    def _traced(self, execution: Execution) -> None:
        if reason := self._why_not_traced(execution):
            what = (
                "compiled"
                if execution.compiled
                else "CUDA graphs on streams"
                if execution.streams
                else "a CUDA graph"
            )
            self._notes.append(f"its step can't be {what}: {reason}")
        else:
            self._try(execution)

    @property
    def _best(self) -> Execution:
        return min(self._found, key=lambda execution: self._found[execution])

    @cached_property
    def _packable(self) -> bool:
        from trials.engine.gradients import why_not_packed

        data = self._runner.data
        inputs, labels = data.train.first(8)
        reason = why_not_packed(self._runner.network(0), data.normalise(inputs).cpu(), labels.cpu())
        if reason:
            self._notes.append(f"this network can't be packed: {reason}")
        return reason is None

    def _thumb(self) -> int:
        """The size of packs by the rule of thumb."""
        parameters = sum(parameter.numel() for parameter in self._module.parameters())
        small = not self._convolves and parameters <= PACKED_PARAMETERS
        size = self._spec.training.pack or (PACKED_COPIES if small else 1)
        return size if size > 1 and self._packable else 1

    def _sizes(self) -> Iterator[int]:
        """Sizes of packs worth a try: those that leave the fewest workers idle, the largest first."""
        if wanted := self._spec.training.pack:
            yield wanted
            return
        sizes = {math.ceil(self._candidates / packs) for packs in range(1, self._candidates + 1)}
        fitting = sorted((size for size in sizes if 1 < size <= MOST_COPIES), reverse=True)
        yield from sorted(fitting, key=self._idle)[:3]

    def _idle(self, size: int) -> float:
        """Share of the workers' places that stay empty in a cycle."""
        packs = math.ceil(self._candidates / size) * self._spec.replicates
        rounds = math.ceil(packs / self._workers)
        return round(1 - packs / (rounds * self._workers), 6)

    def _search_seconds(self, speed: Speed, size: int) -> float:
        packs = math.ceil(self._candidates / size) * self._spec.replicates
        rounds = math.ceil(packs / self._workers)
        compilation = max(0.0, speed.first - speed.step)
        return compilation + self._spec.cycles * rounds * speed.training(self._steps, self._validations)

    def _try(self, execution: Execution) -> None:
        try:
            graphs = self.graphs.get(execution, ())
            speed = measure(self._spec, self._runner, execution, count=execution.pack_size, graphs=graphs)
        except Exception as error:  # too little memory, most likely: another way is taken
            self._notes.append(f"{execution} failed ({_said(error)})")
            return
        self._found[execution] = self._search_seconds(speed, execution.pack_size)

    def _worth_compiling(self, lone_step: float) -> bool:
        if lone_step >= _BUSY_STEP and self._spec.training.precision == "fp32":
            return False
        seconds = self._found[self._best]
        expected = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_TENSOR * self._tensors
        return seconds > _REPAID * expected or (seconds > _WORTH_LOOKING and self._were_compiled())

    def _were_compiled(self) -> bool:
        from trials.engine.engine import are_compiled

        execution = replace(self._best, compiled=True)
        engine = self._programs(execution)
        found = are_compiled(engine, self._runner.data)
        self.graphs[execution] = engine.graphs
        return found

    def _why_not_traced(self, execution: Execution) -> str | None:
        from trials.engine.engine import why_not_traced

        engine = self._programs(execution)
        reason = why_not_traced(engine, self._runner.data)
        self.graphs[execution] = engine.graphs
        return reason

    def _programs(self, execution: Execution) -> Engine:
        from trials.engine.engine import Engine

        module = self._runner.network(0).to(self._runner.device)
        return Engine(module, self._spec.recipe(execution=execution), graphs=self.graphs.get(execution, ()))

    def _reason(self, text: str) -> str:
        return "; ".join([text, *self._notes])


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _ranking(found: dict[Execution, float]) -> str:
    """What was measured, fastest first."""
    ways = sorted(found, key=lambda execution: found[execution])
    return "measured for this search: " + ", ".join(
        f"{execution} {found[execution]:.0f} s" for execution in ways
    )
