"""A search that the command has run, and ledgers that wait for nothing long."""

import dataclasses
import shutil

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from oracle.cli.main import cli
from oracle.ledger import Ledger
from tests.support import run_in_process, small_data, small_spec


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    YAML(typ="safe").dump(small_data(folder), folder / "spec.yaml")
    done = CliRunner().invoke(cli, ["run", str(folder / "spec.yaml"), "--driver", "in-process"])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A small search that nothing disturbed, as a session: to look at, and to compare others with."""
    return run_in_process(small_spec(tmp_path_factory.mktemp("undisturbed")))


@pytest.fixture
def finished(finished_once, write, tmp_path):
    """A folder with a spec, and what the command left of its search: ledger, networks and report."""
    shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)
    write()
    places = {"storage": str(tmp_path / "networks"), "ledger": f"sqlite:///{tmp_path}/ledger.db"}
    ledger = Ledger(places["ledger"])
    record = ledger.search("small")
    ledger.register(dataclasses.replace(record, spec=record.spec | places))
    ledger.close()
    return tmp_path


@pytest.fixture
def impatient(monkeypatch):
    """Ledgers ask a database that is away again at once."""
    from oracle.ledger import database

    monkeypatch.setattr(database, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(database, "_SQLITE_TIMEOUT_SECONDS", 0.01)
