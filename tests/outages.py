"""Databases that are away, and time that passes at once."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from oracle.ledger import Ledger


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@contextmanager
def answers_lost(engine: Engine, which: Collection[int]) -> Iterator[list[int]]:
    """Commits of these numbers happen, but their answers get lost; gives the numbers of all."""
    commit, number = engine.dialect.do_commit, itertools.count()
    counted: list[int] = []

    def lose(connection):
        commit(connection)
        counted.append(next(number))
        if counted[-1] in which:
            if engine.dialect.name == "postgresql":
                connection.dbapi_connection.close()
            raise engine.dialect.loaded_dbapi.OperationalError("the connection is lost")

    engine.dialect.do_commit = lose
    try:
        yield counted
    finally:
        engine.dialect.do_commit = commit


@contextmanager
def cut_every(count: int) -> Iterator[None]:
    """Every so many statements the connection is gone, whoever's it is."""
    numbers = itertools.count(1)

    def cut(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if next(numbers) % count == 0:
            raise OperationalError(statement, {}, sqlite3.OperationalError("gone away"))

    event.listen(Engine, "before_cursor_execute", cut)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", cut)


@contextmanager
def locked(ledger: Ledger) -> Iterator[Callable[[], None]]:
    """Another program writes into the database and takes its time; gives what lets it go."""
    other = sqlite3.connect(ledger.engine.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other.close
    finally:
        other.close()
