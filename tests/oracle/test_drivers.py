"""The drivers on real searches: the same outcomes, every worker busy in every cycle, whatever is killed."""

import os
import signal
from collections import defaultdict

import pytest

from oracle.drivers import ray_tune
from oracle.events import Observer
from oracle.search import Signal
from tests.support import open_session, results, run_in_process, small_spec

# Packs of about half a second, four to a cycle: long enough that a worker that starts anew finds work left.
BUSY = {
    "network": {"name": "fc", "arguments": {"hidden": [64, 64]}},
    "cycles": 7,
    "training": {"epochs": 16, "batch_size": 32, "pack": 3},
    "resources": {"workers": 2},
}


class KillWorkers(Observer):
    """Kills the worker that finished last: once in the middle of a cycle, once between two."""

    def __init__(self):
        self.killed = {}
        self._last = None

    def trained(self, session, outcomes):
        self._last = int(outcomes[0].worker.split(":")[1])
        if session.search.cycle == 0 and not self.killed:
            self._kill("within", session)

    def decided(self, session, decision):
        if decision.cycle == 1:
            self._kill("between", session)

    def _kill(self, when, session):
        self.killed[when] = self._last
        os.kill(self._last, signal.SIGKILL)


def run_on_ray(spec, **options):
    with ray_tune.cluster(spec, None) as workers, open_session(spec, **options) as session:
        assert ray_tune.run(session, workers) is Signal.DONE
        return session


def workers_by_cycle(session):
    found = defaultdict(set)
    for trial in session.search.outcomes():
        found[trial.cycle].add(trial.worker)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_in_process(small_spec(tmp_path_factory.mktemp("undisturbed"), **BUSY))


def test_the_same_spec_gives_the_same_numbers_twice(tmp_path):
    first = run_in_process(small_spec(tmp_path / "a"))
    second = run_in_process(small_spec(tmp_path / "b"))
    assert results(first) == results(second)
    assert len(results(first)) >= 3 * 5 * 2


def test_another_seed_gives_other_numbers(tmp_path):
    first = run_in_process(small_spec(tmp_path / "a", cycles=1))
    second = run_in_process(small_spec(tmp_path / "b", cycles=1, seed=1))
    assert results(first) != results(second)


def test_ray_gives_the_numbers_of_one_process_and_both_workers_work_in_every_cycle(tmp_path, undisturbed):
    session = run_on_ray(small_spec(tmp_path, **BUSY))
    assert results(session) == results(undisturbed)
    for cycle, workers in workers_by_cycle(session).items():
        assert len(workers) == 2, f"cycle {cycle} was trained by {workers} alone"
        spans = defaultdict(list)
        for trial in session.search.outcomes():
            if trial.cycle == cycle:
                spans[trial.worker].append((trial.started, trial.ended))
        first, second = spans.values()
        overlap = any(a < d and c < b for a, b in first for c, d in second)
        assert overlap, f"the workers of cycle {cycle} took turns"
    assert len(set.union(*workers_by_cycle(session).values())) == 2  # they stay warm to the end


def test_workers_killed_within_and_between_cycles_are_replaced_and_nothing_changes(tmp_path, undisturbed):
    killer = KillWorkers()
    session = run_on_ray(small_spec(tmp_path, **BUSY), observers=[killer])
    assert set(killer.killed) == {"within", "between"}
    assert results(session) == results(undisturbed)
    rows = session.ledger.outcomes("small")
    assert len(rows) == len(results(undisturbed))
    by_cycle = workers_by_cycle(session)
    pids = {int(worker.split(":")[1]) for worker in set.union(*by_cycle.values())}
    assert len(pids) >= 4  # two to begin with, and one for each that was killed
    for pid in killer.killed.values():
        last = max(t.ended for t in session.search.outcomes() if t.worker.endswith(f":{pid}"))
        assert any(t.started > last for t in session.search.outcomes())
    assert len(by_cycle[max(by_cycle)]) == 2, "in the last cycle two workers work again"


def test_a_worker_that_can_never_run_is_refused(tmp_path):
    spec = small_spec(tmp_path, resources={"gpus": 64})
    with pytest.raises(ray_tune.Refused, match="needs 64 GPU"), ray_tune.cluster(spec, None):
        pass


def test_a_cluster_that_is_not_there_is_refused(tmp_path):
    spec = small_spec(tmp_path)
    with pytest.raises(ray_tune.Refused, match="no Ray cluster"), ray_tune.cluster(spec, "127.0.0.1:1"):
        pass
