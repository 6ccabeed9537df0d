"""Runs searches as one Ray Tune experiment whose workers stay warm from the first cycle to the last.

A Tune trial is a worker, not a training: its actor lives for the whole experiment, imports torch and loads
the data set once, and takes one task after another from a desk, a small actor beside this process. Each
finished task is one result that Tune brings here. A worker goes on with its next task while its last one's
result is on its way, so that neither Tune's loop nor the ledger keeps it waiting. A worker that dies ends its
Tune trial; what it had taken counts as failed once, and Tune is given another worker in its place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from oracle.drivers import ray_internals
from oracle.drivers.task_queue import TaskQueue
from oracle.drivers.workers import OpenRunners, Worker, open_runners
from oracle.errors import Refused
from oracle.search import Signal
from oracle.session import Session
from trials.process import says_out_of_memory
from trials.tasks import Failed, Job, Result, Task

_IDLE_DEATHS = 3
"""How many workers in a row may die without having taken a task before the experiment is given up."""


def run(
    sessions: Sequence[Session],
    workers: int,
    shared: Mapping[str, Any] | None = None,
    open_runners: OpenRunners = open_runners,
    desk: Any = None,
) -> dict[str, Signal]:
    """Runs sessions to their ends, side by side, on the cluster that this process is connected to.

    Args:
        sessions: The sessions; each worker works for all of them, so their specs want the same resources.
        workers: Workers at a time.
        shared: Data sets that the workers share, of :func:`oracle.drivers.shared_data.share`; all others they
            load.
        open_runners: What makes a worker's side of the searches, in the worker.
        desk: Where workers are to take their tasks, of :class:`oracle.drivers.cluster.LocalStart`, which has
            started processes for them, too; by default it is made.

    Returns:
        Name of each search to ``Signal.DONE``, or to ``Signal.STUCK`` if a task failed too often.
    """
    spec = sessions[0].spec
    if any(session.spec.resources != spec.resources for session in sessions):
        raise ValueError("searches that share workers must want the same resources")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # a spec's relative paths mean the same in every process
    scratch = tempfile.mkdtemp(prefix="oracle-tune-")
    made_here = desk is None
    if made_here:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(TaskQueue).options(num_cpus=0, scheduling_strategy=here).remote()
    searcher = _Workers(sessions, workers, desk)
    trainable = tune.with_parameters(
        Worker,
        desk=desk,
        jobs={
            s.spec.name: Job(
                recipe=s.recipe,
                storage=s.spec.storage_root(),
                share=s.spec.share_of_memory,
                graphs=s.graphs,
                initial=s.initial,
            )
            for s in sessions
        },
        shared={} if shared is None else shared,
        open_runners=open_runners,
        time_limit=spec.resources.time_limit,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": spec.resources.cpus, "gpu": spec.resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_Deaths(searcher),
            num_samples=-1,
            reuse_actors=False,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            stop=_Over(searcher),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        with nullcontext() if made_here else ray_internals.tune_without_environments():
            tuner.fit()
    except Exception:
        if searcher.error is None:
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if searcher.error is not None:
        raise searcher.error
    return searcher.signals()


class _Workers(Searcher):
    """Tune's view of the sessions: what it suggests are workers; their results are told to the sessions."""

    def __init__(self, sessions: Sequence[Session], workers: int, desk: Any) -> None:
        super().__init__(metric="finished", mode="max")
        self._sessions = {session.spec.name: session for session in sessions}
        self._wanted, self._desk = workers, desk
        self._time_limit = sessions[0].spec.resources.time_limit
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
            taken, seconds = ray.get(self._desk.lost.remote(worker))
        except ray.exceptions.RayActorError as error:
            short = str(error).strip().splitlines()[-1]
            self._end(
                Refused(f"the actor that hands out tasks has gone ({short}); run the same command again")
            )
        limit = self._time_limit
        if limit is not None and seconds >= limit:
            reason += f"\nit took longer than the time limit of {limit:g} seconds (resources.time_limit)"
        lost = [self._out.pop(number) for number in taken if number in self._out]
        memory = says_out_of_memory(reason)  # Ray ends a worker where a node has too little
        self._idle_deaths = 0 if lost else self._idle_deaths + 1
        if self._idle_deaths > _IDLE_DEATHS * self._wanted:
            self._end(Refused(f"workers die before they take a task: {reason.splitlines()[-1]}"))
        self._tell([(session, task, Failed(error=reason, memory=memory)) for session, task in lost])

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


class _Deaths(FIFOScheduler):
    """Hears of workers that died, and of what.

    No callback: for its statistics of those Tune imports every library that it has one for.
    """

    def __init__(self, workers: _Workers) -> None:
        super().__init__()
        self._workers = workers

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        written = Path(trial.error_file) if trial.error_file else None
        reason = written.read_text() if written and written.is_file() else ""
        self._workers.died(trial.trial_id, _cause_of_death(reason))


def _cause_of_death(error: str) -> str:
    """The report that Tune wrote of a worker's end, with a last line that says it in short."""
    lines = error.strip().splitlines()[1:] or ["no reason is known"]  # the first one is Tune's count and date
    short = lines[-1] if any(line.startswith('  File "') for line in lines) else lines[0]
    return "\n".join([*lines, f"the worker died: {short}"])


_FINISHED: str = Searcher.FINISHED
