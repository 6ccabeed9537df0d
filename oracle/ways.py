"""The choice of a way to compute a search's trainings, by measuring a few steps of each.

A search that is over in a minute anyway isn't measured: a rule of thumb chooses, the same one every time.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oracle.machine import cores
from oracle.spec import Spec
from silo.errors import InvalidInput
from trials.recipe import Component, Way

if TYPE_CHECKING:
    from trials.datasets import Examples, Split
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

_COMPILE_SECONDS_PER_TENSOR = 0.5
"""Rule of thumb for the compilation of a step, per parameter tensor of the network."""

_REPAID = 4.0
"""How many times its expected compilation a search must last for the compiled step to be tried."""

_STEPS, _REPEATS = 12, 3
_EXAMPLES = 512
"""Examples that a validation is measured on; the rest takes as long in proportion."""

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

    steps, _, every = training_steps(spec.recipe(way=Way()), train)
    return -(-steps // every)


def choose_way(spec: Spec, runner: Runner, workers: int) -> tuple[Way, str]:
    """How to compute a search's trainings, and why.

    Args:
        spec: The spec; what its training fixes is not chosen.
        runner: A worker for this process, with whose device and threads the ways are measured.
        workers: Workers at a time, among which a cycle's packs are shared out.

    Raises:
        InvalidInput: The spec asks for a compiled step, and it can't be compiled.
    """
    return _Choice(spec, runner, workers).choose()


class _Choice:
    def __init__(self, spec: Spec, runner: Runner, workers: int) -> None:
        from torch import nn

        from trials.training import training_steps

        self._spec, self._runner, self._workers = spec, runner, workers
        self._candidates = len(spec.rate_grid().values) if spec.searched else 1
        train = len(runner.data.train.labels)
        self._steps = training_steps(spec.recipe(way=Way()), train)[0]
        self._validations = evaluations(spec, train)
        self._module = runner.network(0)
        self._tensors = sum(1 for _ in self._module.parameters())
        self._notes: list[str] = []
        convolutions = nn.Conv1d | nn.Conv2d | nn.Conv3d
        self._convolves = any(isinstance(part, convolutions) for part in self._module.modules())

    def choose(self) -> tuple[Way, str]:
        wanted, compiled = self._spec.training.pack, self._spec.training.compile
        last = self._spec.training.channels_last
        packable = wanted != 1 and self._packable()
        if compiled:
            # What the spec fixes needs no measuring but for the size of the packs.
            size = self._thumb(wanted) if packable else 1
            way = Way(pack_size=size, compiled=True, channels_last=bool(last))
            if reason := self._why_not_compiled(way):
                raise InvalidInput(f"training.compile: the step can't be compiled ({reason}); leave it out")
            return way, self._reason("as the spec says")
        alone = Way(channels_last=bool(last))
        if self._spec.device != self._runner.device.type:
            size = self._thumb(wanted) if packable else 1
            way = dataclasses.replace(alone, pack_size=size)
            return way, self._reason("a rule of thumb, as this process has not the workers' device")
        try:
            speed = measure(self._spec, self._runner, alone, count=1)
        except Exception as error:  # what fails in training is the trials' to say, with its traceback
            self._notes.append(_said(error))
            size = self._thumb(wanted) if packable else 1
            way = dataclasses.replace(alone, pack_size=size)
            return way, self._reason("a rule of thumb, as a first training failed")
        trainings = self._spec.cycles * self._candidates * self._spec.replicates
        total = trainings * speed.training(self._steps, self._validations)
        if total < _WORTH_MEASURING:
            size = self._thumb(wanted) if packable else 1
            way = dataclasses.replace(alone, pack_size=size)
            return way, self._reason("a rule of thumb, for a search of about a minute")
        found = {alone: self._search_seconds(speed, 1)}
        if self._convolves and last is None:
            self._try(Way(channels_last=True), found)
        if packable and (wanted or speed.step < _BUSY_STEP or self._runner.device.type == "cuda"):
            for size in self._sizes(wanted):
                self._try(dataclasses.replace(alone, pack_size=size), found)
        asked = dataclasses.replace(alone, pack_size=wanted or 1)
        if wanted and wanted > 1 and asked in found:
            found = {asked: found[asked]}
        best = min(found, key=lambda way: found[way])
        if compiled is None and self._worth_compiling(found[best], speed.step):
            candidate = dataclasses.replace(best, compiled=True)
            if reason := self._why_not_compiled(candidate):
                self._notes.append(f"its step can't be compiled: {reason}")
            else:
                self._try(candidate, found)
        best = min(found, key=lambda way: found[way])
        return best, self._reason(_ranking(found))

    def _packable(self) -> bool:
        from trials.gradients import why_not_packed

        data = self._runner.data
        inputs, labels = data.train.first(8)
        reason = why_not_packed(self._runner.network(0), data.normalise(inputs).cpu(), labels.cpu())
        if reason:
            self._notes.append(f"this network can't be packed: {reason}")
        return reason is None

    def _thumb(self, wanted: int | None) -> int:
        """The size of packs by the rule of thumb."""
        if wanted:
            return wanted
        parameters = sum(parameter.numel() for parameter in self._module.parameters())
        small = not self._convolves and parameters <= PACKED_PARAMETERS
        return PACKED_COPIES if small else 1

    def _sizes(self, wanted: int | None) -> Iterator[int]:
        """Sizes of packs worth a try: those that leave the fewest workers idle, the largest first."""
        if wanted:
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

    def _try(self, way: Way, found: dict[Way, float]) -> None:
        try:
            speed = measure(self._spec, self._runner, way, count=way.pack_size)
        except Exception as error:  # too little memory, most likely: another way is taken
            self._notes.append(f"{way} failed ({_said(error)})")
            return
        found[way] = self._search_seconds(speed, way.pack_size)

    def _worth_compiling(self, seconds: float, lone_step: float) -> bool:
        busy = lone_step >= _BUSY_STEP and self._spec.training.precision == "fp32"
        expected = _COMPILE_SECONDS_PER_TENSOR * self._tensors
        return seconds > _REPAID * expected and not busy

    def _why_not_compiled(self, way: Way) -> str | None:
        import torch

        from trials.precision import computing
        from trials.steps import why_not_compiled

        recipe, data = self._spec.recipe(way=way), self._runner.data
        data = dataclasses.replace(data, channels_last=way.channels_last)
        inputs, labels = data.train.first(recipe.batch_size)
        inputs = data.normalise(inputs)
        module = self._runner.network(0).to(self._runner.device).train()
        with torch.random.fork_rng(devices=[]), computing(recipe.precision, self._runner.device):
            return why_not_compiled(module, recipe, inputs, labels)

    def _reason(self, text: str) -> str:
        return "; ".join([text, *self._notes])


def measure(spec: Spec, runner: Runner, way: Way, *, count: int) -> Speed:
    """Times steps and validations of a pack on this process's device: medians of a few.

    Args:
        spec: The spec.
        runner: A worker for this process.
        way: The way.
        count: Candidates of the pack.
    """
    from trials.copies import Copies, named_tensors
    from trials.steps import Steps
    from trials.training import train_pack
    from trials.validation import count_correct

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
    # A few examples stand for the whole splits: those may take minutes.
    validation, test = map(_beginning, (runner.data.validation, runner.data.test))
    data = dataclasses.replace(runner.data, channels_last=way.channels_last, validation=validation, test=test)
    share = len(runner.data.validation) / len(validation)
    state = named_tensors(module)
    copies = Copies.of(module, state, count, runner.device)
    rates = tuple(1e-6 * (index + 1) for index in range(count))
    steps = Steps(module, recipe)

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
            steps=steps,
        )

    def validated() -> None:
        count_correct(module, copies, data, data.validation, way.pack_size > 1)

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
    return Speed(step=max(step, 1e-6), validation=seconds, first=first - one + max(step, 1e-6))


def _beginning(split: Examples) -> Split:
    from trials.datasets import Split

    inputs, labels = split.first(_EXAMPLES)
    return Split(inputs=inputs, labels=labels)


def _timed(runner: Runner, work: Callable[[], None]) -> float:
    import torch

    begin = time.perf_counter()
    work()
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    return time.perf_counter() - begin


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _ranking(found: dict[Way, float]) -> str:
    """What was measured, fastest first."""
    ways = sorted(found, key=lambda way: found[way])
    return "measured for this search: " + ", ".join(f"{way} {found[way]:.0f} s" for way in ways)
