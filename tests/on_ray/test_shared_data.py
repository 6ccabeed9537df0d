"""The data set that workers share: loaded once, mapped by each, and there whoever dies."""

import os
import signal

import psutil
import pytest
import ray

from oracle import preflight
from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.drivers.shared_data import SharedData, share
from oracle.observers import Observer
from oracle.search import Signal
from tests.processes import ROOT
from tests.support import open_session, results, run_in_process, small_spec
from trials.datasets import LoadOnce, dataset_key, load_dataset

# Notes who loads it.
NOTED = """
import os
import torch
from trials.datasets import Dataset, Split

def load(*, seed, count, width):
    with open({loads!r}, "a") as stream:
        stream.write(f"{{os.getpid()}}\\n")
    generator = torch.Generator().manual_seed(seed)
    def split(count):
        labels = torch.arange(count) % 3
        return Split(inputs=torch.randn(count, width, generator=generator) + labels[:, None], labels=labels)
    parts = {{"train": split(count), "validation": split(64), "test": split(64)}}
    return Dataset(**parts, num_classes=3, mean=(0.0,), std=(1.0,))
"""
WIDTH = 8


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """A data set that notes who loads it, and who that was so far."""
    name, loads = f"noted_{tmp_path.name.replace('-', '_')}", tmp_path / "loads"
    (tmp_path / f"{name}.py").write_text(NOTED.format(loads=str(loads)))
    monkeypatch.syspath_prepend(tmp_path)

    def spec(folder, count=512, **changes):
        dataset = {"name": f"{name}:load", "arguments": {"count": count, "width": WIDTH}}
        training = {"epochs": 2, "batch_size": 64, "pack": 1, "compile": False}
        return small_spec(
            folder, **{"dataset": dataset, "training": training, "resources": {"workers": 2}} | changes
        )

    def loaders():
        return list(map(int, loads.read_text().split())) if loads.exists() else []

    return spec, loaders


class KillOnce(Observer):
    """Kills the worker that finished first."""

    def __init__(self):
        self.killed = None

    def trained(self, session, outcomes):
        if self.killed is None:
            self.killed = int(outcomes[0].worker.split(":")[1])
            os.kill(self.killed, signal.SIGKILL)


def run_sharing(spec, address, **options):
    """Runs a search as the command does: on the data set that the preflight has loaded."""
    load = LoadOnce(load_dataset)
    preflight.examine(spec, preflight.open_runner(spec, load))
    with cluster([spec], address) as [workers], open_session(spec, **options) as session:
        assert ray_tune.run([session], workers, share(load.kept)) == {spec.name: Signal.DONE}
    assert not load.kept, "this process holds a copy of its own"
    return session


def test_workers_load_nothing_and_find_what_one_process_finds_though_one_is_killed(
    tmp_path, noted, ray_cluster
):
    spec, loaders = noted
    killer = KillOnce()
    session = run_sharing(spec(tmp_path), ray_cluster.address, observers=[killer])
    assert set(loaders()) == {os.getpid()}
    workers = {int(trial.worker.split(":")[1]) for trial in session.search.outcomes()}
    assert killer.killed in workers and len(workers) >= 2
    assert results(session) == results(run_in_process(spec(tmp_path / "alone")))


class Reader:
    """A process that reads a data set as a worker does."""

    def __init__(self, shared):
        self._load = SharedData(shared)

    def read(self, *place, seed):
        """The process, the data set's checksum, and the bytes that reading all of it made its own."""
        private = self._private()
        self._data = self._load(*place, seed=seed)
        found = self._data.fingerprint()
        return os.getpid(), found, self._private() - private

    def offer(self):
        """An object that goes with this process."""
        return [ray.put("no data set")]

    def _private(self):
        return psutil.Process().memory_full_info().uss


def test_processes_map_one_copy_that_outlives_them_and_load_what_is_not_shared(tmp_path, noted, ray_cluster):
    spec, loaders = noted
    shared_place, large_place = (
        (asked.dataset.name, dict(asked.dataset.arguments))
        for asked in (spec(tmp_path, count=1_000_000), spec(tmp_path, count=1_500_000))
    )
    size = 40e6  # of the store's 100 MB; the second takes 60
    kept = {dataset_key(*place, 0): load_dataset(*place, seed=0) for place in (shared_place, large_place)}
    wanted, large = (data.fingerprint() for data in kept.values())
    with cluster([spec(tmp_path)], ray_cluster.address):
        shared = share(kept)
        assert list(shared) == [dataset_key(*shared_place, 0)] and list(kept) == [
            dataset_key(*large_place, 0)
        ]
        finds = {"env_vars": {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}}  # the data set's module
        reader = ray.remote(runtime_env=finds)(Reader)
        first, second, last = [reader.remote(shared) for _ in range(3)]
        ray.get([each.read.remote(*shared_place, seed=0) for each in (first, second)])  # and import torch
        found = ray.get([each.read.remote(*shared_place, seed=0) for each in (first, second)])
        assert len({pid for pid, _, _ in found}) == 2
        assert {checksum for _, checksum, _ in found} == {wanted}
        assert max(grown for _, _, grown in found) < size / 4
        lost = ray.get(first.offer.remote())
        for pid, _, _ in found:
            os.kill(pid, signal.SIGKILL)
        assert ray.get(last.read.remote(*shared_place, seed=0))[1] == wanted
        assert set(loaders()) == {os.getpid()}
        pid, checksum, _ = ray.get(last.read.remote(*large_place, seed=0))
        assert loaders()[-1] == pid and checksum == large
        orphaned = reader.remote({dataset_key(*large_place, 0): lost[0]})
        assert ray.get(orphaned.read.remote(*large_place, seed=0))[1] == large
        assert len(loaders()) == 4
