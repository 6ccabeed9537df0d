"""The plan of a search that was not run yet: trainings, time, disk, and what is missing."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oracle.execution import cores, evaluations, measure_speed, room, turns
from oracle.preflight import Facts, cautions, examine, missing_places, open_runner
from oracle.spec import Spec
from silo._arrays import FloatArray
from silo.errors import InvalidInput
from silo.landscape import CycleScores, learn
from silo.landscape.parts import PRIOR
from silo.measured import optimized

if TYPE_CHECKING:
    from trials.engine.choose import Speed
    from trials.runner import Runner


ACCURACY = 0.95
_PLACE, _BELOW, _ABOVE = 2 / 3, math.log(3.3), math.log(1.8)
_CYCLES, _SEARCHES, _DRAWS, _LEVEL = 4, 12, 256, 0.9
_MOST_RATES = 64
_FEW = 3
"""Steps of the grid by which an end may be off before the grid is called too fine."""


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a number of rates and replicates resolves.

    Attributes:
        validation: Examples of the validation split.
        replicates: Independent seeds.
        candidates: Rates of the grid.
        noise: Assumed standard deviation of a training's accuracy, as a share.
        steps: By so many steps of the grid 90 % of the simulated ends are off at most.
        factor: The same as a ratio of rates, at least 1.
    """

    validation: int
    replicates: int
    candidates: int
    noise: float
    steps: int
    factor: float

    @property
    def too_fine(self) -> bool:
        """Whether the grid is finer than its noise resolves."""
        return self.steps > _FEW

    def sentence(self) -> str:
        """What it resolves, and what that rests on."""
        steps = f"{self.steps} step{'s' * (self.steps != 1)}"
        return (
            f"with {self.validation:,} validation examples and r = {self.replicates} an interval's end is "
            f"known to ± {steps} of the grid (a factor of {self.factor:.2g}): "
            f"simulated for one hump at {ACCURACY:.0%} accuracy, ± {100 * self.noise:.2g} % a training"
        )

    def warning(self) -> str | None:
        """What to do about a grid that is too fine; None for one that isn't."""
        if not self.too_fine:
            return None
        points = max(2, math.ceil(2 * (self.candidates - 1) / self.steps) + 1)
        return (
            f"the grid's {self.candidates} rates are finer than the noise resolves: {points} would tell "
            "about as much, or more replicates or a larger validation split would tell more"
        )


def _away(grid: FloatArray, end: int, steps: int) -> float:
    """The larger ratio of a grid's value to those so many steps away from it."""
    low, high = max(end - steps, 0), min(end + steps, grid.size - 1)
    return float(max(grid[end] / grid[low], grid[high] / grid[end]))


def resolution_of(spec: Spec, validation: int) -> Resolution | None:
    """What a spec's search will resolve; None where nothing is searched, or trainings are left out.

    Args:
        spec: The spec.
        validation: Examples of its validation split.
    """
    policy = spec.policy_of_rates()
    counted = spec.metric.name == "accuracy" and validation > 0 and not spec.measure().relative
    if not policy.searches or policy.selective or not counted:
        return None
    return resolution(
        policy.rates,
        validation=validation,
        replicates=spec.replicates,
        cycles=spec.cycles,
        tolerance=spec.measure().within,
    )


def resolution(
    rates: Sequence[float], *, validation: int, replicates: int, cycles: int, tolerance: float
) -> Resolution | None:
    """What a search will resolve, from a few simulated ones; the same arguments give the same.

    A landscape of one hump is searched a few times, with noise of the size that a validation split of so many
    examples gives. Nothing is known of the network yet, so that the assumptions stand for it:

        accuracy 95 % at the best rate, two thirds up the grid; it falls evenly, by one tolerance within a
        factor of 3.3 below that rate and of 1.8 above it (what recorded searches of small networks show);
        a training's noise has half the variance that counting 95 % of the examples has, as the candidates of
        a replicate see the same examples, and neighbouring rates share half of that;
        the curve stays for as many cycles as there are, at most four.

    What a model costs grows with the cube of its rates: of a grid of hundreds every k-th is simulated. That
    tells no more than all of them do, and little less, as neighbouring rates share most of their noise.

    Args:
        rates: The grid, ascending.
        validation: Examples of the validation split.
        replicates: Independent seeds.
        cycles: Cycles of the search.
        tolerance: How far below the best the interval reaches.

    Returns:
        None where that makes no sense: there are fewer than four rates, no tolerance, or the assumed interval
        is wider than the grid, so that it has no end.
    """
    if len(rates) < 4 or tolerance <= 0:
        return None
    every, count = np.asarray(rates, dtype=np.float64), min(cycles, _CYCLES)
    apart = math.ceil(every.size / _MOST_RATES)
    grid = every[::apart]
    x = np.log(grid)
    away = x - (x[0] + _PLACE * (x[-1] - x[0]))
    truth = ACCURACY - tolerance * abs(away) / np.where(away < 0, _BELOW, _ABOVE)
    first, last = (int(index[0]) for index in optimized(truth[None], tolerance)[1:])
    noise = math.sqrt(0.5 * ACCURACY * (1 - ACCURACY) / validation)
    alike = np.exp(-0.5 * ((x[:, None] - x) / PRIOR.shared_length) ** 2)
    root = noise * np.linalg.cholesky(0.5 * alike + 0.5 * np.eye(x.size))
    off: list[int] = []
    for seed in range(_SEARCHES):
        random = np.random.default_rng(seed)
        scores = [
            CycleScores(
                cycle=cycle,
                grid=grid,
                index=np.tile(np.arange(grid.size), replicates),
                replicate=np.repeat(np.arange(replicates), grid.size),
                score=(truth + random.standard_normal((replicates, x.size)) @ root.T).ravel(),
            )
            for cycle in range(count)
        ]
        for belief in learn(scores, tolerance=tolerance, samples=_DRAWS):
            low, high = belief.stated
            off += [abs(low - first)] * (first > 0) + [abs(high - last)] * (last < grid.size - 1)
    if not off:
        return None
    steps = apart * int(np.quantile(off, _LEVEL, method="higher"))
    return Resolution(
        validation=validation,
        replicates=replicates,
        candidates=every.size,
        noise=noise,
        steps=steps,
        factor=max(_away(every, apart * end, steps) for end in (first, last)),
    )


_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A search in numbers, before it is run.

    Attributes:
        trainings: Without extensions of the grid.
        most_trainings: With every extension that the spec allows.
        workers: Workers that this machine has room for.
        seconds: Estimated wall time without extensions, on those workers, start-up aside; None for a training
            loop of the user's own.
        step_seconds: Measured time of one optimizer step of one pack; None likewise.
        kept_bytes: Networks and masks that stay.
        passing_bytes: Most that a cycle writes and deletes again.
        free_bytes: Free space where the storage is; None if it is no local folder.
        last_cycle: m of the last cycle.
        last_density: The share of the prunable weights that is left there, by ``pruning.rate``.
        missing: What this machine lacks, one sentence each.
        facts: What was found by building the search's parts.
        resolution: What the grid and the replicates will tell; None where that makes no sense.
        cautions: What the spec says and may not mean, one sentence each.
        precisions: Of a search in fp32 on a GPU, the share of its time that each other precision would take.
    """

    trainings: int
    most_trainings: int
    workers: int
    seconds: float | None
    step_seconds: float | None
    kept_bytes: int
    passing_bytes: int
    free_bytes: int | None
    last_cycle: int
    last_density: float
    missing: tuple[str, ...]
    facts: Facts
    resolution: Resolution | None = None
    cautions: tuple[str, ...] = ()
    precisions: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able data."""
        return dataclasses.asdict(self)

    def _time(self) -> str:
        if self.seconds is None or self.step_seconds is None:
            return "not known of a training loop of your own; oracle status estimates it once some are done"
        return (
            f"about {_duration(self.seconds)} on {self.workers} worker{'s' * (self.workers != 1)} "
            f"({self.step_seconds * 1e3:.2f} ms a step and pack, measured)"
        )

    def _precision(self) -> str:
        shares = " and ".join(f"{name} {100 * share:.0f} %" for name, share in self.precisions.items())
        return f"training.precision: {shares} of that time on this GPU, measured; each rounds in its own way"

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of each line of the plan."""
        facts = self.facts
        free = "" if self.free_bytes is None else f"; {_size(self.free_bytes)} are free"
        found = [
            (
                "network",
                f"{facts.parameters:,} parameters, {facts.prunable:,} of them prunable; "
                f"{facts.train:,} training examples, {facts.steps_text}",
            ),
            (
                "pruning",
                f"by pruning.rate, {100 * self.last_density:.3g} % of the prunable weights are left at the "
                f"last cycle, m = {self.last_cycle}",
            ),
            *([("weights", facts.begins)] if facts.begins else []),
            *(("data", note) for note in facts.notes),
            ("trainings", f"{self.trainings:,}; up to {self.most_trainings:,} if every cycle's grid extends"),
            ("packs", f"{facts.execution}: {facts.execution_reason}"),
            ("time", self._time()),
            *([("precision", self._precision())] if self.precisions else []),
            ("disk", f"{_size(self.kept_bytes)} kept, {_size(self.passing_bytes)} in passing{free}"),
        ]
        if facts.never_pruned is not None:
            found.append(("warning", facts.never_pruned.sentence()))
        if self.resolution is not None:
            found.append(("resolves", self.resolution.sentence()))
            if warning := self.resolution.warning():
                found.append(("warning", warning))
        found += [("warning", line) for line in (*facts.warnings, *self.cautions)]
        return found + [("missing", line) for line in self.missing or ("nothing",)]


def _speed(spec: Spec, runner: Runner, facts: Facts, count: int) -> Speed | None:
    """How fast a pack is trained; None for a training loop of the user's own."""
    if spec.training.loop is not None:
        return None
    try:
        return measure_speed(spec, runner, facts.execution, count=count, graphs=facts.graphs)
    except Exception as error:
        raise InvalidInput(
            f"network {spec.network.name!r} can't be trained here: {type(error).__name__}: {error}"
        ) from error


def _precisions(spec: Spec, runner: Runner, facts: Facts, count: int, exact: Speed) -> dict[str, float]:
    """Share of the time of fp32 that each other precision takes on a GPU; what fails there is left out."""
    from trials.process import raise_if_lost

    found = {}
    training = exact.training(facts.steps, evaluations(spec, facts.train))
    for precision in ("tf32", "bf16"):
        other = spec.training.model_copy(update={"precision": precision})
        try:
            speed = measure_speed(
                spec.model_copy(update={"training": other}), runner, facts.execution, count=count
            )
        except Exception as error:
            raise_if_lost(error, runner.device)
            continue
        found[precision] = speed.training(facts.steps, evaluations(spec, facts.train)) / training
    return found


def make_plan(spec: Spec) -> Plan:
    """Builds the search's parts, measures a few steps and counts.

    Raises:
        InvalidInput: As :func:`oracle.preflight.examine`.
    """
    import torch

    runner = open_runner(spec)
    has_device = spec.device != "cpu" and torch.cuda.is_available()
    facts = examine(spec, runner, here=has_device)
    policy = spec.policy_of_rates()
    packs = math.ceil(policy.together / facts.execution.pack_size)
    workers = max(1, room(spec))
    measuring = runner.on(spec.device) if has_device else runner
    count = math.ceil(policy.together / packs)
    speed = _speed(spec, measuring, facts, count)
    wanted = has_device and spec.training.precision == "fp32"
    rounds = turns(policy, spec.replicates) * math.ceil(packs * spec.replicates / workers)
    state = facts.parameters * _FLOAT_BYTES
    per_cycle = math.ceil(policy.expected(spec.replicates))
    return Plan(
        trainings=spec.cycles * per_cycle,
        most_trainings=spec.cycles * (per_cycle + policy.extension * spec.replicates),
        workers=workers,
        seconds=None
        if speed is None
        else spec.cycles * rounds * speed.training(facts.steps, evaluations(spec, facts.train)),
        step_seconds=None if speed is None else speed.step,
        kept_bytes=spec.replicates
        * ((spec.cycles + 1) * state + (spec.cycles - 1) * (state + facts.prunable)),
        passing_bytes=per_cycle * state,
        free_bytes=_free_bytes(spec),
        last_cycle=spec.cycles - 1,
        last_density=spec.pruning.densities(spec.cycles)[-1],
        missing=_missing(spec) + missing_places(spec),
        cautions=cautions(spec),
        precisions=_precisions(spec, measuring, facts, count, speed) if wanted and speed else {},
        facts=facts,
        resolution=resolution_of(spec, facts.validation),
    )


def _missing(spec: Spec) -> tuple[str, ...]:
    import torch

    wanted, found = spec.resources, []
    if wanted.cpus > cores():
        found.append(f"a worker needs {wanted.cpus:g} CPU cores, this machine has {cores()}")
    if wanted.gpus > torch.cuda.device_count():
        found.append(f"a worker needs {wanted.gpus:g} GPU, this machine has {torch.cuda.device_count()}")
    if wanted.workers is not None and not found and room(spec) < wanted.workers:
        found.append(f"room for {wanted.workers} workers: this machine has room for {room(spec)}")
    return tuple(found)


def _free_bytes(spec: Spec) -> int | None:
    if "://" in spec.storage:
        return None
    folder = Path(spec.storage_root())
    while not os.path.exists(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:,.1f} days"
