"""The drivers on real searches: the same outcomes, every worker busy in every cycle, whatever is killed."""

import os
import signal
from collections import defaultdict
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import ray

from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.drivers.nodes import worker_count
from oracle.drivers.workers import TaskQueue
from oracle.errors import Refused
from oracle.observers.protocol import Observer
from oracle.search import Signal
from tests.support import open_session, results, run_in_process, small_spec

# Packs of about half a second, four to a cycle.
BUSY = {
    "network": {"name": "fc", "arguments": {"hidden": [64, 64]}},
    "cycles": 5,
    "training": {"epochs": 16, "batch_size": 32, "pack": 3, "compile": False},
    "resources": {"workers": 2},
}


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


def run_on_ray(spec, **options):
    with cluster([spec], None) as [workers], open_session(spec, **options) as session:
        assert ray_tune.run([session], workers) == {"small": Signal.DONE}
        return session


def workers_by_cycle(session):
    found = defaultdict(set)
    for trial in session.search.outcomes():
        found[trial.cycle].add(trial.worker)
    return found


def test_the_same_spec_gives_the_same_numbers_twice(tmp_path):
    first = run_in_process(small_spec(tmp_path / "a"))
    second = run_in_process(small_spec(tmp_path / "b"))
    assert results(first) == results(second)
    assert len(results(first)) >= 3 * 5 * 2


def test_another_seed_gives_other_numbers(tmp_path):
    first = run_in_process(small_spec(tmp_path / "a", cycles=1))
    second = run_in_process(small_spec(tmp_path / "b", cycles=1, seed=1))
    assert results(first) != results(second)


def test_ray_gives_the_numbers_of_one_process_and_both_workers_work_in_every_cycle(tmp_path):
    session = run_on_ray(small_spec(tmp_path, **BUSY))
    assert results(session) == results(run_in_process(small_spec(tmp_path / "alone", **BUSY)))
    by_cycle = workers_by_cycle(session)
    assert len(set.union(*by_cycle.values())) == 2  # they stay warm to the end
    for cycle in range(1, BUSY["cycles"]):  # one may still be starting when the other ends the first cycle
        assert len(by_cycle[cycle]) == 2, f"cycle {cycle} was trained by {by_cycle[cycle]} alone"
        spans = defaultdict(list)
        for trial in session.search.outcomes():
            if trial.cycle == cycle:
                spans[trial.worker].append((trial.started, trial.ended))
        first, second = spans.values()
        overlap = any(a < d and c < b for a, b in first for c, d in second)
        assert overlap, f"the workers of cycle {cycle} took turns"


def test_workers_killed_within_and_between_cycles_are_replaced_and_nothing_changes(tmp_path):
    killer, busy = KillWorkers(), BUSY | {"cycles": 40, "pruning": {"rate": 0.05}}
    spec = small_spec(tmp_path, **busy)
    with cluster([spec], None) as [workers], open_session(spec, observers=[killer]) as session:
        with pytest.raises(Enough):
            ray_tune.run([session], workers)
        recorded = session.ledger.outcomes("small")
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
        [workers] = stack.enter_context(cluster([specs[0]], None))
        sessions = [stack.enter_context(open_session(spec)) for spec in specs]
        assert ray_tune.run(sessions, workers) == {"a": Signal.DONE, "b": Signal.DONE}
    for spec, session in zip(specs, sessions, strict=True):
        alone = spec.model_copy(
            update={"storage": f"{tmp_path}/alone", "ledger": f"sqlite:///{tmp_path}/alone.db"}
        )
        assert results(session) == results(run_in_process(alone))
    first, second = ([(t.started, t.ended) for t in session.search.outcomes()] for session in sessions)
    assert min(first)[0] < max(second)[1] and min(second)[0] < max(ended for _, ended in first)


def test_workers_that_die_before_they_take_anything_end_the_search_in_words(tmp_path):
    spec = small_spec(tmp_path)
    with cluster([spec], None), open_session(spec) as session:
        desk = ray.remote(TaskQueue).remote()
        workers = ray_tune._Workers([session], 1, desk)
        asked = len(session.search.out)
        with pytest.raises(Refused, match="workers die before they take a task: out of memory"):
            for number in range(100):
                assert number < 50
                workers.died(f"worker {number}", "out of memory")
        assert workers.over and len(session.search.out) == asked


def test_a_task_that_a_dead_worker_waited_for_goes_to_the_next_one(tmp_path):
    with cluster([small_spec(tmp_path)], None):
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
    spec = small_spec(tmp_path, resources={"gpus": 64})
    why = "needs 64 GPU on one node, the cluster's largest has 0 GPU"
    with pytest.raises(Refused, match=why), cluster([spec], None):
        pass


@pytest.mark.parametrize(
    ("cpus", "nodes", "may_come", "workers"),
    [
        (1, [1, 1], [], 2),
        (0.1, [1], [], 10),
        (2, [3, 3], [], 2),
        (2, [0], [(0, 1), (2, 3)], 3),  # an autoscaler: a head, and at most three nodes, none of them there
        (2, [0, 2], [(0, 1), (2, 3)], 3),
        (2, [4], [(2, 3)], 5),
    ],
)
def test_workers_are_counted_by_nodes(tmp_path, monkeypatch, cpus, nodes, may_come, workers):
    groups = [SimpleNamespace(resources={"CPU": own}, max_count=most) for own, most in may_come]
    config = SimpleNamespace(node_group_configs=groups) if groups else None
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": own}} for own in nodes])
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: config)
    assert worker_count(small_spec(tmp_path, resources={"cpus": cpus})) == workers


@pytest.mark.parametrize(("gpus", "workers"), [(0.5, 4), (0.6, 2), (1, 2), (2, 1)])
def test_a_share_of_a_gpu_is_that_of_one(tmp_path, monkeypatch, gpus, workers):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}])
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: None)
    assert worker_count(small_spec(tmp_path, resources={"gpus": gpus})) == workers


def test_two_nodes_are_not_one_of_twice_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}] * 2)
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: None)
    with pytest.raises(Refused, match="a worker needs 2 CPU on one node, the cluster's largest has 1 CPU"):
        worker_count(small_spec(tmp_path, resources={"cpus": 2}))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_one_spec_has_the_local_cluster_start_with_is_not_anothers(tmp_path, monkeypatch, order):
    started = {}
    monkeypatch.setattr("oracle.drivers.cluster.cores", lambda: 2)
    monkeypatch.setattr(ray, "init", lambda **options: started.update(options))
    monkeypatch.setattr(ray, "shutdown", started.clear)
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": float(started["num_cpus"])}}]
    )
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: None)
    specs = [small_spec(tmp_path, resources={"workers": workers}) for workers in (8, None)]
    with cluster([specs[i] for i in order], None) as workers:
        assert workers == [(8, 2)[i] for i in order]


def test_a_cluster_that_is_not_there_is_refused(tmp_path):
    spec = small_spec(tmp_path)
    with pytest.raises(Refused, match="no Ray cluster"), cluster([spec], "127.0.0.1:1"):
        pass


def test_a_training_that_never_ends_is_ended_by_the_time_limit(tmp_path, monkeypatch):
    """The network sleeps for an hour in the first process that trains it, and in no other."""
    module = tmp_path / "hanging.py"
    module.write_text(HANGING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    network = {"name": "hanging:Hanging", "arguments": {"flag": str(tmp_path / "flag")}}
    training = {"epochs": 1, "batch_size": 64, "compile": False}
    resources = {"workers": 1, "time_limit": 10}
    spec = small_spec(tmp_path, network=network, cycles=1, training=training, resources=resources)
    heard = Heard()
    with cluster([spec], None) as [workers], open_session(spec, observers=[heard]) as session:
        (tmp_path / "flag").touch()
        assert ray_tune.run([session], workers) == {"small": Signal.DONE}
    assert len(heard.reasons) == 1
    assert "longer than the time limit of 10 seconds (resources.time_limit)" in heard.reasons[0]


class Heard(Observer):
    def __init__(self):
        self.reasons = []

    def retried(self, session, task, reason):
        self.reasons.append(reason)


HANGING = """
import time
from pathlib import Path
from torch import nn


class Hanging(nn.Sequential):
    def __init__(self, *, input_shape, num_classes, flag):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
        self.flag = Path(flag)

    def forward(self, inputs):
        if self.training and self.flag.exists():
            self.flag.unlink()
            time.sleep(3600)
        return super().forward(inputs)
"""
