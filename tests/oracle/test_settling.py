"""A driver that was killed after its last result leaves things undone: whoever comes next does them."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from oracle.ledger import Ledger
from oracle.results import Results

STUDY = "study_id IN (SELECT study_id FROM studies WHERE study_name = 'small')"
STATE = f"UPDATE study_user_attributes SET value_json = '\"running\"' WHERE key = 'state' AND {STUDY}"
RUNNING = [
    "UPDATE oracle_runs SET state = 'running', ended = NULL",
    "DELETE FROM oracle_digests WHERE row LIKE 'oracle_runs %'",
]


def delete_trials(which):
    parts = ("trial_values", "trial_params", "trial_user_attributes")
    own = f"trial_id IN (SELECT trial_id FROM trials WHERE {which})"
    return [f"DELETE FROM {part} WHERE {own}" for part in parts] + [f"DELETE FROM trials WHERE {which}"]


KILLED = {
    "before the run's end": [*RUNNING, STATE],
    "after the run's end": [STATE],
    "while a cycle was shown": [
        *RUNNING,
        STATE,
        f"UPDATE study_user_attributes SET value_json = '\"2 of 3\"' WHERE key LIKE 'cycles%' AND {STUDY}",
        *delete_trials(f"number = 2 AND {STUDY}"),
    ],
    "before anything was shown": [
        *RUNNING,
        f"DELETE FROM study_user_attributes WHERE {STUDY}",
    ],
}
COMMANDS = {
    "run": ["run", "spec.yaml", "--driver", "in-process"],
    "status": ["status", "spec.yaml"],
    "list": ["list", "--ledger", "sqlite:///ledger.db"],
    "export": ["export", "spec.yaml"],
    "dashboard": ["dashboard", "spec.yaml", "--port", "0"],
}


def edit(folder, statements):
    with closing(sqlite3.connect(folder / "ledger.db")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement


def told(folder):
    """What a ledger tells of a search beside its trainings: its runs, and what its summary study shows."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    results = Results.read(ledger, ledger.search("small"))
    (summary,) = (each for each in ledger.storage.get_all_studies() if each.study_name == "small")
    rows = [(row.value, row.params, row.user_attrs) for row in ledger.summary_study("small").trials]
    ledger.close()
    shown = {name: text for name, text in summary.user_attrs.items() if name != "as of"}
    notes = {name: text for name, text in summary.system_attrs.items() if "note_ver" not in name}
    return [run.state for run in results.recorded_runs], shown, notes, rows, results


def interrupted(_server):
    raise KeyboardInterrupt


def files(folder):
    found = {
        path.relative_to(folder).as_posix() for path in (folder / "networks").rglob("*") if path.is_file()
    }
    return {path for path in found if "/report/" not in path}


MOMENT = "while a cycle was shown"
CASES = [*(("run", killed) for killed in KILLED), *((name, MOMENT) for name in COMMANDS if name != "run")]


@pytest.mark.parametrize(("command", "killed"), CASES)
def test_whoever_comes_next_ends_what_a_killed_driver_left(finished, call, monkeypatch, killed, command):
    if command == "dashboard":
        monkeypatch.setattr("socketserver.BaseServer.serve_forever", interrupted)
    *whole, _ = told(finished)
    kept = files(finished)
    edit(finished, KILLED[killed])
    loser = sorted((finished / "networks/small/cycle-02/replicate-0").glob("*.safetensors"))[-1]
    shutil.copy(loser, loser.with_name("max_lr-0.01.safetensors"))
    code, _, err = call(*COMMANDS[command])
    assert code == 0, err
    *now, results = told(finished)
    assert now == whole
    assert results.recorded_runs[-1].ended >= max(trial.ended for trial in results.outcomes)
    if command == "run":
        assert files(finished) == kept


def test_a_search_that_somebody_runs_is_left_alone(finished, call):
    edit(finished, KILLED["before the run's end"])
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    with ledger.lease("small"):
        assert call("status", "spec.yaml")[0] == 0
    states = [run.state for run in ledger.runs("small")]
    ledger.close()
    assert states == ["running"]


def test_one_that_was_killed_in_the_middle_is_shown_as_interrupted(finished, call):
    last = "study_id IN (SELECT study_id FROM studies WHERE study_name = 'small/cycle-02')"
    edit(finished, [*KILLED["before the run's end"], *delete_trials(f"number > 3 AND {last}")])
    code, out, _ = call("status", "spec.yaml")
    assert code == 0 and "interrupted" in out
    states, shown, *_ = told(finished)
    assert (
        states == ["interrupted"] and shown["state"] == "interrupted" and shown["cycles decided"] == "2 of 3"
    )
