"""Workers that have GPUs, by Ray's count: it is told that there is one, where none is had."""

import os
import threading
from contextlib import suppress
from functools import partial

import psutil
import pytest
import torch

import trials.runner
from oracle.drivers import nodes, ray_tune
from oracle.drivers.cluster import cluster
from oracle.observers import Observer
from oracle.search import Signal
from tests.on_ray.networks import breaking
from tests.support import open_session, results, run_in_process, small_spec
from trials.engine.choose import ChosenExecution
from trials.process import DeviceLost
from trials.runner import Runners
from trials.tasks import Execution
from trials.training import train_pack

END_SECONDS = 60
QUICK = {
    "cycles": 1,
    "replicates": 1,
    "grid": {"low": 0.01, "high": 0.4, "points": 3, "extend": False},
    "training": {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False},
    "resources": {"workers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def connected(ray_cluster, tmp_path_factory):
    """All tests of the file are one job."""
    with cluster([small_spec(tmp_path_factory.mktemp("spec"))], ray_cluster.address):
        yield


class Heard(Observer):
    def __init__(self):
        self.reasons = []

    def retried(self, session, task, reason):
        self.reasons.append(reason)


def is_gone(pid):
    """Whether a process has ended, which may take a moment."""
    with suppress(psutil.NoSuchProcess):
        psutil.wait_procs([psutil.Process(pid)], timeout=END_SECONDS)
    return not psutil.pid_exists(pid)


def measures(spec, workers):
    return ChosenExecution(Execution(), str(os.getpid()), ())


def test_a_process_that_measured_on_a_gpu_leaves_it_to_the_search(tmp_path, monkeypatch):
    spec = small_spec(tmp_path, resources={"workers": 1, "gpus": 0.5})
    monkeypatch.setattr(nodes, "_choose_way", measures)
    assert is_gone(int(nodes.choose_execution_on_worker(spec, 1).reason))


def test_a_worker_whose_gpu_fails_is_replaced_and_its_task_tried_again(tmp_path):
    flag, heard = tmp_path / "flag", Heard()
    network = breaking(flag, once=True)
    with open_session(small_spec(tmp_path, **QUICK, network=network), observers=[heard]) as session:
        flag.touch()
        assert ray_tune.run([session], 1) == {"small": Signal.DONE}
    (pid,) = map(int, (tmp_path / "pids").read_text().split())  # it took no other task
    assert is_gone(pid)
    (reason,) = heard.reasons
    assert reason.splitlines()[-1].endswith("(AcceleratorError: CUDA error: device-side assert triggered)")
    assert results(session) == results(run_in_process(small_spec(tmp_path / "b", **QUICK, network=network)))


def test_a_task_that_breaks_every_gpu_is_given_up_with_its_line(tmp_path):
    flag, heard = tmp_path / "flag", Heard()
    policy = {"name": "fixed", "arguments": {"max_lr": 0.1}}
    spec = small_spec(tmp_path, **QUICK, policy=policy, network=breaking(flag, once=False))
    with open_session(spec, observers=[heard], attempts=2) as session:
        flag.touch()
        assert ray_tune.run([session], 1) == {"small": Signal.STUCK}
    pids = (tmp_path / "pids").read_text().split()
    assert len(set(pids)) == len(pids) == len(heard.reasons) == 2
    assert "device-side assert" in session.first_error.splitlines()[-1]


def cramped(jobs, *, load, most):
    """A worker's side of the searches in a process that has room for so many candidates together."""

    def train(*, max_lrs, **arguments):
        if len(max_lrs) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return train_pack(max_lrs=max_lrs, **arguments)

    trials.runner.train_pack = train
    return Runners(jobs, load=load)


class Halved(Observer):
    def __init__(self):
        self.sizes = []

    def halved(self, session, task, together):
        self.sizes.append(together)


def test_a_pack_that_runs_out_of_a_workers_memory_is_halved_and_no_process_is_lost(tmp_path):
    heard, training = Halved(), {"epochs": 1, "batch_size": 64, "pack": 3, "compile": False}
    with open_session(small_spec(tmp_path, **QUICK | {"training": training}), observers=[heard]) as session:
        found = ray_tune.run([session], 1, open_runners=partial(cramped, most=2))
    trained = session.search.outcomes()
    assert found == {"small": Signal.DONE} and heard.sizes == [2]
    assert [trial.pack for trial in trained] == [2, 2, 1] and len({trial.worker for trial in trained}) == 1


class Losing(Runners):
    """Loses its device at its second task, while the first's files wait for that, if a file is there."""

    def __init__(self, jobs, *, load, flag):
        super().__init__(jobs, load=load)
        self._flag, self._tasks, self._lost = flag, 0, threading.Event()

    def compute(self, name, task):
        self._tasks += 1
        if self._tasks == 2 and self._flag.exists():
            self._flag.unlink()
            self._lost.set()
            raise DeviceLost("gone")
        store, waits = super().compute(name, task), self._flag.exists()

        def store_late():
            assert not waits or self._lost.wait(END_SECONDS)
            return store()

        return store_late


def test_what_was_trained_before_the_gpu_failed_is_kept(tmp_path):
    heard, flag = Heard(), tmp_path / "flag"
    with open_session(small_spec(tmp_path, **QUICK), observers=[heard]) as session:
        flag.touch()
        found = ray_tune.run([session], 1, open_runners=partial(Losing, flag=flag))
    assert found == {"small": Signal.DONE}
    assert [reason.splitlines()[-1].endswith("gone") for reason in heard.reasons] == [True]
