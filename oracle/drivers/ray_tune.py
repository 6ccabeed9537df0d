"""Runs searches as one Ray Tune experiment whose workers stay warm from the first cycle to the last.

A Tune trial is a worker, not a training: its actor lives for the whole experiment, imports torch and loads
the data set once, and takes one task after another from a desk, a small actor beside this process. Each
finished task is one result that Tune brings here. A worker goes on with its next task while its last one's
result is on its way, so that neither Tune's loop nor the ledger keeps it waiting. A worker that dies ends its
Tune trial; what it had taken counts as failed once, and Tune is given another worker in its place.
"""

from __future__ import annotations

import asyncio
import math
import os
import queue
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from oracle.errors import Refused
from oracle.machine import cores
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from trials.recipe import Recipe
from trials.tasks import Failed, Result, Task

# What Tune and Ray would print, log and sync of their own, read by them when an experiment starts.
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_CONNECT_SECONDS = 10

_IDLE_DEATHS = 3
"""How many workers in a row may die without having taken a task before the experiment is given up."""


@contextmanager
def cluster(spec: Spec, address: str | None) -> Iterator[int]:
    """Connects to a Ray cluster, or starts one on this machine; gives the number of workers it takes.

    Args:
        spec: The spec; its resources say what a worker needs.
        address: Address of a running cluster, ``auto`` for the one around this process; None starts one.

    Raises:
        Refused: The cluster can't be reached, or can't ever run one worker.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options.update(address="local", include_dashboard=False, num_cpus=_local_cpus(spec))
    else:
        _check_reachable(address)
        options.update(address=address)
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError) as error:
        raise Refused(f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}") from error
    try:
        yield _worker_count(spec)
    finally:
        ray.shutdown()


def run(sessions: Sequence[Session], workers: int) -> dict[str, Signal]:
    """Runs sessions to their ends, side by side, on the cluster that this process is connected to.

    Args:
        sessions: The sessions; each worker works for all of them, so their specs want the same resources.
        workers: Workers at a time.

    Returns:
        Name of each search to ``Signal.DONE``, or to ``Signal.STUCK`` if a task failed too often.
    """
    spec = sessions[0].spec
    if any(session.spec.resources != spec.resources for session in sessions):
        raise ValueError("searches that share workers must want the same resources")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    scratch = tempfile.mkdtemp(prefix="oracle-tune-")
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=here).remote()
    searcher = _Workers(sessions, workers, desk)
    trainable = tune.with_parameters(
        _Worker,
        desk=desk,
        jobs={s.spec.name: (s.recipe, s.spec.storage_root()) for s in sessions},
        device=spec.device,
        threads=spec.threads,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": spec.resources.cpus, "gpu": spec.resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=False,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            stop=_Over(searcher),
            callbacks=[_Deaths(searcher)],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    except Exception:
        if searcher.error is None:
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if searcher.error is not None:
        raise searcher.error
    return searcher.signals()


class _Desk:
    """Where workers take tasks, first come first served: an actor of Ray's."""

    def __init__(self) -> None:
        self._tasks: asyncio.Queue[tuple[int, str, Task] | None] = asyncio.Queue()
        self._taken: dict[str, list[int]] = {}
        self._dead: set[str] = set()

    async def put(self, items: list[tuple[int, str, Task]]) -> None:
        """Lays out tasks, each with its number and its search's name."""
        for item in items:
            self._tasks.put_nowait(item)

    async def take(self, worker: str) -> tuple[int, str, Task] | None:
        """Waits for a task; None once the desk is closed."""
        item = await self._tasks.get()
        if item is None or worker in self._dead:
            self._tasks.put_nowait(item)
            return None
        self._taken.setdefault(worker, []).append(item[0])
        return item

    async def close(self) -> None:
        """Sends every worker home."""
        self._tasks.put_nowait(None)

    async def lost(self, worker: str) -> list[int]:
        """Numbers of all the tasks that a dead worker ever took; the one it waits for goes to another."""
        self._dead.add(worker)
        return self._taken.pop(worker, [])


class _Workers(Searcher):
    """Tune's view of the sessions: what it suggests are workers; their results are told to the sessions."""

    def __init__(self, sessions: Sequence[Session], workers: int, desk: Any) -> None:
        super().__init__(metric="finished", mode="max")
        self._sessions = {session.spec.name: session for session in sessions}
        self._wanted, self._desk = workers, desk
        self._alive: set[str] = set()
        self._out: dict[int, tuple[Session, Task]] = {}
        self._number = self._idle_deaths = 0
        self.over = False
        self.error: BaseException | None = None
        self._hand_out()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher onto the storage; the sessions hold the ledger's password."""
        return {}

    def signals(self) -> dict[str, Signal]:
        """How each search stands."""
        found = {}
        for name, session in self._sessions.items():
            signal = session.ask()
            assert isinstance(signal, Signal)
            found[name] = signal
        return found

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A new worker, as long as there are fewer than wanted."""
        if self.over:
            return _FINISHED
        if len(self._alive) >= self._wanted:
            return None
        self._alive.add(trial_id)
        return {"worker": trial_id}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tells a session; whatever that raises ends the experiment and is raised by :func:`run`."""
        if "number" not in result or self.over:
            return
        session, task = self._out.pop(result["number"])
        self._idle_deaths = 0
        self._tell([(session, task, result["result"])])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A worker has gone; if it died, :meth:`died` hears of what."""
        self._alive.discard(trial_id)

    def died(self, worker: str, reason: str) -> None:
        """Counts what a dead worker had taken as failed once."""
        if self.over:
            return
        try:
            taken = ray.get(self._desk.lost.remote(worker))
        except ray.exceptions.RayActorError as error:
            short = str(error).strip().splitlines()[-1]
            self._end(
                Refused(f"the actor that hands out tasks has gone ({short}); run the same command again")
            )
        lost = [self._out.pop(number) for number in taken if number in self._out]
        self._idle_deaths = 0 if lost else self._idle_deaths + 1
        if self._idle_deaths > _IDLE_DEATHS * self._wanted:
            self._end(Refused(f"workers die before they take a task: {reason}"))
        self._tell([(session, task, Failed(error=reason)) for session, task in lost])

    def _tell(self, results: list[tuple[Session, Task, Result]]) -> None:
        try:
            for session, task, result in results:
                session.tell(task, result)
            self._hand_out()
        except BaseException as failure:
            self._end(failure)

    def _end(self, failure: BaseException) -> NoReturn:
        self.error, self.over = self.error or failure, True
        raise failure

    def _hand_out(self) -> None:
        """Lays out every task that can be done now; closes the desk when no more will come."""
        items = []
        for name, session in self._sessions.items():
            while not isinstance(task := session.ask(), Signal):
                self._number += 1
                self._out[self._number] = (session, task)
                items.append((self._number, name, task))
        if items:
            self._desk.put.remote(items)
        elif not self._out:
            self.over = True
            self._desk.close.remote()

    def save(self, checkpoint_path: str) -> None:
        """The ledger is what is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """The ledger is what is resumed from."""


class _Over(tune.Stopper):
    """Ends the experiment with its last task, whether or not every worker that was asked for ever came."""

    def __init__(self, workers: _Workers) -> None:
        self._workers = workers

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._workers.over


class _Deaths(tune.Callback):
    """Hears of workers that died, and of what."""

    def __init__(self, workers: _Workers) -> None:
        self._workers = workers

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        written = Path(trial.error_file) if trial.error_file else None
        reason = written.read_text() if written and written.is_file() else ""
        self._workers.died(trial.trial_id, _cause_of_death(reason))


def _cause_of_death(error: str) -> str:
    """What Tune wrote about a worker's end, with a last line that says it in short."""
    lines = error.strip().splitlines()[1:] or ["no reason is known"]  # the first one is Tune's count and date
    short = lines[-1] if any("Traceback" in line for line in lines) else lines[0]
    return "\n".join([*lines, f"the worker died: {short}"])


class _Worker(tune.Trainable):
    """A warm worker: a thread that works off tasks, and steps that bring their results to Tune."""

    def setup(
        self,
        config: dict[str, Any],
        desk: Any,
        jobs: Mapping[str, tuple[Recipe, str]],
        **machine: Any,
    ) -> None:
        # One result may wait here while the next task is worked on.
        self._results: queue.Queue[dict[str, Any] | BaseException] = queue.Queue(maxsize=1)
        work = threading.Thread(target=self._work, args=(config["worker"], desk, jobs, machine), daemon=True)
        work.start()

    def _work(
        self, worker: str, desk: Any, jobs: Mapping[str, tuple[Recipe, str]], machine: dict[str, Any]
    ) -> None:
        from trials.runner import Runners

        try:
            runners = Runners(jobs, **machine)
            while (item := ray.get(desk.take.remote(worker))) is not None:
                number, name, task = item
                self._results.put({"number": number, "result": runners.run(name, task), "finished": 1})
            self._results.put({"finished": 1, "done": True})
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


def _check_reachable(address: str) -> None:
    """Refuses an address that nothing answers at; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit() or "/" in host:
        raise Refused(f"address {address!r} is no Ray cluster's: give HOST:PORT of its head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise Refused(f"no Ray cluster at {address!r}: {error.strerror or error}") from error


def _local_cpus(spec: Spec) -> int:
    """CPUs of a cluster on this machine: the machine's, or more if the spec wants more workers."""
    workers = spec.resources.workers or 0
    return max(cores(), math.ceil(workers * spec.resources.cpus))


def _worker_count(spec: Spec) -> int:
    """As many workers as the spec wants and the cluster has room for.

    Raises:
        Refused: There is room for none.
    """
    room = ray.cluster_resources()
    wanted = {"CPU": spec.resources.cpus, "GPU": spec.resources.gpus}
    for name, amount in wanted.items():
        if amount > room.get(name, 0.0):
            raise Refused(
                f"resources: a worker needs {amount:g} {name}, the cluster has {room.get(name, 0.0):g}; "
                f"ask for less or give it more"
            )
    fits = min(int(room.get(name, 0.0) / amount) for name, amount in wanted.items() if amount > 0)
    return fits if spec.resources.workers is None else min(fits, spec.resources.workers)


_FINISHED: str = Searcher.FINISHED
