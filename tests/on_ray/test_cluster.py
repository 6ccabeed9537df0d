"""Searches on a real cluster of two nodes, as its users submit, watch, stop and resume them."""

import json
import os
import shlex
import shutil
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
from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.errors import Refused
from oracle.jobs import client
from oracle.ledger import Ledger
from silo.errors import InvalidInput
from tests.clusters import end, running
from tests.pages import ON_A_CLUSTER, commands
from tests.processes import rows, write_spec
from tests.support import open_session, results, run_in_process, small_spec

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

BRIEF = {
    "cycles": 1,
    "replicates": 1,
    "grid": {"values": [0.01, 0.1], "extend": False},
    "training": {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False},
}


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """A folder with a storage and images of which one node sees others; None where that isn't allowed."""
    folder = tmp_path_factory.mktemp("hidden")
    write_images(folder / "images")
    (folder / "networks").mkdir()
    possible = shutil.which("unshare") and not subprocess.run([*apart(folder), "true"]).returncode
    return folder if possible else None


def apart(folder):
    """What starts a command that sees other files; another view of the disk takes root."""
    hide = 'mount -t tmpfs tmpfs "$0/networks" && mount -t tmpfs tmpfs "$0/images/train/cat" && exec "$@"'
    return ["unshare", "-m", "sh", "-c", hide, str(folder)]


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory, bucket, hidden):
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.join(before=apart(hidden) if hidden else ())
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


@pytest.mark.usefixtures("command")  # its environment
def test_a_node_that_sees_other_files_is_named_before_anything_starts(
    two_nodes, hidden, spec, bucket, tmp_path
):
    if hidden is None:
        pytest.skip("mounting isn't allowed here")
    images, address = hidden / "images", two_nodes.address
    streamed = {"name": "image_folder", "arguments": {"root": str(images), "stream": True}}
    training = {"epochs": 1, "batch_size": 4}
    blind = spec(name="blind", storage=bucket.uri("blind"), dataset=streamed, training=training)
    with pytest.raises(Refused, match="all nodes must find the same files in the same place") as refused:
        oracle.run(blind, driver="ray", address=address)
    assert "dataset 'image_folder': node " in str(refused.value) and f"{images}/train" in str(refused.value)
    with pytest.raises(Refused, match="driver writes there can't be seen on it; name a folder that all"):
        oracle.run(spec(name="apart", storage=str(hidden / "networks")), driver="ray", address=address)
    assert not outcomes(tmp_path, "apart") and not outcomes(tmp_path, "blind")
    assert not list(hidden.rglob("*look*"))


@pytest.mark.usefixtures("command")  # its environment
def test_modules_that_did_not_travel_are_named(two_nodes, spec):
    path = spec(name="alone", network={"name": "nowhere:Mine", "arguments": {}})
    with pytest.raises(InvalidInput, match=r"search 'alone' has failed on .*nowhere:Mine"):
        oracle.submit(path, address=two_nodes.url)


@pytest.mark.parametrize("token", [None, "wrong" * 8])
def test_without_the_clusters_token_nothing_is_answered(two_nodes, spec, tmp_path, token, call, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if token:
        (tmp_path / "token").write_text(token)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    code, _, err = call("submit", spec(name="secret"), "--address", two_nodes.url)
    assert code == 3
    assert "asks for a token, and this one is missing or wrong; set RAY_AUTH_MODE=token" in err


def test_a_cluster_without_a_token_is_refused_where_one_is_asked_for(ray_cluster, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    why = "has no token, and this process asks for one"
    with pytest.raises(Refused, match=why), cluster([small_spec(tmp_path, **BRIEF)], ray_cluster.address):
        pass


def test_one_process_runs_searches_on_one_cluster_after_another(
    ray_cluster, two_nodes, tmp_path, monkeypatch
):
    def run(name, address):
        spec = small_spec(tmp_path / name, **BRIEF, resources={"workers": 1})
        with cluster([spec], address), open_session(spec) as session:
            ray_tune.run([session], 1)
        return results(session)

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    first = run("without a token", ray_cluster.address)
    with monkeypatch.context() as patched:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            patched.setenv(name, two_nodes.environment[name])
        assert run("with a token", two_nodes.address) == first
        assert os.environ["RAY_AUTH_MODE"] == "token"
    assert run("local", None) == first and len(first) == 2
    assert "RAY_AUTH_MODE" not in os.environ


def test_variants_share_the_cluster_in_turn_once_all_of_them_fit(two_nodes, command, spec, tmp_path):
    greedy = spec(name="turns", **BRIEF, variants={"one": {}, "two": {"resources": {"cpus": 3}}})
    code, _, err = command("run", greedy, "--address", two_nodes.address)
    assert code == 3 and "a worker needs 3 CPU on one node, the cluster's largest has 1" in err
    assert not outcomes(tmp_path, "turns.one")
    fitting = spec(name="turns", **BRIEF, variants={"one": {}, "two": {"resources": {"cpus": 0.5}}})
    code, _, err = command("run", fitting, "--address", two_nodes.address)
    assert code == 0, err
    assert "preflight passed: 2 workers on 2 nodes, then 4 workers on 2 nodes\n" in err
    assert [len(outcomes(tmp_path, f"turns.{name}")) for name in ("one", "two")] == [2, 2]


def test_a_search_on_an_object_store_outlives_a_node_and_a_stop(
    two_nodes, command, bucket, tmp_path, monkeypatch
):
    mine, slow, address = tmp_path / "modules", tmp_path / "slow", ("--address", two_nodes.url)
    mine.mkdir()
    (mine / "mine.py").write_text(MODULE)
    slow.touch()
    network = {"name": "mine:Mine", "arguments": {"slow": str(slow)}}
    own = {"network": network, "training": {"epochs": 2, "batch_size": 64, "pack": 1, "compile": False}}
    spec = small_spec(tmp_path, **own, storage=bucket.uri("networks"))
    submit = ("submit", write_spec(tmp_path, **own, storage=spec.storage), *address, "--working-dir", mine)
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

    heard = []
    slow.unlink()
    job = oracle.submit(spec, address=two_nodes.url, working_dir=mine, follow=True, tell=heard.append)
    assert job.state == "SUCCEEDED" and "oracle: preflight passed: 1 worker on 1 node\n" in "".join(heard)
    log = command("logs", "-f", "small", *address)[1]
    assert f"; {len(before)} trials are in the ledger already" in log and "Report: " in log
    assert "small  " in command("list", *address)[1]
    assert oracle.load("small", spec.ledger).runs.state.tolist() == ["interrupted", "done"]
    after = found(tmp_path)
    assert {place: after[place] for place in before} == before
    monkeypatch.syspath_prepend(mine)
    assert after == results(run_in_process(small_spec(tmp_path / "alone", **own)))


@pytest.mark.usefixtures("command")  # its environment
def test_a_search_is_looked_at_and_stopped_from_python(two_nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", two_nodes.url)
    spec = small_spec(tmp_path, name="python")
    job = {"submission_id": spec.name, "metadata": {client._OURS: spec.name}}  # as a search's driver is one
    client.Jobs(two_nodes.url)._client.submit_job(entrypoint="exec sleep 600", **job)
    wait_until(lambda: oracle.status("python").state == "RUNNING")
    with pytest.raises(Refused, match="search 'python' runs on this cluster already"):
        oracle.submit(spec)
    assert oracle.stop(oracle.status(spec))
    assert oracle.status(spec).state == "STOPPED" and not oracle.stop("python")
    with pytest.raises(Refused, match=r"no search 'none' was submitted to .*; there are: .*python"):
        oracle.status("none")


def test_the_commands_of_the_page_work_as_they_stand(two_nodes, command, spec, tmp_path, monkeypatch):
    for name, *arguments in (shlex.split(line)[1:] for line in commands(ON_A_CLUSTER, "ray")):
        ray.commands[name].make_context(name, arguments)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", two_nodes.url)
    spec(name="mine", **BRIEF).rename(tmp_path / "mine.yaml")
    printed = {}
    for name, *arguments in (shlex.split(line)[1:] for line in commands(ON_A_CLUSTER, "oracle")):
        code, printed[name], err = command(name, *arguments)
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
