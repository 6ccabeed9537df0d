"""How often and for how long an operation of the ledger is tried while the database is away."""

import itertools
import sqlite3

import psycopg
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError

from oracle.ledger import Retries, database
from oracle.ledger.database import is_away
from silo.errors import InvalidInput
from tests.outages import Clock

OUTAGE = OperationalError("SELECT 1", {}, sqlite3.OperationalError("gone away"))


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(database, "time", found)
    return found


def failing(times, error=OUTAGE):
    """An operation that fails so many times; it gives whether it knew that it had been tried."""
    left = itertools.count(times, -1)

    def operation(again):
        if next(left) > 0:
            raise error
        return again

    return operation


def test_an_operation_is_tried_until_the_database_is_back(clock):
    said = []
    retries = Retries(said.append, seconds=100)
    assert retries.call(failing(0)) is False
    assert not said
    assert retries.call(failing(6)) is True
    assert said == [
        "the ledger is away (gone away); trying again for up to 100 s",
        f"the ledger is back after {sum(clock.slept):.0f} s",
    ]


def test_the_pauses_grow_at_random_to_a_few_seconds(clock):
    retries = Retries(lambda _: None, seconds=1e9)
    retries.call(failing(200))
    assert all(pause <= 0.2 * 2**index for index, pause in enumerate(clock.slept))
    late = clock.slept[10:]
    assert max(late) <= 5
    assert 2 < sum(late) / len(late) < 3
    assert len(set(late)) > 100


def test_after_the_bound_the_error_is_raised_and_what_follows_doesnt_wait_again(clock):
    said = []
    retries = Retries(said.append)
    with pytest.raises(OperationalError) as caught:
        retries.call(failing(10**9))
    assert caught.value is OUTAGE
    assert sum(clock.slept) == pytest.approx(120)
    pauses = len(clock.slept)
    with pytest.raises(OperationalError):
        retries.call(failing(1))
    assert len(clock.slept) == pauses
    assert len(said) == 1
    retries.call(failing(0))
    retries.call(failing(1))
    assert len(clock.slept) == pauses + 1


def test_who_interrupts_the_wait_doesnt_wait_again(clock, monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupt(seconds):
        raise Interrupted

    monkeypatch.setattr(clock, "sleep", interrupt)
    retries = Retries(lambda _: None)
    with pytest.raises(Interrupted):
        retries.call(failing(9))
    with pytest.raises(OperationalError):
        retries.call(failing(9))


@pytest.mark.parametrize("given", ["soon", "-1", "inf", "nan"])
def test_a_bound_that_is_no_time_is_named(monkeypatch, given):
    monkeypatch.setenv("ORACLE_LEDGER_PATIENCE", given)
    with pytest.raises(InvalidInput, match="ORACLE_LEDGER_PATIENCE"):
        Retries()


def wrapped(error):
    internal = StorageInternalError("An exception is raised during the commit.")
    internal.__cause__ = error
    return internal


def of_sqlite(code, message="m"):
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return OperationalError("", {}, error)


def test_only_what_passes_is_tried_again():
    away = [
        OUTAGE,
        wrapped(OUTAGE),
        InterfaceError("", {}, psycopg.InterfaceError("the connection is closed")),
        OperationalError("", {}, psycopg.errors.AdminShutdown("terminating")),
        ProgrammingError("", {}, Exception(), connection_invalidated=True),
        of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
        of_sqlite(sqlite3.SQLITE_FULL),
    ]
    wrong = [
        IntegrityError("", {}, sqlite3.IntegrityError("UNIQUE")),
        ProgrammingError("", {}, psycopg.ProgrammingError("no such column")),
        wrapped(ProgrammingError("", {}, Exception())),
        wrapped(None),
        of_sqlite(sqlite3.SQLITE_ERROR, "no such table: trials"),
        of_sqlite(sqlite3.SQLITE_READONLY),
        KeyboardInterrupt(),
        OSError("disk"),
    ]
    assert [is_away(error) for error in away + wrong] == [True] * len(away) + [False] * len(wrong)
