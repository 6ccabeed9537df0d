"""The plan of a search that was not run yet: trainings, time, disk, and what is missing."""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oracle.cautions import cautions, missing_places
from oracle.execution import cores, evaluations, measure_speed, room
from oracle.preflight import Facts, examine, open_runner
from oracle.resolution import Resolution, resolution_of
from oracle.spec import Spec
from silo.errors import InvalidInput

if TYPE_CHECKING:
    from trials.engine.measure import Speed
    from trials.runner import Runner

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
    speed = _speed(spec, measuring, facts, math.ceil(policy.together / packs))
    turns = policy.turns * math.ceil(packs * spec.replicates / workers)
    state = facts.parameters * _FLOAT_BYTES
    per_cycle = math.ceil(policy.expected(spec.replicates))
    return Plan(
        trainings=spec.cycles * per_cycle,
        most_trainings=spec.cycles * (per_cycle + policy.extension * spec.replicates),
        workers=workers,
        seconds=None
        if speed is None
        else spec.cycles * turns * speed.training(facts.steps, evaluations(spec, facts.train)),
        step_seconds=None if speed is None else speed.step,
        kept_bytes=spec.replicates
        * ((spec.cycles + 1) * state + (spec.cycles - 1) * (state + facts.prunable)),
        passing_bytes=per_cycle * state,
        free_bytes=_free_bytes(spec),
        last_cycle=spec.cycles - 1,
        last_density=spec.pruning.densities(spec.cycles)[-1],
        missing=_missing(spec) + missing_places(spec),
        cautions=cautions(spec),
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
    while not folder.exists():
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
