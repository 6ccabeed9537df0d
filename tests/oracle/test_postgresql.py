"""Searches whose ledger is on PostgreSQL, each a process of its own: watched, disturbed and cut off."""

import csv
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from sqlalchemy import inspect, make_url, text

from oracle.cli.main import cli
from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.results import Results
from tests import postgresql as server
from tests.postgresql import PASSWORD
from tests.support import small_data

ROOT = Path(__file__).parents[2]
READERS = 3
SEARCH = {
    "network": {"name": "fc", "arguments": {"hidden": [32, 32]}},
    "cycles": 2,
    "training": {"epochs": 3, "batch_size": 32, "pack": 2, "compile": False},
}


def write_spec(folder, ledger):
    YAML(typ="safe").dump(small_data(folder, **SEARCH, ledger=ledger), folder / "spec.yaml")


def run_here(folder):
    """``oracle run`` in this process."""
    return CliRunner().invoke(cli, ["run", str(folder / "spec.yaml"), "--driver", "in-process"])


class Process:
    """``oracle run`` in a folder, its lines read as they come."""

    def __init__(self, folder, ledger, **environment):
        write_spec(folder, ledger)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "oracle", "run", "spec.yaml", "--driver", "in-process"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.err = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._process:
            self._process.kill()

    def wait_for(self, words):
        """Reads lines until one has these words."""
        for line in self._process.stderr:
            self.err += line
            if words in line:
                return
        pytest.fail(f"it never said {words!r}: {self.err}")

    def wait_for_rows(self, url, wanted):
        """Looks until the ledger holds so many; gives them."""
        with closing(Ledger(url)) as ledger:
            while len(found := ledger.outcomes("small")) < wanted:
                with pytest.raises(subprocess.TimeoutExpired):
                    self._process.wait(0.02)
        return found

    @contextmanager
    def halted(self):
        """It stands still."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self):
        """Its exit code and all that it printed."""
        out, err = self._process.communicate(timeout=300)
        self.err += err
        return self._process.returncode, out + self.err


def table(folder):
    with (folder / "networks/small/report/comparison.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def marks(url):
    """What each row of each study is of, and how often it is there."""
    with closing(Ledger(url)) as ledger:
        rows = [
            (cycle, row.state.name, row.params["max_lr"], row.user_attrs["replicate"], row.value)
            for cycle, study in ledger._cycle_studies("small")
            for row in study.trials
        ]
    return Counter(rows)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory):
    """A search that nothing disturbs, its ledger on SQLite."""
    folder = tmp_path_factory.mktemp("sqlite")
    write_spec(folder, f"sqlite:///{folder}/ledger.db")
    done = run_here(folder)
    assert done.exit_code == 0, done.output
    return folder


def watch(url, stop, seen, failures):
    """Reads the whole search again and again, as a dashboard would."""
    try:
        with closing(Ledger(url)) as ledger:
            while not stop.is_set():
                record = ledger.search("small")
                seen.append(len(Results.read(ledger, record).outcomes) if record else 0)
                ledger.holder("small")
                stop.wait(0.5)
    except Exception as error:
        failures.append(error)


@pytest.fixture(scope="module")
def watched(postgresql, tmp_path_factory):
    """A search on PostgreSQL, read by many while it runs; a second driver tries to run it, too."""
    folder, url = tmp_path_factory.mktemp("watched"), postgresql.database()
    Ledger(url, create=True).close()
    stop, failures, seen = threading.Event(), [], [[] for _ in range(READERS)]
    threads = [threading.Thread(target=watch, args=(url, stop, each, failures)) for each in seen]
    with Process(folder, url) as first:
        first.wait_for("search small")
        with first.halted():
            second = run_here(folder)
        for thread in threads:
            thread.start()
        try:
            done = first.end()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    return folder, url, done, second, seen, failures


def test_a_search_on_postgresql_finds_what_it_finds_on_sqlite(watched, on_sqlite):
    folder, url, (code, said), *_ = watched
    assert code == 0, said
    assert "away" not in said
    assert table(folder) == table(on_sqlite)
    assert marks(url) == marks(f"sqlite:///{on_sqlite}/ledger.db")


def test_those_who_read_beside_it_see_rows_only_come(watched):
    *_, seen, failures = watched
    assert not failures
    for counts in seen:
        assert counts == sorted(counts)
    assert len({count for counts in seen for count in counts}) > 2  # more than before and after


def test_a_second_driver_on_postgresql_is_refused(watched):
    refused = watched[3].exception
    assert isinstance(refused, Refused)
    assert "is being run by process" in str(refused)


def forms(password):
    """A password as it is, and as it stands in a URL."""
    return {password, quote(password, safe="")}


def test_the_password_is_in_nothing_that_a_search_writes(watched):
    folder, url, (_, said), second, *_ = watched
    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del written[folder / "spec.yaml"]
    assert folder / "networks/small/report/report.html" in written
    with closing(Ledger(url)) as ledger, ledger.engine.connect() as connection:
        names = inspect(connection).get_table_names()
        dump = "\n".join(str(connection.execute(text(f"SELECT * FROM {name}")).all()) for name in names)
    assert ":***@127.0.0.1" in dump
    for form in forms(PASSWORD):
        assert form not in said + second.output + str(second.exception) + dump
        assert not [path for path, data in written.items() if form.encode() in data]


def test_a_server_that_is_restarted_is_waited_for(tmp_path, postgresql, on_sqlite):
    url = postgresql.database()
    Ledger(url, create=True).close()
    with Process(tmp_path, url) as process:
        before = process.wait_for_rows(url, 9)
        postgresql.stop("immediate")
        try:
            process.wait_for("the ledger is away")
        finally:
            postgresql.start()
        process.wait_for("the ledger is back")
        code, said = process.end()
    assert code == 0, said
    assert table(tmp_path) == table(on_sqlite)
    assert marks(url) == marks(f"sqlite:///{on_sqlite}/ledger.db")
    with closing(Ledger(url)) as ledger:
        assert before.items() <= ledger.outcomes("small").items()


def without_password(url):
    parts = make_url(url)
    return f"{parts.drivername}://{parts.username}@{parts.host}:{parts.port}/{parts.database}"


def test_a_server_that_is_gone_ends_the_search_in_words_and_it_goes_on_later(
    tmp_path, postgresql, on_sqlite, monkeypatch
):
    url = without_password(postgresql.database())
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Ledger(url, create=True).close()
    with Process(tmp_path, url, ORACLE_LEDGER_PATIENCE="0.5") as process:
        process.wait_for_rows(url, 9)
        postgresql.stop("fast")
        try:
            code, said = process.end()
        finally:
            postgresql.start()
    assert code == 1
    assert "trying again for up to 0.5 s" in said
    assert "no finished trial is lost: run the same command again" in said
    assert "Traceback" not in said
    assert not [form for form in forms(PASSWORD) if form in said]
    before = marks(url)
    done = run_here(tmp_path)
    assert done.exit_code == 0, done.output
    assert f"{before.total()} trials are in the ledger already" in done.output
    assert before < marks(url) == marks(f"sqlite:///{on_sqlite}/ledger.db")
    assert table(tmp_path) == table(on_sqlite)


def test_the_password_may_stand_in_a_file(tmp_path, postgresql, monkeypatch):
    database = postgresql.database()
    url = make_url(database)
    secret = tmp_path / "pgpass"
    escaped = PASSWORD.replace(":", "\\:")
    secret.write_text(f"{url.host}:{url.port}:{url.database}:{url.username}:{escaped}\n")
    secret.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(secret))
    with closing(Ledger(without_password(database), create=True)) as ledger:
        assert ledger.searches() == ()


@pytest.mark.parametrize(
    ("needed", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)], ids=["free", "needed"]
)
def test_without_its_programs_tests_are_skipped_unless_they_are_needed(monkeypatch, needed, outcome):
    monkeypatch.setattr(server, "programs", lambda: None)
    monkeypatch.setenv(server.NEEDED, needed)
    with pytest.raises(outcome, match="initdb"), server.running_server():
        pass
