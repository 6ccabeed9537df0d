"""A worker on Ray."""

from __future__ import annotations

import faulthandler
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import ray
from ray import tune

from oracle.drivers.shared_data import SharedData
from silo.errors import SiloOracleError
from trials.tasks import Job, Result, Task


class Computes(Protocol):
    """The side of a worker that computes its tasks."""

    def prepare(self, name: str) -> None:
        """Does for a search what no task's time should have to hold."""

    def compute(self, name: str, task: Task) -> Callable[[], Result]:
        """Computes a task of a search; what is returned writes its files, and gives its result."""


OpenRunners = Callable[..., Computes]
"""Makes it in the worker, from its jobs and its way to their data: see :class:`trials.runner.Runners`."""


def open_runners(jobs: Mapping[str, Job], *, load: SharedData) -> Computes:
    """The worker's side that trains and prunes."""
    from trials.runner import Runners  # imports torch, which a worker's thread does while Ray goes on

    return Runners(jobs, load=load)


class Worker(tune.Trainable):
    """A warm worker: a thread that computes tasks, one that writes what the last one came to, and steps that
    bring the results to Tune."""

    def setup(
        self,
        config: dict[str, Any],
        desk: Any,
        jobs: Mapping[str, Job],
        shared: Mapping[str, Any],
        open_runners: OpenRunners,
        time_limit: float | None,
    ) -> None:
        self._time_limit = time_limit
        # One result may wait here while the next task is worked on.
        self._results: queue.Queue[dict[str, Any] | BaseException] = queue.Queue(maxsize=1)
        self._computed: queue.Queue[tuple[int, Callable[[], Result]]] = queue.Queue()
        arguments = config["worker"], desk, lambda: open_runners(jobs, load=SharedData(shared))
        threading.Thread(target=self._work, args=arguments, daemon=True).start()
        threading.Thread(target=self._store, daemon=True).start()

    def _work(self, worker: str, desk: Any, open_mine: Callable[[], Computes]) -> None:
        try:
            runners = open_mine()
            while (item := ray.get(desk.take.remote(worker))) is not None:
                number, name, task = item
                runners.prepare(name)
                with _limited(self._time_limit):
                    store = runners.compute(name, task)
                self._computed.join()  # no more than one task's networks wait for the disk
                self._computed.put((number, store))
            self._computed.join()
            self._results.put({"finished": 1, "done": True})
        except BaseException as error:
            if isinstance(error, SiloOracleError):
                self._computed.join()  # this task is lost, and not what was computed before it
            self._results.put(error)

    def _store(self) -> None:
        try:
            while True:
                number, store = self._computed.get()
                self._results.put({"number": number, "result": store(), "finished": 1})
                del store  # and with it the networks
                self._computed.task_done()
        except BaseException as error:
            self._results.put(error)

    def step(self) -> dict[str, Any]:
        found = self._results.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The networks are in the searches' storage already."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """A task starts from its search's storage."""


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Ends this process, with its traceback in Ray's logs, if what is done here takes longer.

    The watch is a thread of the interpreter's own: it runs even if Python code can't.
    """
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
