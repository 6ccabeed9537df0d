"""Runs a search as one Ray Tune experiment whose workers stay warm from its first cycle to its last.

Between two cycles a searcher has nothing to suggest for a moment, and Tune then lets every idle actor but one
go. This driver asks Tune's actor cache to keep as many as there are workers, so that each imports torch and
loads the data set once in a search. That is the only private part of Ray that is touched, in ``_KeepWarm``.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from oracle.errors import Refused
from oracle.machine import cores
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from trials.tasks import Failed, Task

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

_WORKER_FAILURES = 3
"""How often Tune starts a worker anew under a task before the task counts as failed once."""


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


def run(session: Session, workers: int) -> Signal:
    """Runs a session to its end on the cluster that this process is connected to.

    Args:
        session: The session.
        workers: Workers at a time.

    Returns:
        ``Signal.DONE``, or ``Signal.STUCK`` if a task failed too often.
    """
    spec = session.spec
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    scratch = tempfile.mkdtemp(prefix="oracle-tune-")
    searcher = _OracleSearcher(session, workers)
    trainable = tune.with_parameters(
        _Worker,
        recipe=session.recipe,
        storage=spec.storage_root(),
        device=spec.device,
        threads=spec.threads,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": spec.resources.cpus, "gpu": spec.resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_KeepWarm(workers),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_WORKER_FAILURES),
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
    signal = session.ask()
    assert isinstance(signal, Signal)
    return signal


class _OracleSearcher(Searcher):
    """Tune's view of a session: suggests its tasks and tells it their results."""

    def __init__(self, session: Session, workers: int) -> None:
        super().__init__(metric="finished", mode="max")
        self._session, self._workers = session, workers
        self._tasks: dict[str, Task] = {}
        self.error: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher onto the storage; the session holds the ledger's password."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A task for a new Tune trial; None while there is none, FINISHED when there won't be another."""
        if self.error is not None:
            return _FINISHED
        if len(self._tasks) >= self._workers:
            return None
        task = self._session.ask()
        if task is Signal.WAIT:
            return None
        if isinstance(task, Signal):
            return _FINISHED
        self._tasks[trial_id] = task
        return {"task": task}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells the session; whatever that raises ends the experiment and is raised by :func:`run`."""
        task = self._tasks.pop(trial_id, None)
        if task is None or self.error is not None:
            return
        lost = Failed(error=f"the worker died {_WORKER_FAILURES + 1} times while it ran {task}")
        try:
            self._session.tell(task, result["result"] if result and "result" in result else lost)
        except BaseException as failure:
            self.error = failure
            raise

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Every trial has one result, which ends it."""

    def save(self, checkpoint_path: str) -> None:
        """The ledger is what is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """The ledger is what is resumed from."""


class _KeepWarm(FIFOScheduler):
    """Makes Tune keep every worker's actor through the moment between two cycles."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self._workers, self._kept = workers, False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Raises the actor cache's floor once, when the first trial says which resources a worker has."""
        super().on_trial_add(tune_controller, trial)
        if not self._kept:
            controller = getattr(tune_controller, "_tune_controller", tune_controller)
            controller._actor_cache.increase_max(trial.placement_group_factory, self._workers)
            self._kept = True


class _Worker(tune.Trainable):
    """A warm worker: one runner for its whole life, one task per step."""

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        from trials.runner import Runner

        self._runner = Runner(**parameters)
        self._task: Task = config["task"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._task = new_config["task"]
        return True

    def step(self) -> dict[str, Any]:
        return {"result": self._runner.run(self._task), "finished": 1, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The networks are in the search's storage already."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """A task starts from the search's storage."""


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
