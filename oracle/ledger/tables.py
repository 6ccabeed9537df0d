"""The ledger's own tables, beside Optuna's: their columns, the values of their rows, and the rows' digests.

Whatever else stands in a row, it was damaged or edited: who reads one checks it here, and nothing is decided
on what is none. Digests are of rows that nothing else tells from edited ones: a search's own, its choices and
its runs. They stand in a table beside those of the rows; a row of an earlier version has none, and is taken
as it is.

What was chosen to be pruned, cycle by cycle, and what a policy that leaves trainings out has asked for, round
by round, is written here before it is pruned or trained. A choice stays as long as anything of what it was
made among does.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast, get_args

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
)

from oracle.cycles import Choice, Rule
from oracle.errors import Refused
from oracle.policies import Round
from silo.errors import InvalidInput

if TYPE_CHECKING:
    from oracle.ledger.ledger import Ledger


SCHEMA_VERSION = 4

metadata = MetaData()

schema = Table(
    "oracle_schema",
    metadata,
    Column("version", Integer, primary_key=True),
)

searches = Table(
    "oracle_searches",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("spec", Text, nullable=False),  # JSON: the spec as it was last run
    Column("identity", Text, nullable=False),  # JSON: what determines the outcomes
    Column("execution", Text, nullable=False),  # JSON: how the trainings are computed
    Column("execution_reason", Text, nullable=False),
    Column("created", Float, nullable=False),  # seconds since 1970, as all times here
)

runs = Table(
    "oracle_runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("search", String(63), ForeignKey("oracle_searches.name"), nullable=False, index=True),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("state", String(16), nullable=False),  # running, done, failed, interrupted, taken over
    Column("driver", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("versions", Text, nullable=False),  # JSON: package to version
    Column("error", Text),  # the first traceback of a run that failed
)

prunings = Table(
    "oracle_prunings",
    metadata,
    Column("search", String(63), ForeignKey("oracle_searches.name"), primary_key=True),
    Column("cycle", Integer, primary_key=True),
    Column("replicate", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("alive", Integer, nullable=False),
    Column("prunable", Integer, nullable=False),
    Column("parameters", Integer, nullable=False),
    Column("norm_drop", Float, nullable=False),
)

parents = Table(
    "oracle_parents",
    metadata,
    Column("search", String(63), ForeignKey("oracle_searches.name"), primary_key=True),
    Column("cycle", Integer, primary_key=True),  # of the pruned network
    Column("replicate", Integer, primary_key=True),
    Column("sha256", String(64)),  # of the trained network that was pruned, if it is known
    Column("digest", String(16), nullable=False),  # of the pruned network's row
)

choices = Table(
    "oracle_choices",
    metadata,
    Column("search", String(63), ForeignKey("oracle_searches.name"), primary_key=True),
    Column("cycle", Integer, primary_key=True),
    Column("max_lr", Float, nullable=False),
    Column("rule", String(16), nullable=False),  # point, posterior
    Column("replicates", Integer, nullable=False),  # how many there were then
)

asked = Table(
    "oracle_asked",
    metadata,
    Column("search", String(63), ForeignKey("oracle_searches.name"), primary_key=True),
    Column("cycle", Integer, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("replicate", Integer, primary_key=True),
    Column("max_lr", Float, primary_key=True),
)

rewritten = Table(
    "oracle_rewritten_files",
    metadata,
    Column("search", String(63), primary_key=True),  # another search of the same spec has the same keys
    Column("key", String(64), primary_key=True),  # of a finished trial whose first file was lost
    Column("sha256", String(64), nullable=False),
)

marks = Table(
    "oracle_marks",
    metadata,
    Column("number", Integer, primary_key=True),  # 1: there is one row
    Column("ledger", String(32), nullable=False),  # what tells this ledger from all others
)

digests = Table(
    "oracle_digests",
    metadata,
    Column("search", String(63), primary_key=True),
    Column("row", String(64), primary_key=True),  # of which table, and what tells it from the others there
    Column("digest", String(16), nullable=False),
)

leases = Table(
    "oracle_leases",
    metadata,
    Column("search", String(63), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    Column("beat", Integer, nullable=False),
)

stops = Table(
    "oracle_stops",
    metadata,
    Column("owner", String(32), primary_key=True),  # of a lease: who is asked to give it back
)


MOST = 2**63 - 1
"""The largest whole number that tables and frames take."""

LATEST = 9e9
"""The latest time, in seconds since 1970, that every calendar takes: in the year 2255."""

_KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
    str: ("a text", (str,)),
    dict: ("an object", (dict,)),
    list: ("a list", (list,)),
}
_LONGEST = 60


class DamagedValue(ValueError):
    """A value that can't stand where it does; the message says why."""


class Broken:
    """Stands for a text that is no JSON."""

    def __init__(self, text: object) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"{self._text!r}, which is no JSON"


def parsed(text: Any) -> Any:
    """The value of a JSON text; :class:`Broken` if it is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return Broken(text)


def checked(
    name: str,
    value: Any,
    kind: type,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    finite: bool = True,
) -> Any:
    """A value of a row.

    Args:
        name: What it is called.
        value: The value.
        kind: ``int``, ``float``, ``bool``, ``str``, ``dict`` or ``list``.
        low: The least that a number may be.
        high: The most; of whole numbers at most :data:`MOST`.
        finite: Whether a number must be finite; else None stands for NaN.

    Raises:
        DamagedValue: It is of another kind, or out of range.
    """
    words, types = _KINDS[kind]
    if not finite and value is None:
        return math.nan
    if type(value) not in types or (kind is str and not is_text(value)):
        raise DamagedValue(f"{name} is {_shown(value)}, not {words}")
    if kind not in (int, float):
        return value
    if kind is float:
        value = float(value) if abs(value) < 2**1000 else math.copysign(math.inf, value)
    if not (math.isfinite(value) or not finite):
        raise DamagedValue(f"{name} is {_shown(value)}, which is not finite")
    high = min(high, MOST) if kind is int else high
    if not (low <= value <= high) and (finite or not math.isnan(value)):
        raise DamagedValue(f"{name} is {_shown(value)}, not in [{low:g}, {high:g}]")
    return value


@contextmanager
def reading(search: str, row: str) -> Iterator[None]:
    """Makes what is wrong with a row one line that names it.

    Args:
        search: The search.
        row: The row in words, and what would do: "cycle 3, trial 5 of study 's/cycle-03'; delete it".

    Raises:
        Refused: A value is damaged, or missing.
    """
    try:
        yield
    except (DamagedValue, InvalidInput) as damaged:
        why = str(damaged)
    except KeyError as missing:
        why = f"{missing.args[0]} is missing"
    else:
        return
    place, _, would_do = row.partition("; ")
    raise Refused(f"ledger: search {search!r}, {place}: {why}; {would_do or 'put back what was there'}")


def is_text(value: str) -> bool:
    """Whether it can be written to a file or a database: a lone half of a surrogate pair can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


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
    name = literal(f"{table.name} ") + _MARKS[table].cast(String)
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
    there = select(literal(f"{table.name} ") + _MARKS[table].cast(String)).where(_search_of(table) == search)
    lost = (digests.c.search == search) & digests.c.row.startswith(f"{table.name} ", autoescape=True)
    query = select(func.count()).select_from(digests).where(lost & digests.c.row.not_in(there))
    return connection.execute(query).scalar_one()


def _search_of(table: Table) -> Any:
    return table.c.name if table is searches else table.c.search


_MEND = "put back what was there, or delete the row and run the search again"


def add_choices(ledger: Ledger, search: str, chosen: Sequence[Choice]) -> None:
    """Writes choices; a cycle that has one keeps it."""
    if chosen:
        ledger.retries.call(lambda _: _write_choices(ledger, search, chosen))


def _write_choices(ledger: Ledger, search: str, chosen: Sequence[Choice]) -> None:
    cycles = choices.c.cycle.in_([choice.cycle for choice in chosen])
    with ledger.engine.connect() as connection:
        query = select(choices.c.cycle).where(choices.c.search == search, cycles)
        known = set(connection.execute(query).scalars())
    rows = [
        {
            "search": search,
            "cycle": choice.cycle,
            "max_lr": choice.max_lr,
            "rule": choice.rule,
            "replicates": choice.replicates,
        }
        for choice in chosen
        if choice.cycle not in known
    ]
    if rows:
        with ledger.engine.begin() as connection:
            connection.execute(insert(choices), rows)
            write_digests(connection, choices, search, [row["cycle"] for row in rows])


def forget_choices(ledger: Ledger, search: str, cycles: Sequence[int]) -> None:
    """Removes the choices of cycles whose trainings are no more."""

    def forget(_again: bool) -> None:
        with ledger.engine.begin() as connection:
            gone = (choices.c.search == search) & choices.c.cycle.in_(cycles)
            connection.execute(delete(choices).where(gone))
            write_digests(connection, choices, search, cycles)

    if cycles:
        ledger.retries.call(forget)


def read_choices(ledger: Ledger, search: str) -> tuple[Choice, ...]:
    """The choices of a search, by cycle; none of one that was run before they were kept."""
    return ledger.retries.call(lambda _: _choices_of(ledger, search))


def _choices_of(ledger: Ledger, search: str) -> tuple[Choice, ...]:
    with ledger.engine.connect() as connection:
        query = with_digests(choices).where(choices.c.search == search).order_by(choices.c.cycle)
        rows = connection.execute(query).all()
    return tuple(_choice(search, row) for row in rows)


def _choice(search: str, row: Row[Any]) -> Choice:
    with reading(search, f"cycle {row.cycle} of oracle_choices; {_MEND}"):
        if row.rule not in get_args(Rule):
            raise DamagedValue(f"rule is {row.rule!r}, none of {', '.join(get_args(Rule))}")
        choice = Choice(
            cycle=checked("cycle", row.cycle, int, low=0),
            max_lr=checked("max_lr", row.max_lr, float, low=sys.float_info.min),
            rule=cast(Rule, row.rule),
            replicates=checked("replicates", row.replicates, int, low=1),
        )
        check_digest(row)
        return choice


_PLACE = ("cycle", "round", "replicate")


def add_rounds(ledger: Ledger, search: str, cycles: Mapping[int, Sequence[Round]]) -> None:
    """Writes the rounds of some cycles, in place of what is there of them."""
    if cycles:
        ledger.retries.call(lambda _: _write_rounds(ledger, search, cycles))


def _write_rounds(ledger: Ledger, search: str, cycles: Mapping[int, Sequence[Round]]) -> None:
    rows = [
        {"search": search, "cycle": cycle, "round": turn, "replicate": replicate, "max_lr": rate}
        for cycle, rounds in cycles.items()
        for turn, each in enumerate(rounds)
        for replicate, rates in each.items()
        for rate in rates
    ]
    with ledger.engine.begin() as connection:
        connection.execute(delete(asked).where(asked.c.search == search, asked.c.cycle.in_(list(cycles))))
        if rows:
            connection.execute(insert(asked), rows)


def read_rounds(ledger: Ledger, search: str) -> dict[int, tuple[Round, ...]]:
    """Cycle to its rounds, as they were asked for."""
    return ledger.retries.call(lambda _: _rounds_of(ledger, search))


def _rounds_of(ledger: Ledger, search: str) -> dict[int, tuple[Round, ...]]:
    order = asked.c.cycle, asked.c.round, asked.c.replicate, asked.c.max_lr
    with ledger.engine.connect() as connection:
        rows = connection.execute(select(*order).where(asked.c.search == search).order_by(*order)).all()
    found: dict[int, dict[int, dict[int, list[float]]]] = {}
    for row in rows:
        with reading(search, f"cycle {row.cycle} of oracle_asked"):
            cycle, turn, replicate = (checked(name, getattr(row, name), int, low=0) for name in _PLACE)
            rate = checked("max_lr", row.max_lr, float, low=sys.float_info.min)
        found.setdefault(cycle, {}).setdefault(turn, {}).setdefault(replicate, []).append(rate)
    return {
        cycle: tuple({r: tuple(rates) for r, rates in rounds[turn].items()} for turn in sorted(rounds))
        for cycle, rounds in found.items()
    }
