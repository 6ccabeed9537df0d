"""The ledger: its contract over each database, and what is said of its tables and files."""

import dataclasses
import sqlite3
import threading
import time
from functools import partial

import optuna
import pytest

from oracle.errors import LeaseLost, LedgerFailed, Refused
from oracle.ledger import Ledger, Retries, SearchRecord, lease
from oracle.ledger import rows as optuna_rows
from oracle.ledger.database import look
from oracle.ledger.rows import Axis, to_row
from oracle.plan import _free_bytes
from oracle.spec_file import is_spec_file
from oracle.testing.ledgers import LEDGER_CHECKS
from oracle.testing.replay import replayed_trial
from silo.errors import InvalidInput
from tests.support import small_spec
from trials.tasks import Execution

AXIS = Axis(low=0.01, high=0.1, log=True)
LONG = "a" * 300  # more than a file system takes


ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").database()
    return f"sqlite:///{tmp_path}/deep/ledger.db"


@pytest.fixture
def ledger(url):
    opened = Ledger(url, create=True)
    opened.register(
        SearchRecord(
            name="s", spec={}, identity={}, execution=Execution(), execution_reason="", created=time.time()
        )
    )
    yield opened
    opened.close()


@pytest.mark.parametrize("check", LEDGER_CHECKS)
def test_a_ledger_keeps_what_it_must(check, url):
    check(url)


def trial(cycle=0, replicate=0, max_lr=0.05, **changes):
    return dataclasses.replace(replayed_trial(cycle, replicate, max_lr, 0.75), **changes)


def test_a_study_that_somebody_deletes_under_a_search_is_named(ledger):
    ledger.add_outcomes("s", {"k": trial()}, axis=AXIS)
    optuna.delete_study(study_name="s/cycle-00", storage=ledger.storage)
    with pytest.raises(LedgerFailed, match=r"study 's/cycle-00' was deleted .*run the same command again"):
        ledger.add_outcomes("s", {"l": trial(max_lr=0.1)}, axis=AXIS)


@ON_SQLITE
def test_a_diverged_outcome_has_no_nan_in_the_database(ledger, tmp_path):
    outcome = trial(diverged=True, train_loss=float("nan"))
    ledger.add_outcomes("s", {"k": outcome}, axis=AXIS)
    with sqlite3.connect(tmp_path / "deep/ledger.db") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert "NaN" not in dump
    (found,) = ledger.outcomes("s").values()
    assert found.diverged
    assert found.train_loss != found.train_loss


@ON_SQLITE
def test_the_gpu_of_a_trial_is_kept_and_that_of_none_takes_no_room(ledger):
    ledger.add_outcomes("s", {"k": trial(gpu="NVIDIA H200"), "l": trial(max_lr=0.1)}, axis=AXIS)
    assert {key: each.gpu for key, each in ledger.outcomes("s").items()} == {"k": "NVIDIA H200", "l": ""}
    rows = ledger.cycle_study("s", 0).get_trials()
    assert ["gpu" in row.user_attrs for row in rows] == [True, False]


@pytest.mark.parametrize("time_zone", ["UTC", "America/New_York"])
def test_rows_written_at_once_are_those_that_optuna_writes(ledger, time_zone, monkeypatch):
    monkeypatch.setenv("TZ", time_zone)
    time.tzset()
    outcomes = {
        str(index): trial(max_lr=max_lr, diverged=index == 2, train_loss=loss, started=1.7e9, ended=1.7e9 + 5)
        for index, (max_lr, loss) in enumerate([(0.03, 0.5), (0.05, 1e-300), (0.4, float("nan"))])
    }
    for _ in range(2):
        ledger.add_outcomes("s", outcomes, axis=AXIS)
    ours = optuna.load_study(study_name="s/cycle-00", storage=ledger.storage).trials
    theirs = optuna.create_study(storage=ledger.storage, study_name="theirs")
    theirs.add_trials([to_row(outcome, key=key, axis=AXIS) for key, outcome in outcomes.items()] * 2)
    assert [row.number for row in ours] == list(range(6))
    for one, other in zip(ours, theirs.trials, strict=True):
        one._trial_id = other._trial_id
        assert one == other
    monkeypatch.undo()
    time.tzset()


def test_a_pack_is_written_whole_or_not_at_all(ledger, monkeypatch):
    ledger.add_outcomes("s", {"first": trial()}, axis=AXIS)
    pack = {"a": trial(max_lr=0.02), "b": trial(max_lr=0.03, worker="w" * 10)}
    parts = optuna_rows._parts

    def cut(row):
        if row.params["max_lr"] == 0.03:
            raise OSError("the disk is full")
        return parts(row)

    monkeypatch.setattr(optuna_rows, "_parts", cut)
    with pytest.raises(OSError, match="full"):
        ledger.add_outcomes("s", pack, axis=AXIS)
    assert set(ledger.outcomes("s")) == {"first"}
    monkeypatch.undo()
    ledger.add_outcomes("s", pack, axis=AXIS)
    assert set(ledger.outcomes("s")) == {"first", "a", "b"}


def attributes_of(ledger, study):
    """What a study tells of itself, as dashboards read it: by users, by programs."""
    (found,) = (each for each in ledger.storage.get_all_studies() if each.study_name == study.study_name)
    return found.user_attrs, found.system_attrs


@pytest.mark.parametrize("layout", [optuna_rows.TRIED_LAYOUT, "v9"])
def test_a_studys_attributes_replace_those_of_their_names_and_of_a_prefix(ledger, monkeypatch, layout):
    monkeypatch.setattr(optuna_rows, "TRIED_LAYOUT", layout)
    study, other = ledger.summary_study("s"), ledger.cycle_study("s", 0)
    ledger.describe(other, {"cycle": 0}, system={"plot:0": "theirs"})
    ledger.describe(
        study, {"a": 1, "b": [0.5, None]}, system={"plot:0": "x" * 2045, "plot:1": "y", "kept": 1}
    )
    ledger.describe(study, {"a": "two"}, system={"plot:0": "é"}, replacing=("plot:",))
    user, system = attributes_of(ledger, study)
    assert user == {"a": "two", "b": [0.5, None]}
    gone = {} if layout != "v9" else {"plot:1": ""}
    assert {key: value for key, value in system.items() if key != "study:metric_names"} == {
        "plot:0": "é",
        "kept": 1,
        **gone,
    }
    assert attributes_of(ledger, other)[0] == {"cycle": 0}
    assert attributes_of(ledger, other)[1]["plot:0"] == "theirs"


def test_another_layout_of_optunas_tables_is_left_to_optuna(ledger, monkeypatch):
    monkeypatch.setattr(optuna_rows, "TRIED_LAYOUT", "v9")
    monkeypatch.setattr(optuna_rows, "_write_at_once", None)
    monkeypatch.setattr(optuna_rows, "_read_at_once", None)
    pack = {"a": trial(max_lr=0.02), "b": trial(max_lr=0.03)}
    ledger.add_outcomes("s", pack, axis=AXIS)
    assert ledger.outcomes("s") == pack


def test_rows_read_at_once_are_those_that_optuna_reads(ledger):
    for index, loss in enumerate([0.5, 1e-300, float("nan")]):
        rates = (0.4 - 0.1 * index, 1 / 3)
        ledger.add_outcomes(
            "s",
            {f"{index} {rate}": trial(replicate=index, max_lr=rate, train_loss=loss) for rate in rates},
            axis=AXIS,
        )
    ledger.add_outcomes("s", {"other": trial(cycle=1)}, axis=AXIS)
    ledger.add_failure("s", cycle=0, replicate=0, max_lr=0.1, error="", axis=AXIS)
    for _, study in ledger._cycle_studies("s"):
        rows = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        ours = list(optuna_rows.read_rows(ledger.storage, study))
        assert ours == [(row.number, row.params["max_lr"], row.value, row.user_attrs) for row in rows]
    assert len(ours) == 1


@ON_SQLITE
def test_sqlite_is_in_wal_mode_and_commits_are_durable(ledger):
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@ON_SQLITE
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("oracle_schema SET version = 99", r"schema 99.*name a new ledger"),
        ("alembic_version SET version_num = 'v9'", r"by another version of Optuna than .* name a new ledger"),
    ],
)
def test_a_ledger_of_another_version_is_refused_and_left_alone(ledger, url, tmp_path, change, said):
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {change}")
    before = (tmp_path / "deep/ledger.db").read_bytes()
    with pytest.raises(Refused, match=said):
        Ledger(url, create=True)
    assert (tmp_path / "deep/ledger.db").read_bytes() == before


def test_a_ledger_that_is_not_there_is_refused_unless_it_may_be_made(tmp_path):
    with pytest.raises(Refused, match="no such file"):
        Ledger(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("name", ["small ", "sma\N{COMBINING ACUTE ACCENT}ll", "small\0", "sm\udcffll", ""])
def test_a_name_that_no_search_can_have_is_named(tmp_path, name):
    url = f"sqlite:///{tmp_path}/ledger.db"
    Ledger(url, create=True).close()
    with pytest.raises(Refused, match=r"^no search .* in this ledger; there are: none$"):
        Ledger.open_search(name, url)


@pytest.mark.parametrize("use", [Ledger, partial(Ledger, create=True), look])
def test_a_file_that_nobody_can_look_for_is_named(tmp_path, use):
    with pytest.raises(Refused, match=r"it can't be reached \(File name too long\); name another place"):
        use(f"sqlite:///{tmp_path}/{LONG}/ledger.db")


def test_a_name_that_no_file_can_have_is_that_of_a_search(tmp_path):
    assert not is_spec_file(LONG) and is_spec_file(f"{LONG}.yaml")
    _free_bytes(small_spec(tmp_path, storage=f"{tmp_path}/{LONG}/networks"))


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, but long enough to look at" * 20)
    with pytest.raises(Refused, match="can't be used"):
        Ledger(f"sqlite:///{tmp_path}/text.db", create=True)


@pytest.mark.parametrize(
    "url", ["nonsense", "mongodb://host/db", "sqlite:///a{b}.db", "sqlite:///a\udcff.db"]
)
def test_a_wrong_url_is_named(url):
    with pytest.raises(InvalidInput, match="ledger"):
        Ledger(url, create=True)


def test_a_password_is_in_no_error():
    with pytest.raises(Refused) as caught:
        Ledger("postgresql+psycopg://me:secret@127.0.0.1:1/none", create=True, retries=Retries(seconds=0.0))
    assert "secret" not in str(caught.value)


def test_a_lease_of_a_process_that_has_ended_is_taken_over_at_once(ledger):
    held = lease.Lease(ledger.engine, "s")
    assert held._insert()
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE oracle_leases SET process_started = 1.0")
    assert ledger.holder("s") is None
    with ledger.lease("s") as mine:
        mine.check()


def test_a_lease_of_another_host_is_taken_over_only_when_it_stands_still(ledger, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS", 0.4)
    held = lease.Lease(ledger.engine, "s")
    assert held._insert()
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE oracle_leases SET host = 'elsewhere/boot'")
    stop = threading.Event()

    def beat():
        while not stop.wait(0.02):
            held._renew()

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(Refused, match="on elsewhere"), ledger.lease("s"):
            pass
    finally:
        stop.set()
        beating.join()
    lines = []
    with ledger.lease("s", waiting=lines.append) as mine:
        mine.check()
        assert "watching" in lines[0]
        held._renew()
        with pytest.raises(LeaseLost, match="another driver"):
            held.check()


def test_a_lease_renews_itself(ledger, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS", 0.05)
    renewed = threading.Event()
    with ledger.lease("s") as held:
        original = held._renew

        def renew():
            original()
            renewed.set()

        held._renew = renew
        assert renewed.wait(10)
        held.check()
