"""Drivers: what each must do, and which workers and nodes that of Ray counts on."""

from types import SimpleNamespace

import pytest
import ray
import torch

from oracle.drivers import in_process
from oracle.drivers.cluster import cluster
from oracle.drivers.nodes import kinds_of_gpu, worker_count
from oracle.errors import Refused
from oracle.execution import room
from oracle.session import Session
from oracle.testing.drivers import DRIVER_CHECKS
from tests.on_ray.networks import breaking
from tests.support import results, run_in_process, small_spec


@pytest.mark.parametrize("check", DRIVER_CHECKS)
def test_one_process_is_a_driver(check, tmp_path):
    check(in_process.run, tmp_path)


def test_one_process_whose_gpu_fails_ends_in_a_line_and_loses_nothing(tmp_path, call, write, monkeypatch):
    flag, options = tmp_path / "flag", ("--driver", "in-process")
    training = {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False}
    spec = write(network=breaking(flag, once=False), training=training, cycles=1, replicates=1)
    genuine = Session.tell

    def tell(session, task, result):
        genuine(session, task, result)
        flag.touch(exist_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "tell", tell)
        patched.setattr(torch.cuda, "synchronize", torch.cuda.synchronize)  # the network replaces it
        code, _, err = call("run", spec, *options)
    assert code == 1
    assert err.splitlines()[-1] == (
        "oracle: cycle 0, replicate 0: the GPU can't be used by this process any more (AcceleratorError: "
        "CUDA error: device-side assert triggered); every finished trial is in the ledger: run the search "
        "again, in a new process, to go on"
    )
    flag.unlink()
    code, _, err = call("run", spec, *options)
    assert code == 0 and "1 trial is in the ledger already" in err


def test_the_same_spec_gives_the_same_numbers_twice_and_another_seed_others(tmp_path, undisturbed):
    first, again = results(undisturbed), results(run_in_process(small_spec(tmp_path / "a")))
    assert first == again and len(first) >= 3 * 5 * 2
    other = results(run_in_process(small_spec(tmp_path / "b", cycles=1, seed=1)))
    assert other and all(first.get(place) != found for place, found in other.items())


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


@pytest.mark.parametrize(("gpus", "workers"), [(0.1, 20), (0.5, 4), (0.6, 2), (1, 2)])
def test_a_share_of_a_gpu_is_that_of_one(tmp_path, monkeypatch, gpus, workers):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}])
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("oracle.execution.cores", lambda: 32)
    spec = small_spec(tmp_path, resources={"gpus": gpus})
    assert worker_count(spec) == min(workers, 8) and room(spec) == workers


@pytest.mark.parametrize(("gpus", "kinds"), [(0.5, ("A100", "H100")), (0, ())])
def test_kinds_of_gpu_are_those_of_nodes_with_room_for_a_worker(tmp_path, monkeypatch, gpus, kinds):
    models = {"H100": 8.0, "A100": 8.0, "T4": 1.0, "": 8.0}
    nodes = [{"CPU": cpus, "GPU": 1.0, f"accelerator_type:{name}": 1.0} for name, cpus in models.items()]
    nodes[-1] = {"CPU": 8.0}
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": each} for each in nodes])
    assert kinds_of_gpu(small_spec(tmp_path, resources={"cpus": 2, "gpus": gpus})) == kinds


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
