"""A ledger that was edited or damaged: what isn't ours is left alone, and what is ours is named in a line."""

import sqlite3
from contextlib import closing

import optuna
import pytest

from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.ledger import rows as optuna_rows
from oracle.ledger.tables import add_choices
from oracle.results import Results
from oracle.results.results import load_search
from tests.oracle.invented import invent, make_record, write_ledger

OURS = (
    "(SELECT trial_id FROM trials JOIN studies USING (study_id) "
    "WHERE study_name = 'invented/cycle-01' AND number = 4)"
)
SECOND = "cycle 1, trial 4 of study 'invented/cycle-01'"


def attribute(name, text):
    return f"UPDATE trial_user_attributes SET value_json = {text} WHERE key = '{name}' AND trial_id = {OURS}"


def value(text):
    return f"UPDATE trial_values SET value = {text} WHERE trial_id = {OURS}"


def table(name, column, text, where="cycle = 1"):
    return f"UPDATE oracle_{name} SET {column} = {text} WHERE {where}"


DAMAGE = {
    "a score that is a text": (value("'high'"), SECOND, "score is 'high', not a number"),
    "no score": (value("NULL"), SECOND, "score is empty"),
    "an infinite score": (value("9e999"), SECOND, "score is inf"),
    "a score that was edited": (value("0.5"), SECOND, "not those that were written"),
    "a value that is gone": (f"DELETE FROM trial_values WHERE trial_id = {OURS}", SECOND, "score is empty"),
    "a rate that is gone": (f"DELETE FROM trial_params WHERE trial_id = {OURS}", SECOND, "max_lr is empty"),
    "an attribute that is gone": (
        f"DELETE FROM trial_user_attributes WHERE key = 'worker' AND trial_id = {OURS}",
        SECOND,
        "worker is missing",
    ),
    "a text for a number": (
        attribute("test_score", "'\"0.9\"'"),
        SECOND,
        "test_score is '0.9', not a number",
    ),
    "a number for a text": (attribute("checkpoint", "'7'"), SECOND, "checkpoint is 7, not a text"),
    "a number too large": (attribute("best_step", "'1e400'"), SECOND, "best_step is inf, not a whole number"),
    "a year too late": (attribute("ended", "'1e300'"), SECOND, "ended is 1e\\+300, not in"),
    "a negative count": (attribute("pack", "'-1'"), SECOND, "pack is -1, not in"),
    "broken JSON": (attribute("train_loss", "'{0.1'"), SECOND, "train_loss is '{0.1', which is no JSON"),
    "half a letter": (attribute("worker", "'\"\\ud800\"'"), SECOND, "worker is .* not a text"),
    "bytes that are no text": (attribute("sha256", "X'22FFFE22'"), SECOND, "sha256 is"),
    "a flipped letter": (attribute("worker", "'\"replayee\"'"), SECOND, "not those that were written"),
    "no alive weights": (table("prunings", "alive", "0"), "cycle 1, replicate", "alive 0"),
    "more alive than there were": (
        table("prunings", "alive", "9e6"),
        "cycle 1, replicate",
        "alive is 9000000.0|should",
    ),
    "a path that is none": (table("prunings", "path", "X'00'"), "cycle 1, replicate", "path is b"),
    "a drop above 1": (table("prunings", "norm_drop", "2"), "cycle 1, replicate", "norm_drop is 2"),
    "an execution of texts": (
        table("searches", "execution", '\'{"pack_size": "many"}\'', "name = 'invented'"),
        "its row of oracle_searches",
        "execution.pack_size is 'many'",
    ),
    "a spec that is a list": (
        table("searches", "spec", "'[]'", "name = 'invented'"),
        "its row of",
        "spec is \\[\\], not an object",
    ),
    "an identity without its weights": (
        table("searches", "identity", '\'{"classes": "ten"}\'', "name = 'invented'"),
        "its row of",
        "identity.classes is 'ten'",
    ),
    "a direction that is none": (
        "UPDATE study_directions SET direction = 'UP' WHERE study_id = "
        "(SELECT study_id FROM studies WHERE study_name = 'invented/cycle-01')",
        "",
        "",
    ),
    "a run of nobody knows when": (table("runs", "started", "'noon'", "1"), "run 0 of", "started is 'noon'"),
    "a run that lasted longer": (table("runs", "ended", "ended + 7", "1"), "run 0 of", "not those that were"),
    **{
        f"another {field} in the spec": (
            table("searches", "spec", f"json_set(spec, '$.{field}', {given})", "name = 'invented'"),
            "its row of oracle_searches",
            "its values are not those that were written",
        )
        for field, given in (("tolerance", "0.2"), ("silo.q", "3"), ("storage", "'elsewhere'"))
    },
    "versions that are none": (table("runs", "versions", "'torch 2'", "1"), "run 0 of", "versions is"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    spec, search = invent(cycles=3)
    write_ledger(folder, spec, search)
    ledger = Ledger(f"sqlite:///{folder}/invented.db")
    for other in ("other",):
        ledger.register(make_record(spec.model_copy(update={"name": other})))
    ledger.close()
    return folder / "invented.db"


@pytest.fixture
def edited(whole, tmp_path):
    """Gives a copy of a ledger after some statements."""

    def edit(*statements):
        (tmp_path / "edited.db").write_bytes(whole.read_bytes())
        with closing(sqlite3.connect(tmp_path / "edited.db")) as database, database:
            for statement in statements:
                assert database.execute(statement).rowcount > 0, statement
        return f"sqlite:///{tmp_path}/edited.db"

    return edit


def read(url, name="invented"):
    ledger = Ledger(url)
    try:
        return Results.read(ledger, ledger.search(name))
    finally:
        ledger.close()


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_value_is_a_line_that_names_search_and_row(edited, name):
    statement, place, why = DAMAGE[name]
    url = edited(statement)
    named = f"search 'invented', {place}.*{why}" if place else "study 'invented/cycle-01' can't be read"
    with pytest.raises(Refused, match=f"^ledger: {named}") as refused:
        read(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["a score that was edited", "a spec that is a list", "a direction that is none"]
)
def test_a_damaged_search_hides_no_other(edited, call, name):
    statement, place, _ = DAMAGE[name]
    url = edited(statement)
    assert not read(url, "other").decided
    code, out, err = call("list", "--ledger", url)
    assert code == 0 and out.count("can't be read") == 1 and "other" in out and place.partition(" ")[0] in err


def test_a_direction_that_is_gone_is_a_line_to_who_writes(edited):
    gone = "DELETE FROM study_directions WHERE study_id = (SELECT max(study_id) FROM studies)"
    named = "DELETE FROM study_system_attributes"
    with (
        closing(Ledger(edited(gone, named))) as ledger,
        pytest.raises(Refused, match=r"study .* can't be read"),
    ):
        for name in ("invented", "other"):
            ledger.summary_study(name)
        for cycle in range(3):
            ledger.cycle_study("invented", cycle)


def test_a_run_that_is_gone_is_named(edited, caplog):
    read(edited("DELETE FROM oracle_runs"))
    assert "search 'invented' lacks 1 of its runs" in caplog.text


def test_a_run_that_was_added_is_named_and_one_of_an_earlier_version_is_not(edited, caplog):
    columns = "search, {}, ended, '{}', driver, host, versions, error"
    add = f"INSERT INTO oracle_runs SELECT 'x', {columns} FROM oracle_runs"
    (own,) = read(edited()).recorded_runs
    earlier, *rest = read(edited(add.format("started - 1", "interrupted"))).recorded_runs
    assert earlier.state == "interrupted" and rest == [own] and not caplog.text
    for state in ("interrupted", "running"):
        assert read(edited(add.format("started", state))).recorded_runs == (own,)
        assert "search 'invented' has 1 runs that were added by hand, and left alone" in caplog.text
        caplog.clear()


def test_a_decided_cycle_whose_rows_are_gone_is_named(edited, caplog):
    """Of a search that may be half done, where nothing else tells that it was decided."""
    read(url := edited())
    with closing(Ledger(url)) as ledger:
        search = load_search(ledger, ledger.search("invented"))
        add_choices(ledger, "invented", [each.choice for each in search.decisions])
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        last = "(SELECT study_id FROM studies WHERE study_name = 'invented/cycle-02')"
        assert database.execute(f"DELETE FROM trials WHERE study_id = {last}").rowcount
    assert not caplog.text
    assert not read(url).done
    assert "cycle 2 was decided, and rows of what was trained are missing" in caplog.text


@pytest.mark.parametrize("layout", [optuna_rows.TRIED_LAYOUT, "v9"])
def test_accuracy_lies_between_0_and_1_in_rows_of_earlier_versions_too(edited, monkeypatch, layout):
    url = edited(value("2.0"), "DELETE FROM trial_user_attributes WHERE key = 'digest'")
    monkeypatch.setattr(optuna_rows, "TRIED_LAYOUT", layout)
    with pytest.raises(
        Refused, match=r"search 'invented', cycle 1, max_lr .* validation accuracy is 2, not in"
    ):
        read(url)


def test_another_row_of_a_key_is_refused_and_the_same_one_is_taken(edited):
    parts = {
        "trial_values": "objective, value, value_type",
        "trial_params": "param_name, param_value, distribution_json",
        "trial_user_attributes": "key, value_json",
    }
    copies = [
        "INSERT INTO trials SELECT 999, 99, study_id, state, datetime_start, datetime_complete FROM trials "
        f"WHERE trial_id = {OURS}"
    ]
    copies += [
        f"INSERT INTO {part} (trial_id, {columns}) SELECT 999, {columns} FROM {part} WHERE trial_id = {OURS}"
        for part, columns in parts.items()
    ]
    assert read(edited(*copies)).done
    another = [
        "UPDATE trial_values SET value = 0.25 WHERE trial_id = 999",
        "DELETE FROM trial_user_attributes WHERE key = 'digest' AND trial_id = 999",
    ]
    with pytest.raises(Refused, match=r"trial 99 of study .*: trial 4 has the same key, and other values"):
        read(edited(*copies, *another))


@pytest.mark.parametrize(
    "study", ["invented/cycle-00 old", "invented/cycle-1", "invented/cycle-0x1", "invented/notes"]
)
def test_a_study_that_is_none_of_ours_is_left_alone_and_named(edited, call, study, caplog):
    url = edited()
    optuna.create_study(storage=url, study_name=study).add_trial(optuna.trial.create_trial(value=1.0))
    assert read(url).done
    assert f"study {study!r} is none of search 'invented', and left alone" in caplog.text
    code, out, err = call("status", "invented", "--ledger", url)
    assert code == 0 and "done" in out and study in err
    assert len(optuna.load_study(storage=url, study_name=study).trials) == 1


TRIALS = {
    "by hand": {
        "value": 0.99,
        "params": {"max_lr": 0.05},
        "distributions": {"max_lr": optuna.distributions.FloatDistribution(0.01, 0.1, log=True)},
    },
    "without a rate": {"value": 0.99},
    "of another parameter": {
        "value": 2.0,
        "params": {"x": 1},
        "distributions": {"x": optuna.distributions.IntDistribution(0, 2)},
        "user_attrs": {"replicate": "a"},
    },
    "that failed": {"state": optuna.trial.TrialState.FAIL},
}


@pytest.mark.parametrize("layout", [optuna_rows.TRIED_LAYOUT, "v9"])
@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_that_is_none_of_ours_is_left_alone_and_named(edited, monkeypatch, caplog, name, layout):
    url, trial = edited(), optuna.trial.create_trial(**TRIALS[name])
    optuna.load_study(storage=url, study_name="invented/cycle-01").add_trial(trial)
    monkeypatch.setattr(optuna_rows, "TRIED_LAYOUT", layout)
    found = read(url)
    assert found.done and len(found.outcomes) == len(read(edited()).outcomes)
    assert ("of study 'invented/cycle-01' has no key" in caplog.text) == (name != "that failed")


def test_a_study_of_somebody_elses_that_cannot_be_read_stops_nobody(edited, call):
    url = edited()
    optuna.create_study(storage=url, study_name="theirs").set_user_attr("x", 1)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE study_user_attributes SET value_json = '{' WHERE key = 'x'")
    assert call("list", "--ledger", url)[0] == 0
    assert call("report", "invented", "--ledger", url)[0] == 0


@pytest.mark.parametrize("column", ["pid", "process_started", "host"])
def test_a_damaged_lease_is_named(edited, call, column):
    values = {"pid": 1, "process_started": 1.0, "host": "'here'"} | {column: "X'00'"}
    shown = ", ".join(map(str, values.values()))
    names = ", ".join(values)
    url = edited(
        f"INSERT INTO oracle_leases (search, owner, beat, {names}) VALUES ('invented', 'o', 0, {shown})"
    )
    code, _, err = call("stop", "invented", "--ledger", url)
    assert code == 3 and f"search 'invented', its row of oracle_leases: {column} is b'" in err


def test_a_damaged_study_is_named_before_anything_is_written(finished, call):
    with closing(sqlite3.connect(finished / "ledger.db")) as database, database:
        database.execute("UPDATE study_system_attributes SET value_json = '{'")
    code, _, err = call("run", "spec.yaml", "--driver", "in-process")
    assert code == 3 and "study 'small' can't be read (Expecting property name" in err
