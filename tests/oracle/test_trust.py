"""Whoever can write a ledger chooses what its specs name: to look at one runs none of that."""

import dataclasses
import json
import sqlite3
import sys
from contextlib import closing

import pytest

import oracle
from oracle.errors import Refused
from oracle.ledger import Ledger

PLANTED = "from pathlib import Path\nPath('it-ran').touch()\n"
NET = "from trials.networks.fc import FullyConnected as net\n"
DATA = "from trials.datasets.builtin import digits as load\n"


@pytest.fixture
def planted(finished, monkeypatch):
    """A search whose recorded spec somebody has changed, and modules of theirs that can be imported."""
    for module in ("planted_net", "planted_data"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (finished / "planted_net.py").write_text(PLANTED + NET)
    (finished / "planted_data.py").write_text(PLANTED + DATA)

    def plant(**changes):
        ledger = Ledger(f"sqlite:///{finished}/ledger.db")
        record = ledger.search("small")
        ledger.register(dataclasses.replace(record, spec=record.spec | changes))
        ledger.close()
        return ("--ledger", f"sqlite:///{finished}/ledger.db")

    return plant


NETWORK = {"name": "planted_net:net", "arguments": {"hidden": [16]}}
EVERYTHING = {
    "network": NETWORK,
    "dataset": {"name": "planted_data:load", "arguments": {}},
    "observers": [{"name": "planted_net:net", "arguments": {}}],
    "pruning": {"pruner": "planted_net:net", "rate": 0.2},
    "metric": {"name": "mine", "function": "planted_net:net", "goal": "max", "arguments": {}},
    "training": {"epochs": 2, "batch_size": 64, "loss": "planted_net:net"},
}


@pytest.mark.parametrize(
    "command",
    [
        ("status", "small"),
        ("list",),
        ("report", "small"),
        ("export", "small"),
        ("fit", "small"),
        ("compare", "small", "--paper-table", "2"),
        ("sparsity", "small"),
        ("network", "small", "-o", "net.pt"),
    ],
    ids=" ".join,
)
def test_no_command_that_shows_runs_what_a_recorded_spec_names(planted, finished, call, command):
    place = planted(**EVERYTHING)
    code, _, err = call(*command, *place)
    assert not (finished / "it-ran").exists()
    # The paper's tables are of another metric.
    assert code == {"sparsity": 3, "network": 3, "compare": 2}.get(command[0], 0), err


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network": NETWORK}, "network 'planted_net:net'"),
        ({"dataset": {"name": "planted_data:load", "arguments": {}}}, "dataset 'planted_data:load'"),
        ({"dataset": {"name": "digits", "arguments": {"download": True}}}, "a download of data set 'digits'"),
    ],
)
def test_what_must_build_the_network_asks_for_ones_own_spec_or_for_trust(
    planted, finished, call, changes, named
):
    place = planted(**changes)
    with pytest.raises(Refused, match=r"in Python, trust=True"):
        oracle.load("small", place[1]).network()
    code, _, err = call("sparsity", "small", *place)
    assert code == 3 and err.count("\n") == 1 and named in err
    assert "give your own spec file" in err and "--trust" in err
    field = next(iter(changes))
    code, _, err = call("sparsity", "spec.yaml")
    assert code == 3 and f"was run with another {field} than this spec has" in err
    assert not (finished / "it-ran").exists()


def test_trust_runs_it_and_so_does_ones_own_spec(planted, finished, write, call):
    place = planted(network=NETWORK)
    assert oracle.load("small", place[1]).network(trust=True)
    assert call("network", "small", "-o", "net.pt", "--trust", *place)[0] == 0
    expected = call("sparsity", "small", "--json", "--trust", *place)[:2]
    assert expected[0] == 0 and (finished / "it-ran").exists()
    write(network=NETWORK)
    assert call("sparsity", "spec.yaml", "--json")[:2] == expected
    assert call("network", "spec.yaml", "-o", "net.pt")[0] == 0


ATTRIBUTE = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'checkpoint'"
PRUNING = "UPDATE oracle_prunings SET path = ?"


@pytest.mark.parametrize(
    ("edit", "path"),
    [(ATTRIBUTE, "../../precious"), (PRUNING, "{folder}/precious")],
    ids=["trial", "pruning"],
)
@pytest.mark.parametrize("command", [("run", "--driver", "in-process"), ("report",)], ids=" ".join)
def test_a_row_that_names_another_file_is_refused_and_the_file_stays(finished, call, edit, path, command):
    """Of the rows that lost, the files were to be deleted, wherever they lie."""
    precious = finished / "precious"
    precious.write_text("kept")
    path = path.format(folder=finished)
    with closing(sqlite3.connect(finished / "ledger.db")) as database, database:
        assert database.execute(edit, (json.dumps(path) if edit == ATTRIBUTE else path,)).rowcount > 1
    code, _, err = call(command[0], "spec.yaml", *command[1:])
    assert code == 3 and err.count("\n") == 1
    assert "ledger: search 'small', " in err and "does not lie below" in err and path in err
    assert precious.read_text() == "kept"
