"""A worker's side of several searches, which share its data sets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import torch

from trials.datasets import Dataset, LoadDataset, load_dataset
from trials.devices import check_answers
from trials.runner import Runner
from trials.tasks import Job, Result, Task, TrainPack


class Runners:
    """A worker's side of several searches: a runner for each, made when it is first needed.

    Args:
        jobs: The searches by name.
        load: Loads the data sets, on the CPU.

    Raises:
        DeviceLost: This process can't use the device that one of them trains on.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        *,
        load: LoadDataset = load_dataset,
    ) -> None:
        self._jobs, self._load = jobs, load
        self._runners: dict[str, Runner] = {}
        self._loaded: dict[str, Dataset] = {}
        for device in {job.recipe.device for job in jobs.values()}:
            check_answers(torch.device(device))

    def run(self, name: str, task: Task) -> Result:
        """Runs a task of a search; see :meth:`Runner.run`."""
        return self.compute(name, task)()

    def prepare(self, name: str) -> None:
        """Makes a search's runner and loads its data; what fails here fails in its first task, too."""
        with contextlib.suppress(Exception):
            _ = self._runner(name).data

    def compute(self, name: str, task: Task) -> Callable[[], Result]:
        """The first half of a task of a search, and the second to be called; see :meth:`Runner.compute`."""
        if isinstance(
            task, TrainPack
        ):  # recorded graphs hold a device's memory, whether they are used or not
            for other in self._runners.keys() - {name}:
                self._runners[other].forget_recordings()
        return self._runner(name).compute(task)

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            job = self._jobs[name]
            self._runners[name] = Runner(
                job.recipe,
                storage=job.storage,
                graphs=job.graphs,
                initial=job.initial,
                share=job.share,
                loaded=self._loaded,
                load=self._load,
            )
        return self._runners[name]
