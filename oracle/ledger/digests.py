"""Digests of rows that nothing else tells from edited ones: a search's own, its choices and its runs.

They stand in a table beside those of the rows; a row of an earlier version has none, and is taken as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    RowMapping,
    Select,
    String,
    Table,
    and_,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
)

from oracle.ledger.database import choices, digests, runs, searches
from oracle.ledger.values import DamagedValue

_MARKS = {searches: searches.c.name, choices: choices.c.cycle, runs: runs.c.id}
"""What tells a row from the others of its table that are a search's."""


def digest(values: object) -> str:
    """Tells values from any others: numbers, texts, and tuples and lists of such."""
    return hashlib.sha256(repr(values).encode(errors="surrogateescape")).hexdigest()[:16]


def write_digests(connection: Connection, table: Table, search: str, marks: Collection[Any]) -> None:
    """Writes the digests of rows as they stand now, in the transaction that wrote them, and removes those of
    rows that are no more.

    Args:
        connection: The transaction.
        table: The searches, the choices or the runs.
        search: The search.
        marks: Name, cycles or ids of the rows.
    """
    names = {mark: f"{table.name} {mark}" for mark in marks}
    gone = (digests.c.search == search) & digests.c.row.in_(list(names.values()))
    connection.execute(delete(digests).where(gone))
    these = (_search_of(table) == search) & _MARKS[table].in_(list(marks))
    written = [
        {"search": search, "row": names[row._mapping[_MARKS[table]]], "digest": digest(tuple(row))}
        for row in connection.execute(select(table).where(these))
    ]
    if written:
        connection.execute(insert(digests), written)


def with_digests(table: Table) -> Select[Any]:
    """The rows of a table, each with its digest, ``written``, as the last value."""
    name = literal(f"{table.name} ") + cast(_MARKS[table], String)
    same = and_(digests.c.search == _search_of(table), digests.c.row == name)
    return select(table, digests.c.digest.label("written")).select_from(table).outerjoin(digests, same)


def check_digest(row: Row[Any] | RowMapping) -> None:
    """Makes sure that a row of :func:`with_digests` is as it was written.

    Raises:
        DamagedValue: It isn't.
    """
    *values, written = row.values() if isinstance(row, RowMapping) else row
    if written not in (None, digest(tuple(values))):
        raise DamagedValue("its values are not those that were written: their digest is another")


def count_lost(connection: Connection, table: Table, search: str) -> int:
    """How many rows of a search are no more, and not because they were removed here."""
    there = select(literal(f"{table.name} ") + cast(_MARKS[table], String)).where(_search_of(table) == search)
    lost = (digests.c.search == search) & digests.c.row.startswith(f"{table.name} ", autoescape=True)
    query = select(func.count()).select_from(digests).where(lost & digests.c.row.not_in(there))
    return connection.execute(query).scalar_one()


def _search_of(table: Table) -> Any:
    return table.c.name if table is searches else table.c.search
