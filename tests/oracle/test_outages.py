"""A database that is away for a while ends no search, and nothing is written twice."""

import dataclasses
import logging
import shutil
import sqlite3
from contextlib import ExitStack, closing, contextmanager, nullcontext

import optuna
import pytest
from sqlalchemy import inspect, make_url, text
from sqlalchemy.exc import OperationalError

from dashboards.optuna.summary_study import SummaryStudy
from oracle.drivers import in_process
from oracle.errors import Refused
from oracle.ledger import Ledger, Retries, SearchRecord, database, lease
from oracle.ledger import rows as optuna_rows
from oracle.ledger.rows import Axis
from oracle.results import Results
from oracle.search import Signal
from oracle.testing.replay import replayed, replayed_trial
from tests.benchmarks.sleeping import invented
from tests.outages import Clock, answers_lost, cut_every, locked
from tests.support import open_session, small_spec
from trials.tasks import Execution, PrunedNetwork, StoredFile

AXIS = Axis(low=0.01, high=0.1, log=True)
RECORD = SearchRecord(name="s", spec={}, identity={}, execution=Execution(), execution_reason="", created=1.0)
PACK = {str(rate): replayed_trial(0, 0, rate, 0.75) for rate in (0.02, 0.03, 0.05)}
PRUNED = PrunedNetwork(
    cycle=1, replicate=0, start=StoredFile(path="p", sha256="0"), alive=8, prunable=10, parameters=12
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A ledger's file that holds one search."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}", create=True)
    ledger.register(RECORD)
    ledger.close()
    return path


@pytest.fixture
def new(empty, tmp_path, impatient):
    """Opens ledgers that hold one search each, which wait for nothing long."""
    opened = []

    def make(say=lambda _: None):
        path = shutil.copy(empty, tmp_path / f"{len(opened)}.db")
        opened.append(Ledger(f"sqlite:///{path}", retries=Retries(say)))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def write_failure(ledger):
    ledger.add_failure("s", cycle=0, replicate=0, max_lr=0.05, error="boom", axis=AXIS)
    ledger.add_failure("s", cycle=0, replicate=0, max_lr=0.05, error="boom", axis=AXIS)


def write_runs(ledger):
    ledger.start_run("s", driver="ray", host="h", versions={})
    ledger.end_run(ledger.start_run("s", driver="ray", host="h", versions={}), state="done")
    ledger.start_run("s", driver="ray", host="h", versions={})


def hold_lease(ledger):
    with ledger.lease("s") as held:
        held._renewed -= 2 * lease.SECONDS
        held.check()


def rewrite(ledger):
    ledger.replace_checkpoint("s", "k", replayed_trial(0, 0, 0.02, 0.75))


def prune(ledger):
    ledger.add_pruning("s", PRUNED)
    ledger.add_pruning("s", dataclasses.replace(PRUNED, alive=7))


def begin_anew(ledger):
    write_failure(ledger)
    ledger.begin_anew(dataclasses.replace(RECORD, execution_reason="another"))
    write_failure(ledger)


WRITES = {
    "register": lambda ledger: ledger.register(dataclasses.replace(RECORD, name="new")),
    "add_outcomes": lambda ledger: ledger.add_outcomes("s", PACK, axis=AXIS),
    "add_failure": write_failure,
    "runs": write_runs,
    "add_pruning": prune,
    "replace_checkpoint": rewrite,
    "begin_anew": begin_anew,
    "lease": hold_lease,
}
VOLATILE = {"id", "started", "ended", "datetime_start", "datetime_complete"}


def everything(ledger):
    """Every row of every table, without what differs from run to run, as numbers that the database gives."""
    found = {}
    with ledger.engine.connect() as connection:
        for name in inspect(connection).get_table_names():
            rows = connection.execute(text(f"SELECT * FROM {name}")).mappings().all()
            if name == "oracle_digests":  # of a run's id and times
                rows = [r if not r["row"].startswith("oracle_runs") else {"row": "a run"} for r in rows]
            found[name] = sorted(
                repr({k: v for k, v in row.items() if k not in VOLATILE and not k.endswith("_id")})
                for row in rows
            )
    return found


def test_a_part_that_succeeds_ends_no_outage():
    """Else an operation that reads before it writes would be tried for ever on a full disk."""
    said, tried, retries = [], [], Retries(lambda line: said.append(line), seconds=0.5)

    def operation(again):
        retries.call(lambda again: tried.append(again))
        raise OperationalError("write", {}, sqlite3.OperationalError("disk is full"))

    with pytest.raises(OperationalError):
        retries.call(operation)
    assert len(said) == 1 and tried[0] is False and all(tried[1:]) and len(tried) > 1


@pytest.mark.parametrize("name", WRITES)
def test_a_commit_whose_answer_is_lost_is_not_done_twice(new, name):
    undisturbed = new()
    with answers_lost(undisturbed.engine, ()) as commits:
        WRITES[name](undisturbed)
    assert commits
    for which in [{number} for number in commits] + [set(commits)]:
        disturbed = new()
        with answers_lost(disturbed.engine, which):
            WRITES[name](disturbed)
        assert everything(disturbed) == everything(undisturbed)


def test_a_commit_whose_answer_is_lost_is_not_done_twice_on_postgresql(postgresql, impatient):
    found, said, last = [], [], dict.fromkeys(WRITES, ())
    for _ in range(2):
        with closing(Ledger(postgresql.database(), create=True, retries=Retries(said.append))) as ledger:
            ledger.register(RECORD)
            for name, write in WRITES.items():
                with answers_lost(ledger.engine, last[name]) as commits:
                    write(ledger)
                last[name] = commits[-1:]
            found.append(everything(ledger))
    assert len(said) == 2 * len(WRITES)
    assert found[0] == found[1]


def test_a_part_of_a_pack_that_was_written_is_left_out_by_optunas_own_writing_too(new, monkeypatch):
    add, given = optuna.Study.add_trials, []

    def cut(study, rows):
        given.append(len(rows))
        if len(given) > 1:
            return add(study, rows)
        add(study, rows[:2])
        raise OperationalError("", {}, Exception("the connection is lost"))

    monkeypatch.setattr(optuna_rows, "TRIED_LAYOUT", "v9")
    monkeypatch.setattr(optuna.Study, "add_trials", cut)
    ledger = new()
    ledger.add_outcomes("s", PACK, axis=AXIS)
    assert given == [3, 1]
    assert ledger.outcomes("s") == PACK


def test_a_locked_database_is_waited_for(new):
    said = []
    ledger = new(lambda line: (said.append(line), let_go()))
    with locked(ledger) as let_go:
        ledger.add_outcomes("s", PACK, axis=AXIS)
    assert len(said) == 2
    assert "database is locked" in said[0]
    assert "back" in said[1]
    assert ledger.outcomes("s") == PACK


def test_connections_that_are_cut_every_few_statements_hold_up_nothing(tmp_path, impatient):
    """Nothing that is longer is tried again as a whole: it would never end."""
    found = []
    for folder, disturbed in (("whole", nullcontext()), ("cut", cut_every(25))):
        spec = small_spec(tmp_path / folder, cycles=6, replicates=1)
        Ledger(spec.ledger, create=True).close()  # in SQLite, where nothing is cut, at once
        with disturbed:
            with open_session(spec, observers=[SummaryStudy()]) as session:
                while not isinstance(task := session.ask(), Signal):
                    session.tell(task, replayed(task, invented))
            with closing(Ledger(spec.ledger)) as ledger:
                results = Results.read(ledger, ledger.search("small"), draws=0)
        with closing(Ledger(spec.ledger)) as ledger:
            shown = [(row.value, row.params) for row in ledger.summary_study("small").trials]
        found.append((results.trials.to_csv(), results.intervals.to_csv(), shown))
    assert found[0] == found[1]


def test_the_summary_study_waits_for_the_database_as_the_search_does(tmp_path, impatient, caplog):
    said = []
    with open_session(small_spec(tmp_path)) as session:
        session.ledger.retries = Retries(lambda line: (said.append(line), let_go()))
        with locked(session.ledger) as let_go:
            SummaryStudy().started(session)
        study = session.ledger.summary_study("small")
        assert any("note" in name for name in study._storage.get_study_system_attrs(study._study_id))
    assert len(said) == 2
    assert not caplog.records


def test_an_interrupted_search_says_so_though_its_database_is_gone(call, write, impatient, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(database, "time", clock)
    with ExitStack() as stack:

        def interrupt(session, _):
            stack.enter_context(locked(session.ledger))
            raise KeyboardInterrupt

        monkeypatch.setattr(in_process, "run", interrupt)
        code, _, err = call("run", write(), "--driver", "in-process")
    assert code == 130
    assert "Run the same command again" in err
    assert not clock.slept


@contextmanager
def taken(path):
    """Another program has a database to itself; gives what lets it go."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield other.close
    finally:
        other.close()


class LetsGo(logging.Handler):
    """Lets go once somebody says that the ledger is away."""

    def __init__(self, let_go):
        super().__init__()
        self._let_go, self.said = let_go, []

    def emit(self, record):
        self.said.append(record.getMessage())
        if "is away" in record.getMessage():
            self._let_go()


@pytest.mark.parametrize("command", ["status", "list", "export", "run"])
def test_a_database_that_is_away_when_a_command_begins_is_waited_for(finished, call, impatient, command):
    given = {"status": ["spec.yaml"], "export": ["spec.yaml"], "run": ["spec.yaml", "--driver", "in-process"]}
    target = given.get(command, ["--ledger", f"sqlite:///{finished}/ledger.db"])
    with taken(finished / "ledger.db") as let_go:
        handler = LetsGo(let_go)
        logging.getLogger("oracle").addHandler(handler)
        try:
            code, _, err = call(command, *target)
        finally:
            logging.getLogger("oracle").removeHandler(handler)
    assert code == 0, err
    assert "the ledger is away (database is locked); trying again" in err and "the ledger is back" in err


def test_one_that_stays_away_is_refused_in_a_line(finished, call, impatient, monkeypatch):
    monkeypatch.setenv("ORACLE_LEDGER_PATIENCE", "0")
    with taken(finished / "ledger.db"):
        code, out, err = call("status", "spec.yaml")
    assert code == 3 and not out
    assert "the database can't be used (database is locked)" in err and len(err.splitlines()) == 1


def test_what_waiting_does_not_mend_is_refused_at_once(postgresql, tmp_path):
    said = []
    url = make_url(postgresql.database())
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "gone" / "ledger.db")
    for wrong, why in (
        (url.set(password="wrong").render_as_string(hide_password=False), "password authentication failed"),
        (url.set(database="none").render_as_string(hide_password=False), 'database "none" does not exist'),
        (f"sqlite:///{tmp_path}/folder.db", "it is no file that can be read"),
    ):
        with pytest.raises(Refused, match=why):
            Ledger(wrong, retries=Retries(said.append))
    with pytest.raises(Refused, match=r"a link to .*/gone/ledger\.db, whose folder isn't there"):
        Ledger(f"sqlite:///{tmp_path}/link.db", create=True, retries=Retries(said.append))
    (tmp_path / "gone").mkdir()
    Ledger(f"sqlite:///{tmp_path}/link.db", create=True).close()
    assert not said and (tmp_path / "gone" / "ledger.db").is_file()


def test_a_server_that_starts_after_the_command_is_waited_for(postgresql, impatient):
    url, said = postgresql.database(), []
    Ledger(url, create=True).close()
    for create in (False, True):
        postgresql.stop("fast")
        retries = Retries(lambda line: (said.append(line), "is away" in line and postgresql.start()))
        with closing(Ledger(url, create=create, retries=retries)) as ledger:
            assert ledger.names() == ()
    assert len(said) == 4 and "trying again" in said[0] and "back" in said[1]
