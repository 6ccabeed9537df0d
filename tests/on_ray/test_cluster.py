"""Searches on a real cluster of two nodes, as its users submit, watch, stop and resume them."""

import json
import os
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from ray.scripts.scripts import cli as ray

import oracle
from oracle.errors import Refused
from oracle.ledger import Ledger
from silo.errors import InvalidInput
from tests.clusters import end, running
from tests.on_ray.networks import slow
from tests.pages import ON_A_CLUSTER, commands
from tests.processes import rows
from tests.support import results, run_in_process, small_spec

MODULE = """
import time
from pathlib import Path
from torch import nn


class Mine(nn.Sequential):
    def __init__(self, *, input_shape, num_classes, slow):
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
        self.slow = Path(slow)

    def forward(self, inputs):
        if self.training and self.slow.exists():
            time.sleep(0.1)
        return super().forward(inputs)
"""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory, bucket):
    with running(tmp_path_factory.mktemp("cluster"), nodes=2) as cluster:
        yield cluster


def write_images(root):
    """An image folder of two classes."""
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (root / place).mkdir(parents=True)
        for index in range(4):
            noise = np.random.default_rng([len(place), index]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / place / f"{index}.png")


@pytest.fixture
def spec(write):
    """Writes a spec whose storage and ledger all nodes reach."""
    return write


@pytest.fixture
def command(two_nodes, call, monkeypatch):
    """Calls the command in this process, with the cluster's token."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, two_nodes.environment[name])
    return call


def outcomes(folder, name="small"):
    """The ledger's rows; none before there is a ledger."""
    try:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    except Exception:  # it is just being made
        return []
    try:
        return list(ledger.outcomes(name).values())
    finally:
        ledger.close()


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def found(folder, name="small"):
    return {
        (t.cycle, t.replicate, t.max_lr): (t.score, t.test_score, t.best_step, t.checkpoint.sha256)
        for t in outcomes(folder, name)
    }


def at_work(cluster, folder):
    """The nodes' processes whose workers have finished trials."""
    workers = {int(trial.worker.rpartition(":")[2]) for trial in outcomes(folder)}
    found = set()
    for process in cluster.processes:
        with suppress(psutil.NoSuchProcess):
            if workers & {each.pid for each in psutil.Process(process.pid).children(recursive=True)}:
                found.add(process.pid)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="another view of the disk takes a mount of its own")
def test_a_node_that_sees_other_files_is_named_before_anything_starts(
    two_nodes, spec, bucket, tmp_path, monkeypatch
):
    storage, images = tmp_path / "networks", tmp_path / "images"
    storage.mkdir()
    write_images(images)
    hidden = f"mount -t tmpfs tmpfs {storage} && mount -t tmpfs tmpfs {images}/train/cat"
    apart = ["unshare", "-m", "sh", "-c", f'{hidden} && exec "$@"', "sh"]
    if subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("mounting isn't allowed here")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, two_nodes.environment[name])
    streamed = {"name": "image_folder", "arguments": {"root": str(images), "stream": True}}
    elsewhere = {
        "storage": bucket.uri("blind"),
        "dataset": streamed,
        "training": {"epochs": 1, "batch_size": 4},
    }
    address = f"127.0.0.1:{two_nodes.port}"
    node = two_nodes.join(before=apart)
    try:
        with pytest.raises(Refused, match="driver writes there can't be seen on it; name a folder that all"):
            oracle.run(spec(name="apart"), driver="ray", address=address)
        with pytest.raises(Refused, match="all nodes must find the same files in the same place") as blind:
            oracle.run(spec(name="blind", **elsewhere), driver="ray", address=address)
    finally:
        end(node)
    assert "dataset 'image_folder': node " in str(blind.value) and f"{images}/train" in str(blind.value)
    assert not outcomes(tmp_path, "apart") and not outcomes(tmp_path, "blind")
    assert not list(storage.rglob("*look*"))


@pytest.mark.usefixtures("command")  # its environment
def test_modules_that_did_not_travel_are_named(two_nodes, spec):
    path = spec(name="alone", network={"name": "nowhere:Mine", "arguments": {}})
    with pytest.raises(InvalidInput, match=r"search 'alone' has failed on .*nowhere:Mine"):
        oracle.submit(path, address=two_nodes.url)


@pytest.mark.parametrize("token", [None, "wrong" * 8])
def test_without_the_clusters_token_nothing_is_answered(two_nodes, spec, tmp_path, token, monkeypatch):
    (tmp_path / "token").write_text(token or "")
    environment = {key: two_nodes.environment[key] for key in two_nodes.environment if "RAY" not in key}
    environment |= {"HOME": str(tmp_path)}
    if token:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    monkeypatch.setattr(two_nodes, "environment", environment)
    refused = two_nodes.oracle("submit", spec(name="secret"), "--address", two_nodes.url)
    assert refused.returncode == 3
    assert "asks for a token, and this one is missing or wrong; set RAY_AUTH_MODE=token" in refused.stderr


def test_variants_share_the_cluster_in_turn_once_all_of_them_fit(two_nodes, command, spec, tmp_path):
    small = {"cycles": 1, "replicates": 1, "grid": {"values": [0.01, 0.1], "extend": False}}
    greedy = spec(name="turns", **small, variants={"one": {}, "two": {"resources": {"cpus": 3}}})
    code, out, _ = command("submit", greedy, "--address", two_nodes.url)
    assert code == 3 and "a worker needs 3 CPU on one node, the cluster's largest has 1" in out
    assert not outcomes(tmp_path, "turns.one")
    fitting = spec(name="turns", **small, variants={"one": {}, "two": {"resources": {"cpus": 0.5}}})
    code, out, err = command("submit", fitting, "--address", two_nodes.url, "--follow")
    assert code == 0, err + out
    assert "preflight passed: 2 workers on 2 nodes, then 4 workers on 2 nodes\n" in out
    assert [len(outcomes(tmp_path, f"turns.{name}")) for name in ("one", "two")] == [2, 2]


def test_a_search_on_an_object_store_outlives_a_node_and_a_stop(
    two_nodes, command, spec, bucket, tmp_path, monkeypatch
):
    mine, slow, address = tmp_path / "modules", tmp_path / "slow", ("--address", two_nodes.url)
    mine.mkdir()
    (mine / "mine.py").write_text(MODULE)
    slow.touch()
    network = {"name": "mine:Mine", "arguments": {"slow": str(slow)}}
    own = {"network": network, "training": {"epochs": 2, "batch_size": 64, "pack": 1, "compile": False}}
    submit = ("submit", spec(**own, storage=bucket.uri("networks")), *address, "--working-dir", mine)
    code, out, err = command(*submit)
    assert code == 0, err + out
    assert "oracle: preflight passed: 2 workers on 2 nodes\n" in out
    place = f"small --address {two_nodes.url}"
    runs = f"Search small runs. Look: oracle logs -f {place}; stop: oracle stop {place}\n"
    assert out.endswith(runs)
    code, _, err = command(*submit)
    assert code == 3 and "search 'small' runs on this cluster already; follow it: oracle logs -f small" in err
    wait_until(lambda: len(at_work(two_nodes, tmp_path)) == 2)
    end(two_nodes.processes[1], signal.SIGKILL)
    with_node = found(tmp_path)
    wait_until(lambda: rows(tmp_path) > len(with_node))

    _, out, err = command("stop", "small", *address)
    assert out == "Search small has stopped; oracle submit goes on with it.\n", err
    before = found(tmp_path)
    assert len(before) < 30, "it was over before it was stopped"
    status = json.loads(command("status", "small", *address, "--json")[1])
    assert status["state"] == "interrupted" and status["job"].startswith("stopped on ")

    slow.unlink()
    assert command(*submit)[0] == 0
    log = command("logs", "-f", "small", *address)[1]
    assert f"; {len(before)} trials are in the ledger already" in log and "Report: " in log
    assert "small  " in command("list", *address)[1]
    after = found(tmp_path)
    assert {place: after[place] for place in with_node} == with_node
    assert {place: after[place] for place in before} == before
    monkeypatch.syspath_prepend(mine)
    assert after == results(run_in_process(small_spec(tmp_path / "alone", **own)))


@pytest.mark.usefixtures("command")  # its environment
def test_a_search_is_submitted_watched_and_stopped_from_python(two_nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", two_nodes.url)
    flag, heard = tmp_path / "slow", []
    flag.touch()
    small = {"name": "python", "cycles": 1, "training": {"epochs": 2, "batch_size": 64, "pack": 1}}
    spec = small_spec(tmp_path, **small, network=slow(flag, 0.2))
    job = oracle.submit(spec, tell=heard.append)
    assert job.state == "RUNNING" and "oracle: preflight passed: " in "".join(heard)
    with pytest.raises(Refused, match="search 'python' runs on this cluster already"):
        oracle.submit(spec)
    assert oracle.status("python").state == "RUNNING"
    wait_until(lambda: outcomes(tmp_path, "python"))  # its run is in the ledger by then
    assert oracle.stop(job)
    assert oracle.status(spec).state == "STOPPED" and not oracle.stop("python")
    flag.unlink()
    assert oracle.submit(spec, follow=True).state == "SUCCEEDED"
    assert oracle.load("python", spec.ledger).runs.state.tolist() == ["interrupted", "done"]
    with pytest.raises(Refused, match=r"no search 'none' was submitted to .*; there are: .*python"):
        oracle.status("none")


def test_the_commands_of_the_page_work_as_they_stand(two_nodes, spec, call, tmp_path, monkeypatch):
    for name, *arguments in (shlex.split(command)[1:] for command in commands(ON_A_CLUSTER, "ray")):
        ray.commands[name].make_context(name, arguments)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, two_nodes.environment[name])
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", two_nodes.url)
    short = {"cycles": 1, "replicates": 1, "training": {"epochs": 1, "batch_size": 64, "compile": False}}
    spec(name="mine", **short).rename(tmp_path / "mine.yaml")
    printed = {}
    for name, *arguments in (shlex.split(command)[1:] for command in commands(ON_A_CLUSTER, "oracle")):
        code, printed[name], err = call(name, *arguments)
        assert code == 0, f"{name}: {err}"
    assert "Report: " in printed["logs"] and "state     done" in printed["status"]
    assert "mine  " in printed["list"]


def test_the_token_appears_in_nothing_that_was_written(two_nodes, tmp_path_factory):
    """The last test of the cluster: whatever the others have made it write is there."""
    token, places = two_nodes.token.encode(), [tmp_path_factory.getbasetemp(), *two_nodes.folders]
    files = [file for place in places for file in Path(place).rglob("*") if file.is_file()]
    assert len(files) > 50
    holding = {str(file) for file in files if file.name != "token" and token in file.read_bytes()}
    assert not holding
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if two_nodes.token in line]
