"""A worker's side of a search that sleeps in place of training: nothing here imports torch."""

from __future__ import annotations

import math
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oracle.testing.replay import replayed
from silo.curve import SiloCurve
from trials.tasks import Job, Result, Task, TrainPack

CURVE = {"q": 1, "beta": 5, "epsilon": 0.05, "delta": 0.1}


def invented(cycle: int, replicate: int, max_lr: float) -> float:
    """A validation accuracy: a parabola around SILO's curve, with noise of its own for each trial."""
    peak = float(SiloCurve(**CURVE, pruning_rate=0.2).max_lr(cycle))
    noise = random.Random(f"{cycle} {replicate} {max_lr!r}").gauss(0, 0.002)
    return min(max(0.95 - 0.05 * math.log(max_lr / peak) ** 2 + noise, 0.0), 1.0)


class Sleeping:
    """Sleeps for each task, and gives invented outcomes.

    Args:
        seconds: How long a pack sleeps.
        workers: How many workers must be here before the first one sleeps.
        meeting: A folder where they leave their names.
    """

    def __init__(self, *, seconds: float, workers: int, meeting: str) -> None:
        self._seconds, self._name = seconds, f"{platform.node()}:{os.getpid()}"
        (Path(meeting) / self._name).touch()
        while len(os.listdir(meeting)) < workers:
            time.sleep(0.05)

    def prepare(self, name: str) -> None:
        """There is nothing to load."""

    def compute(self, name: str, task: Task) -> Callable[[], Result]:
        """Sleeps; there is nothing to write after it."""
        found, started = replayed(task, invented), time.time()
        if isinstance(task, TrainPack):
            time.sleep(self._seconds)
            where = {
                "started": started,
                "ended": time.time(),
                "worker": self._name,
                "pack": len(task.max_lrs),
            }
            found = tuple(replace(trial, **where) for trial in found)
        return lambda: found


def sleeping(**how: Any) -> Callable[..., Sleeping]:
    """What :func:`oracle.drivers.ray_tune.run` takes to make such workers; see :class:`Sleeping`."""

    def open_runners(jobs: Mapping[str, Job], **machine: Any) -> Sleeping:
        return Sleeping(**how)

    return open_runners
