"""A cluster that starts while a search is checked: its workers are there by then, and nothing is left."""

import os
import time
from contextlib import nullcontext

import psutil
import pytest
import ray
from ray._private import services

from oracle import service
from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster, starting
from oracle.errors import Refused
from tests.support import open_session, small_spec


def rays():
    """Ray's processes that this one has started itself, and that run."""
    own = psutil.Process().children()
    names = [each.name() for each in own if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    return [name for name in names if name in ("raylet", "gcs_server")]


def test_workers_are_processes_that_were_there_before(tmp_path):
    spec = small_spec(tmp_path, cycles=1, resources={"workers": 1})
    with starting([spec]) as start, cluster([spec], None, start) as [workers]:
        assert workers == 1 and len(rays()) == 2
        ray.get(start.desk.put.remote([]))  # its process was asked for after those for workers
        with open_session(spec) as session:
            begin = time.time()
            ray_tune.run([session], workers, desk=start.desk)
            pids = {int(trial.worker.split(":")[1]) for trial in session.search.outcomes()}
            assert len(pids) == 1 and os.getpid() not in pids
            assert all(psutil.Process(pid).create_time() < begin for pid in pids)
    assert not ray.is_initialized() and not rays()


def test_nothing_is_left_of_it_if_the_search_does_not_begin(tmp_path, monkeypatch):
    def prepare(*_):
        assert not found
        found.extend(rays() or ["it starts"])
        raise KeyboardInterrupt

    found = []
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(service, "_prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        service.run(small_spec(tmp_path))
    assert found and not ray.is_initialized() and not rays() and "RAY_AUTH_MODE" not in os.environ


def test_what_it_fails_with_is_said_when_it_is_needed(tmp_path, monkeypatch):
    def fails(**_):
        raise RuntimeError("no room\nfor a node")

    monkeypatch.setattr(ray, "init", fails)
    spec = small_spec(tmp_path)
    with starting([spec]) as start:
        start._thread.join()
        with (
            pytest.raises(Refused, match=r"^Ray can't be started here: no room$"),
            cluster([spec], None, start),
        ):
            pass


@pytest.mark.parametrize(("failing", "works"), [(2, True), (3, False)])
def test_a_node_that_needs_longer_than_ray_waits_is_started_anew(tmp_path, monkeypatch, failing, works):
    def get_node(*arguments):  # once the node's processes are there
        left.append(rays())
        if len(left) <= failing:
            raise Exception("The current node timed out during startup. This could happen")
        return genuine(*arguments)

    left, genuine = [], services.get_node
    monkeypatch.setattr(services, "get_node", get_node)
    refused = pytest.raises(Refused, match=r"^Ray can't be started here: The current node timed out")
    with nullcontext() if works else refused, cluster([small_spec(tmp_path)], None) as [workers]:
        assert workers >= 1 and ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
    assert len(left) >= 3 and all(len(each) <= 2 for each in left)  # nothing of those before


@pytest.mark.parametrize(
    ("changes", "starts"),
    [({}, True), ({"resources": {"gpus": 1}}, False), ({"resources": {"cpus": 2}}, False)],
)
def test_it_starts_for_workers_that_need_nothing_but_a_core(tmp_path, monkeypatch, changes, starts):
    begun = []
    monkeypatch.setattr("oracle.drivers.cluster.starting", lambda specs: begun.append(specs) or specs)
    specs = [small_spec(tmp_path, **changes)]
    assert service._starting(specs, "in-process", None).__enter__() is None
    assert service._starting(specs, "ray", "host:6379").__enter__() is None
    assert not begun
    service._starting(specs, "ray", None)
    assert bool(begun) is starts


def test_a_search_that_was_done_starts_none(tmp_path):
    spec = small_spec(tmp_path, cycles=1)
    assert not service._was_done(spec)
    service.run(spec, driver="in-process")
    assert service._was_done(spec)
    service.run(spec)  # and needs none
    assert not ray.is_initialized()
