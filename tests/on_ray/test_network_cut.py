"""A network between two nodes that is cut while a search runs on both.

It takes two minutes, most of them until Ray notices, so it is asked for: ``ORACLE_TESTS_CUT_NETWORKS=1``.
"""

import os
import shutil
import subprocess

import pytest

from tests.clusters import Cluster
from tests.on_ray.test_cluster import MODULE, at_work, found, wait_until
from tests.processes import rows
from tests.support import results, run_in_process, small_spec

NAME, HERE, THERE = "oracle-cut", "10.231.77.1", "10.231.77.2"


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def link():
    """Two ends of a cable: one here, one in a network of its own; gives what cuts it."""
    if not os.environ.get("ORACLE_TESTS_CUT_NETWORKS"):
        pytest.skip("asked for by ORACLE_TESTS_CUT_NETWORKS=1")
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("a network of its own takes root and iproute2")
    try:
        ip("netns", "add", NAME)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network of its own is allowed here: {error.stderr.strip()}")
    try:
        ip("link", "add", "oracle-a", "type", "veth", "peer", "name", "oracle-b", "netns", NAME)
        ip("addr", "add", f"{HERE}/24", "dev", "oracle-a")
        ip("link", "set", "oracle-a", "up")
        for words in (("addr", "add", f"{THERE}/24", "dev", "oracle-b"), ("link", "set", "oracle-b", "up")):
            ip("-n", NAME, *words)
        ip("-n", NAME, "link", "set", "lo", "up")
        yield lambda: ip("link", "set", "oracle-a", "down")
    finally:
        ip("netns", "del", NAME)  # and with it both ends


def test_a_search_outlives_a_cut_network(link, write, tmp_path, monkeypatch):
    mine, slow = tmp_path / "modules", tmp_path / "slow"
    mine.mkdir()
    (mine / "mine.py").write_text(MODULE)
    slow.touch()
    network = {"name": "mine:Mine", "arguments": {"slow": str(slow)}}
    own = {"network": network, "training": {"epochs": 2, "batch_size": 64, "pack": 1, "compile": False}}
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster", host=HERE)
    try:
        cluster.start_head()
        cluster.join(f"--node-ip-address={THERE}", before=["ip", "netns", "exec", NAME])
        submitted = cluster.oracle("submit", write(**own), "--address", cluster.url, "--working-dir", mine)
        assert submitted.returncode == 0, submitted.stderr + submitted.stdout
        wait_until(lambda: len(at_work(cluster, tmp_path)) == 2)
        link()
        before = found(tmp_path)
        slow.unlink()
        log = cluster.oracle("logs", "-f", "small", "--address", cluster.url).stdout
        assert "Report: " in log, log
    finally:
        cluster.stop()
    after = found(tmp_path)
    assert {place: after[place] for place in before} == before
    assert rows(tmp_path) == len(after)
    monkeypatch.syspath_prepend(mine)
    assert after == results(run_in_process(small_spec(tmp_path / "alone", **own)))
