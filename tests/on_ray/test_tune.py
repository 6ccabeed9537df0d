"""Searches on Ray's workers: the same outcomes, every worker busy in every cycle, whatever is killed."""

import os
import signal
from collections import defaultdict
from contextlib import ExitStack

import pytest
import ray

from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.drivers.nodes import worker_count
from oracle.drivers.task_queue import TaskQueue
from oracle.errors import Refused
from oracle.observers import Observer
from oracle.search import Signal
from oracle.testing.drivers import DRIVER_CHECKS
from tests.on_ray.networks import slow
from tests.support import open_session, results, run_in_process, small_spec

BUSY = {
    "training": {"epochs": 1, "batch_size": 64, "pack": 3, "compile": False},
    "resources": {"workers": 2},
}
STEP_SECONDS = 0.03
"""Four packs to a cycle, each of half a second that takes no processor."""


@pytest.fixture(scope="module", autouse=True)
def connected(ray_cluster, tmp_path_factory):
    """All tests of the file are one job."""
    with cluster([small_spec(tmp_path_factory.mktemp("spec"))], ray_cluster.address):
        yield


@pytest.mark.parametrize("check", DRIVER_CHECKS)
def test_tune_is_a_driver(check, tmp_path):
    check(lambda session: ray_tune.run([session], 1)[session.spec.name], tmp_path)


class Enough(Exception):
    """Everything that the test waits for has been seen."""


class KillWorkers(Observer):
    """Kills the worker that finished last, once within a cycle and once between two.

    Ends the search as soon as two workers that were not killed share a cycle.
    """

    def __init__(self):
        self.killed = {}
        self._last = None

    def trained(self, session, outcomes):
        self._last = pid_of(outcomes[0])
        if session.search.cycle == 0 and not self.killed:
            self._kill("within")

    def decided(self, session, decision):
        if decision.cycle == 1:
            self._kill("between")
        elif decision.cycle > 1:
            pids = {pid_of(trial) for candidate in decision.candidates for trial in candidate.trials}
            if len(pids) == 2 and not pids & set(self.killed.values()):
                raise Enough

    def _kill(self, when):
        self.killed[when] = self._last
        os.kill(self._last, signal.SIGKILL)


def pid_of(trial):
    return int(trial.worker.split(":")[1])


def test_both_workers_work_in_every_cycle(tmp_path):
    flag = tmp_path / "slow"
    spec = small_spec(tmp_path, **BUSY, cycles=3, network=slow(flag, STEP_SECONDS))
    with open_session(spec) as session:
        flag.touch()
        assert ray_tune.run([session], 2) == {"small": Signal.DONE}
    by_cycle = defaultdict(lambda: defaultdict(list))
    for trial in session.search.outcomes():
        by_cycle[trial.cycle][trial.worker].append((trial.started, trial.ended))
    assert len({worker for spans in by_cycle.values() for worker in spans}) == 2  # they stay warm to the end
    for cycle in (1, 2):  # one may still be starting when the other ends the first cycle
        assert len(by_cycle[cycle]) == 2, f"cycle {cycle} was trained by {[*by_cycle[cycle]]} alone"
        first, second = by_cycle[cycle].values()
        overlap = any(a < d and c < b for a, b in first for c, d in second)
        assert overlap, f"the workers of cycle {cycle} took turns"


def test_workers_killed_within_and_between_cycles_are_replaced_and_nothing_changes(tmp_path):
    killer, flag = KillWorkers(), tmp_path / "slow"
    busy = BUSY | {"cycles": 40, "pruning": {"rate": 0.05}, "network": slow(flag, STEP_SECONDS)}
    spec = small_spec(tmp_path, **busy)
    with open_session(spec, observers=[killer]) as session:
        flag.touch()
        with pytest.raises(Enough):
            ray_tune.run([session], 2)
        recorded = session.ledger.outcomes("small")
    flag.unlink()
    decided = len(session.search.decisions)
    whole = run_in_process(small_spec(tmp_path / "alone", **busy | {"cycles": decided}))
    found = {place: value for place, value in results(session).items() if place[0] < decided}
    assert found == results(whole)
    assert len([trial for trial in recorded.values() if trial.cycle < decided]) == len(found)
    for pid in killer.killed.values():
        trials = session.search.outcomes()
        last = max(trial.ended for trial in trials if pid_of(trial) == pid)
        assert any(trial.started > last and pid_of(trial) != pid for trial in trials)


def test_searches_side_by_side_share_the_workers_and_find_what_each_finds_alone(tmp_path):
    specs = [
        small_spec(tmp_path, name="a", cycles=2),
        small_spec(tmp_path, name="b", cycles=4, policy={"name": "fixed", "arguments": {"max_lr": 0.1}}),
    ]
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(spec)) for spec in specs]
        assert ray_tune.run(sessions, 2) == {"a": Signal.DONE, "b": Signal.DONE}
    for spec, session in zip(specs, sessions, strict=True):
        alone = spec.model_copy(
            update={"storage": f"{tmp_path}/alone", "ledger": f"sqlite:///{tmp_path}/alone.db"}
        )
        assert results(session) == results(run_in_process(alone))
    first, second = ([(t.started, t.ended) for t in session.search.outcomes()] for session in sessions)
    assert min(first)[0] < max(second)[1] and min(second)[0] < max(ended for _, ended in first)


def test_workers_that_die_before_they_take_anything_end_the_search_in_words(tmp_path):
    spec = small_spec(tmp_path)
    with open_session(spec) as session:
        desk = ray.remote(TaskQueue).remote()
        workers = ray_tune._Workers([session], 1, desk)
        asked = len(session.search.out)
        with pytest.raises(Refused, match="workers die before they take a task: out of memory"):
            for number in range(100):
                assert number < 50
                workers.died(f"worker {number}", "out of memory")
        assert workers.over and len(session.search.out) == asked


def test_a_task_that_a_dead_worker_waited_for_goes_to_the_next_one():
    desk = ray.remote(TaskQueue).remote()
    waiting = desk.take.remote("dead")
    assert ray.get(desk.lost.remote("dead"))[0] == []
    ray.get(desk.put.remote([(1, "small", "task")]))
    assert ray.get(waiting) is None
    assert ray.get(desk.take.remote("alive")) == (1, "small", "task")
    assert ray.get(desk.lost.remote("alive"))[0] == [1]
    ray.get(desk.close.remote())
    assert ray.get([desk.take.remote("third"), desk.take.remote("fourth")]) == [None, None]


def test_a_worker_that_can_never_run_is_refused(tmp_path):
    spec = small_spec(tmp_path, resources={"cpus": 3, "gpus": 0.5})
    with pytest.raises(Refused, match="needs 3 CPU on one node, the cluster's largest has 2 CPU"):
        worker_count(spec)


def test_a_training_that_never_ends_is_ended_by_the_time_limit(tmp_path):
    flag = tmp_path / "hangs"
    training = {"epochs": 1, "batch_size": 64, "compile": False}
    resources = {"workers": 1, "time_limit": 10}
    network = slow(flag, 7200)
    spec = small_spec(tmp_path, network=network, cycles=1, training=training, resources=resources)
    heard = Heard()
    with open_session(spec, observers=[heard]) as session:
        flag.touch()
        assert ray_tune.run([session], 1) == {"small": Signal.DONE}
    assert len(heard.reasons) == 1
    assert "longer than the time limit of 10 seconds (resources.time_limit)" in heard.reasons[0]


class Heard(Observer):
    def __init__(self):
        self.reasons = []

    def retried(self, session, task, reason):
        self.reasons.append(reason)
