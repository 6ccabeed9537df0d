"""To look at a search: from another folder, in one that only reads, and with names that steer terminals."""

import dataclasses
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

import oracle
from oracle.cli.show import PlainConsole, plain
from oracle.ledger import Ledger
from oracle.ledger.database import check_url
from silo.errors import InvalidInput
from tests.oracle.invented import invent, write_ledger
from trials.tasks import StoredFile

STEERING = ["\x1b[2J", "\x9b31m", "\u202e", "\u2066", "\u2028", "\x07", "\r", "\U000e0041", "\udcff"]


@pytest.mark.parametrize("text", STEERING, ids=ascii)
def test_text_steers_no_terminal(text):
    assert plain(f"a{text}b\tc\n").isascii() and plain(f"ä 漢 {text}").startswith("ä 漢 \\")


def test_what_is_text_stays():
    text = "ä 漢字 עברית 👩\u200d💻 ✓ × \t 1\n"
    assert plain(text) == text


@pytest.mark.parametrize("text", STEERING[:3], ids=ascii)
def test_neither_an_error_nor_a_name_nor_a_table_steers_the_terminal(finished, call, capsys, text):
    """The ledger is anybody's: names of searches, errors of runs, places, paths of files."""
    with closing(sqlite3.connect(finished / "ledger.db")) as database, database:
        database.execute("DELETE FROM oracle_digests")
        database.execute("UPDATE oracle_runs SET state = 'failed', error = ?", (f"Error: {text}",))
        columns = "spec, identity, execution, execution_reason, created"
        database.execute(
            f"INSERT INTO oracle_searches (name, {columns}) SELECT ?, {columns} FROM oracle_searches",
            (f"x{text}y",),
        )
    ledger = ("--ledger", f"sqlite:///{finished}/ledger.db")
    commands = [
        ("list", *ledger),
        ("status", "small", *ledger),
        ("status", "none", *ledger),
        ("validate", f"{text}.yaml"),
        ("report", "small", "--out", finished / f"r{text}", *ledger),
    ]
    for command in commands:
        _, out, err = call(*command)
        assert text not in out + err, command
        shown = ascii(text)[1:-1] in out + err
        assert shown or command[0] == "status" or text.startswith("\x1b"), command  # which click takes out
    PlainConsole(width=80).print(f"[bold]{text}", style="red")
    assert text not in capsys.readouterr().out


def test_a_real_process_says_it_plainly_whatever_its_encoding(tmp_path):
    name = "\x1b]0;title\x07\u202e.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "oracle", "validate", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2 and b"\\x1b]0;title\\x07\\u202e.yaml: the spec can't be read" in done.stderr
    assert b"\x1b" not in done.stderr and b"\x07" not in done.stderr


@pytest.fixture
def elsewhere():
    """A folder of everybody's, to be given away as one that only reads."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def somebody():
    """Acts as a user who owns nothing here, where this process may."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("under_way", [False, True])
def test_a_ledger_is_looked_at_where_nothing_can_be_written(
    finished, elsewhere, call, monkeypatch, under_way
):
    """Beside one that is being written lie its last changes, which are looked at, too."""
    monkeypatch.chdir("/")
    shutil.copy(finished / "ledger.db", elsewhere / "ledger.db")
    database = sqlite3.connect(elsewhere / "ledger.db")
    with closing(database):
        if under_way:
            database.execute("DELETE FROM oracle_digests")
            database.commit()
        else:
            database.close()
        assert (elsewhere / "ledger.db-wal").exists() == under_way
        for path in elsewhere.iterdir():
            path.chmod(0o444)
        elsewhere.chmod(0o555)
        before = {path: path.read_bytes() for path in elsewhere.iterdir() if path.suffix != ".db-shm"}
        url = f"sqlite:///{elsewhere}/ledger.db"
        for command in ("list", "status small", "fit small", "status none"):
            # Before: as root nothing keeps from writing; and what is imported is known from then on.
            expected = call(*command.split(), "--ledger", f"sqlite:///{finished}/ledger.db")
            with somebody():
                assert call(*command.split(), "--ledger", url) == expected
            assert expected[0] == (3 if "none" in command else 0) and "small" in expected[1] + expected[2]
        after = {path: path.read_bytes() for path in elsewhere.iterdir() if path.suffix != ".db-shm"}
        assert after == before


def test_who_can_not_write_the_ledger_is_told_where_to_stop_a_search(finished, elsewhere, call, monkeypatch):
    monkeypatch.chdir("/")
    with closing(sqlite3.connect(finished / "ledger.db")) as database, database:
        database.execute("INSERT INTO oracle_leases VALUES ('small', 'somebody', 'there/boot', 7, 1.0, 1)")
    shutil.copy(finished / "ledger.db", elsewhere / "ledger.db")
    elsewhere.joinpath("ledger.db").chmod(0o444)
    elsewhere.chmod(0o555)
    call("status", "none", "--ledger", f"sqlite:///{finished}/ledger.db")  # what is imported is known then
    with somebody():
        code, out, err = call("stop", "small", "--ledger", f"sqlite:///{elsewhere}/ledger.db")
    assert (code, out) == (3, "")
    assert err.startswith(
        "oracle: search 'small' is run by process 7 on there, which is asked to stop in the "
    )
    assert "can't be written here (attempt to write a readonly database)" in err and err.count("\n") == 1


def test_a_user_of_postgresql_who_only_reads_is_told_where_to_stop_a_search(postgresql, tmp_path):
    url = write_ledger(tmp_path, *invent(cycles=2, replicates=2), postgresql.database())
    with postgresql.connect(url.rpartition("/")[2]) as database:
        database.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-of-tests'")
        database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
        database.execute("INSERT INTO oracle_leases VALUES ('invented', 'somebody', 'there/boot', 7, 1.0, 1)")
    guest = make_url(url).set(username="guest", password="guest-of-tests").render_as_string(False)
    found = {}
    for command in ("list", "stop invented"):
        arguments = [sys.executable, "-m", "oracle", *command.split(), "--ledger", guest]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
        found[command] = done.returncode, done.stdout, done.stderr
    assert found["list"][0] == 0 and "invented" in found["list"][1]
    code, out, err = found["stop invented"]
    assert (code, out) == (3, "") and err.count("\n") == 1
    assert err.startswith("oracle: search 'invented' is run by process 7 on there, which is asked to stop")
    assert "can't be written here (permission denied for table oracle_stops)" in err


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///ledger.db?mode=memory&uri=true",
        "sqlite:///ledger.db?uri=true&nolock=1",
        "sqlite:///ledger.db?immutable=1",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///ledger.db?vfs=memdb",
    ],
)
def test_a_ledger_that_is_no_plain_file_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="may be no file, or not the one that it names; give its path"):
        Ledger(url, create=True)
    assert not list(tmp_path.iterdir())
    assert check_url("sqlite:///ledger.db?timeout=30").query == {"timeout": "30"}


def test_a_relative_storage_means_the_same_to_whoever_looks(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEPT", "kept")
    training = {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False, "diagnostics": True}
    path = write(storage="${KEPT}/networks", cycles=1, replicates=1, training=training)
    oracle.run(path, driver="in-process")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.delenv("KEPT")
    found = oracle.load("small", f"sqlite:///{tmp_path}/ledger.db")
    assert found.search_spec.storage == str(tmp_path / "kept" / "networks")
    assert found.distributions[0].gradients is not None


def test_a_file_written_anew_is_that_of_its_search(finished):
    """Another search of the same spec has the same keys, and files of its own."""
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    record = ledger.search("small")
    ledger.register(dataclasses.replace(record, name="twin"))
    outcome = next(iter(ledger.outcomes("small").values()))
    for name, mark in (("small", "1"), ("twin", "2"), ("small", "3")):
        written = dataclasses.replace(outcome, checkpoint=StoredFile(path="p", sha256=mark * 64))
        ledger.replace_checkpoint(name, "key", written)
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT search, sha256 FROM oracle_rewritten_files").all()
    ledger.close()
    assert sorted(rows) == [("small", "3" * 64), ("twin", "2" * 64)]
