"""Rows are taken where what they rest on is still there: whoever reads a search refuses others."""

import json
import sqlite3
import sys
from contextlib import closing

import optuna
import pytest
from ruamel.yaml import YAML

from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.results import Results
from tests.support import small_data

NETWORK = """
from pathlib import Path
from torch import nn

def net(*, input_shape, num_classes, other):
    between = nn.Tanh() if Path(other).exists() else nn.ReLU()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), between, nn.Linear(16, num_classes))
"""
COMMANDS = [["report", "small"], ["export", "small"], ["status", "small"], ["compare", "small", "copy"]]
COMMANDS += [["fit", "small"], ["sparsity", "small"], ["run", "spec.yaml", "--driver", "in-process"]]
FIRST = (
    "FROM trial_user_attributes JOIN trials USING (trial_id) JOIN studies USING (study_id) "
    "WHERE study_name = 'small/cycle-{:02d}' AND number = 0 AND key = '{}'"
)
COPY = (
    "INSERT INTO oracle_searches SELECT 'copy', spec, identity, execution, execution_reason, created "
    "FROM oracle_searches"
)


def edit(folder, *statements):
    with closing(sqlite3.connect(folder / "ledger.db")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement


def delete_studies(folder, *cycles):
    for cycle in cycles:
        optuna.delete_study(study_name=f"small/cycle-{cycle:02d}", storage=f"sqlite:///{folder}/ledger.db")


def set_first(cycle, key, value):
    """Sets an attribute of a cycle's first row."""
    where = f"trial_id IN (SELECT trial_id {FIRST.format(cycle, key)})"
    return f"UPDATE trial_user_attributes SET value_json = '{value}' WHERE key = '{key}' AND {where}"


def another_choice(folder):
    """Chooses another candidate at cycle 0 than the one that cycle 1 was pruned from."""
    with closing(sqlite3.connect(folder / "ledger.db")) as database, database:
        database.execute("DELETE FROM oracle_digests")
        query = "SELECT max_lr FROM oracle_choices WHERE cycle = 0"
        (chosen,) = database.execute(query).fetchone()
    return f"UPDATE oracle_choices SET max_lr = {0.01 if chosen != 0.01 else 0.4} WHERE cycle = 0"


EDITS = {
    "choice": another_choice,
    "replicate": lambda _: set_first(1, "replicate", 1),
    "replicate that is none": lambda _: set_first(2, "replicate", 7),
    "key": lambda _: set_first(1, "key", json.dumps("0" * 64)),
    "rate": lambda _: (
        "UPDATE trial_params SET param_value = 0.02 WHERE trial_id IN "
        f"(SELECT trial_id {FIRST.format(2, 'key')})"
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_row_is_refused_by_whoever_reads_it(finished, name):
    edit(finished, "DELETE FROM trial_user_attributes WHERE key = 'digest'", EDITS[name](finished))
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    with pytest.raises(Refused, match=r"row of cycle [12], .* does not belong to search 'small' as its rows"):
        Results.read(ledger, ledger.search("small"))
    ledger.close()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_command_shows_a_search_whose_rows_do_not_belong(finished, call, command):
    edit(finished, another_choice(finished), COPY)
    ledger = ["--ledger", f"sqlite:///{finished}/ledger.db"] if command[0] != "run" else []
    code, out, err = call(*command[:2], *ledger, *command[2:])
    assert code == 3, (out, err)
    assert "the row of cycle 1" in err and "does not belong to search 'small'" in err and not out


def test_a_list_says_so_and_shows_the_others(finished, call):
    edit(finished, another_choice(finished), COPY)
    code, out, err = call("list", "--ledger", f"sqlite:///{finished}/ledger.db")
    assert code == 0 and "does not belong to search 'small'" in err
    assert "can't be read" in out and "copy" in out


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The spec file of a network that is another one once a file is there, which its code doesn't tell."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/ownflagged.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path / "own")
    grid = {"low": 0.01, "high": 0.4, "points": 3, "extend": False}
    network = {"name": "ownflagged:net", "arguments": {"other": str(tmp_path / "flag")}}
    data = small_data(tmp_path, network=network, grid=grid, replicates=1)
    data["training"] |= {"compile": False, "pack": 3}
    YAML(typ="safe").dump(data, tmp_path / "spec.yaml")
    yield tmp_path
    sys.modules.pop("ownflagged", None)


def test_a_cycle_that_is_trained_anew_and_comes_out_otherwise_takes_no_later_rows(own, call):
    run = "run", own / "spec.yaml", "--driver", "in-process"
    assert call(*run)[0] == 0
    delete_studies(own, 0)
    (own / "flag").touch()
    code, out, err = call(*run)
    assert code == 3 and "the row of cycle 1" in err and "came out otherwise" in err and not out
    assert call("report", "small", "--ledger", f"sqlite:///{own}/ledger.db")[0] == 3
    delete_studies(own, 1, 2)
    assert call(*run)[0] == 0
    anew = outcome(own)
    YAML(typ="safe").dump(small_data(own) | spec_of(own) | places(own / "at once"), own / "at once.yaml")
    assert call("run", own / "at once.yaml", "--driver", "in-process")[0] == 0
    assert anew == outcome(own / "at once")


def test_a_cycle_that_is_trained_anew_and_comes_out_alike_goes_on_as_it_was(finished, call):
    before = outcome(finished)
    delete_studies(finished, 0)
    assert call("run", finished / "spec.yaml", "--driver", "in-process")[0] == 0
    assert outcome(finished) == before


def places(folder):
    return {"storage": str(folder / "networks"), "ledger": f"sqlite:///{folder}/ledger.db"}


def spec_of(folder):
    return YAML(typ="safe").load(folder / "spec.yaml")


def outcome(folder):
    """What a search found, what its summary's rows say, and how it ended."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    record = ledger.search("small")
    found = Results.read(ledger, record)
    summary = ledger.summary_study("small")
    rows = [(row.value, row.params["max_lr"], row.user_attrs) for row in summary.trials]
    ledger.close()
    trials = [(t.cycle, t.replicate, t.max_lr, t.score, t.checkpoint.sha256) for t in found.outcomes]
    return (
        trials,
        found.decided and [each.choice for each in found.decided],
        rows,
        summary.user_attrs["state"],
    )
