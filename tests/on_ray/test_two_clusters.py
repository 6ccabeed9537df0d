"""A process that has had one Ray cluster runs searches on others, with and without tokens."""

import os

import pytest

import oracle
from oracle.drivers.cluster import cluster
from oracle.errors import Refused
from tests.clusters import running
from tests.support import small_spec

SMALL = {
    "cycles": 1,
    "replicates": 1,
    "grid": {"values": [0.01, 0.1], "extend": False},
    "training": {"epochs": 1, "batch_size": 64, "pack": 2, "compile": False},
    "resources": {"workers": 1},
}


@pytest.fixture(scope="module")
def without_token(tmp_path_factory):
    with running(tmp_path_factory.mktemp("without"), token=False) as found:
        yield found


@pytest.fixture(autouse=True)
def no_token_asked_for(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)


def test_searches_run_on_one_cluster_after_another(without_token, tmp_path, monkeypatch):
    def run(name, address):
        found = oracle.run(small_spec(tmp_path / name, **SMALL), driver="ray", address=address)
        return found.trials.sha256.tolist()

    first = run("without a token", f"127.0.0.1:{without_token.port}")
    (tmp_path / "cluster").mkdir()
    with running(tmp_path / "cluster", dashboard=False) as with_token:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.setenv(name, with_token.environment[name])
        assert run("with a token", f"127.0.0.1:{with_token.port}") == first
    assert os.environ["RAY_AUTH_MODE"] == "token"
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name)
    assert run("local", None) == first
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_cluster_without_a_token_is_refused_where_one_is_asked_for(without_token, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    address = f"127.0.0.1:{without_token.port}"
    spec, why = small_spec(tmp_path, **SMALL), "has no token, and this process asks for one"
    with pytest.raises(Refused, match=why), cluster([spec], address):
        pass
