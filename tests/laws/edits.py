"""Random edits of a ledger's file: values, rows and bytes, as people, programs and disks make them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

_VALUES: tuple[Any, ...] = (
    *(None, -1, 0, 1, 7, 2.0, 0.5, -0.25, 1e308, float("inf"), 2**63 - 1),
    *(
        "",
        "x",
        "null",
        "[]",
        "{}",
        "{",
        '"\\ud800"',
        "1e400",
        "nan",
        "2.0",
        "true",
        b"\xff\xfe\x00",
        "9" * 5000,
    ),
)


def edit(path: Path, seed: int) -> str:
    """Makes one edit in a ledger's file; gives it in words."""
    drawn = random.Random(seed)
    if drawn.random() < 0.1:
        return _flip(path, drawn)
    with closing(sqlite3.connect(path)) as database, database:
        database.text_factory = bytes
        names = [
            row[0].decode()
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ]
        table = drawn.choice([name for name in names if _count(database, name)])
        row = 1 + drawn.randrange(_count(database, table))
        (number,) = database.execute(
            f"SELECT rowid FROM {table} ORDER BY rowid LIMIT 1 OFFSET {row - 1}"
        ).fetchone()
        columns = [each[1].decode() for each in database.execute(f"PRAGMA table_info({table})")]
        kind = drawn.choice(["delete", "copy", "foreign", *["move"] * 2, *["change"] * 8])
        try:
            if kind == "foreign":
                name = drawn.choice(["invented/cycle-00 old", "invented/cycle-7", "other/cycle-00", "x"])
                database.execute("INSERT INTO studies (study_name) VALUES (?)", (name,))
                return f"there is a study {name!r}"
            if kind == "move":
                return _move(database, drawn)
            if kind == "delete":
                database.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))
                return f"row {row} of {table} is deleted"
            if kind == "copy":
                other = ", ".join([f"{columns[0]} + 1000", *columns[1:]])
                database.execute(
                    f"INSERT INTO {table} SELECT {other} FROM {table} WHERE rowid = ?", (number,)
                )
                return f"row {row} of {table} is there twice"
            column = drawn.choice(columns)
            (old,) = database.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (number,)).fetchone()
            new = _changed(old, drawn)
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, number))
            return f"{column} of row {row} of {table}: {old!r:.80} -> {new!r:.80}"
        except (sqlite3.IntegrityError, OverflowError):
            return "nothing: the database forbids it"


def _move(database: sqlite3.Connection, drawn: random.Random) -> str:
    """Gives a trial to another study, or a study to another place."""
    trials = [row[0] for row in database.execute("SELECT trial_id FROM trials ORDER BY trial_id")]
    studies = [row[0] for row in database.execute("SELECT study_id FROM studies ORDER BY study_id")]
    if drawn.random() < 0.7:
        trial, study = drawn.choice(trials), drawn.choice(studies)
        database.execute("UPDATE trials SET study_id = ? WHERE trial_id = ?", (study, trial))
        return f"trial {trial} is one of study {study}"
    one, other = drawn.sample(studies, 2)
    swap = "UPDATE trials SET study_id = ? - study_id WHERE study_id IN (?, ?)"
    database.execute(swap, (one + other, one, other))
    return f"the trials of studies {one} and {other} are exchanged"


def _count(database: sqlite3.Connection, table: str) -> int:
    count: int = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


def _changed(old: Any, drawn: random.Random) -> Any:
    """Another value, a near one as often as one of quite another kind."""
    if isinstance(old, bytes) and old and drawn.random() < 0.6:
        at = drawn.randrange(len(old))
        flipped = old[:at] + bytes([old[at] ^ (1 << drawn.randrange(7))]) + old[at + 1 :]
        cut = old[: drawn.randrange(len(old))]
        new = drawn.choice([flipped, flipped, cut])
        try:
            return new.decode()
        except UnicodeDecodeError:
            return new
    if isinstance(old, int | float) and drawn.random() < 0.6:
        return drawn.choice([old + 1, old - 1, old * 1.1, -old])
    return drawn.choice(_VALUES)


def _flip(path: Path, drawn: random.Random) -> str:
    data = bytearray(path.read_bytes())
    at = drawn.randrange(len(data))
    data[at] ^= 1 << drawn.randrange(8)
    path.write_bytes(data)
    return f"a bit of byte {at} is flipped"
