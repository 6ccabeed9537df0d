"""The ledger's database: opening it, and trying again while it is away (restarted, locked, its disk full)."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_type_hints

import optuna
from alembic.util import CommandError
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, Engine, Table, create_engine, event, func, inspect, make_url, select
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from oracle.errors import Refused
from oracle.ledger.rows import OPTUNAS
from oracle.ledger.tables import (
    LATEST,
    SCHEMA_VERSION,
    DamagedValue,
    checked,
    is_text,
    metadata,
    parsed,
    reading,
    schema,
)
from silo.errors import InvalidInput
from trials.paths import expanded, unwritable
from trials.secrets import without_secrets
from trials.tasks import Execution

SECONDS = 120.0
"""How long an outage may last; the environment's ``ORACLE_LEDGER_PATIENCE`` sets another bound."""

DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
"""Errors that an operation of the ledger raises if its database fails."""


class FileReplaced(SQLAlchemyError):
    """SQLite's file is not the one any more that was opened."""


_NEWEST_LAYOUTS: dict[str, str] = {}
"""By Optuna's version, once it has been asked for."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}

_REFUSING = re.compile(
    r"FATAL: .*(authentication failed|does not exist|permission denied|no pg_hba\.conf entry)"
    r"|no password supplied|does not support SSL"
)
"""What PostgreSQL answers to a connection that it will refuse again: psycopg gives no code with it."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class _Inside(threading.local):
    """Whether the operation that a thread is inside of has been tried before; None outside of any."""

    again: bool | None = None


class Retries:
    """Tries operations again, with exponential backoff and full jitter, while the database is away.

    The bound is that of an outage, not of an operation: when it has passed, every further operation is tried
    once, until one succeeds. What is long is done in steps that are operations of their own, each of which
    does no harm when it is done twice: so it gets on, however often connections are cut, and each step that
    is done renews the patience.

    Args:
        say: Hears one line when an outage begins, and one when it has ended; by default the log.
        seconds: How long an outage may last, by default :data:`SECONDS`; the last attempt may take its own
            timeout longer.
    """

    def __init__(self, say: Callable[[str], None] | None = None, *, seconds: float | None = None) -> None:
        self._say = say or logging.getLogger("oracle").warning
        self._seconds = _patience() if seconds is None else seconds
        self._since: float | None = None
        self._said = self._given_up = False
        self._inside = _Inside()

    def call(self, operation: Callable[[bool], _Result]) -> _Result:
        """The result of an operation, tried until it doesn't fail for the database being away.

        Args:
            operation: Told whether it has been tried before: what it wrote then may be in the database,
                if only the answer to its commit was lost.
        """
        if self._inside.again is not None:  # a part of another operation, which is tried again as a whole
            return operation(self._inside.again)
        attempts = itertools.count()
        retrying = Retrying(
            retry=retry_if_exception(is_away),
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
            stop=self._is_over,
            before_sleep=self._begin,
            sleep=self._pause,
            reraise=True,
        )

        def attempt() -> _Result:
            self._inside.again = again = next(attempts) > 0
            try:
                return operation(again)
            finally:
                self._inside.again = None

        result = retrying(attempt)
        self._end()
        return result

    def give_up(self) -> None:
        """Tries each operation once from now on: the search is ending anyway."""
        self._given_up = True

    def _is_over(self, _state: RetryCallState) -> bool:
        if self._since is None:
            self._since = time.monotonic()
        return self._given_up or time.monotonic() - self._since >= self._seconds

    def _begin(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if error and not self._said:
            self._said = True
            self._say(f"the ledger is away ({reason(error)}); trying again for up to {self._seconds:g} s")

    def _pause(self, seconds: float) -> None:
        assert self._since is not None
        left = self._since + self._seconds - time.monotonic()
        try:
            time.sleep(min(seconds, max(left, 0.0)))
        except BaseException:  # interrupted: whoever did that doesn't want to wait
            self.give_up()
            raise

    def _end(self) -> None:
        if self._said and self._since is not None:
            self._say(f"the ledger is back after {time.monotonic() - self._since:.0f} s")
        self._since, self._said = None, False


class _Patient(Protocol):
    @property
    def retries(self) -> Retries: ...


_Owner = TypeVar("_Owner", bound=_Patient)


def retried(
    method: Callable[Concatenate[_Owner, _Arguments], _Result],
) -> Callable[Concatenate[_Owner, _Arguments], _Result]:
    """A method that does no harm when it is done twice, tried by its object's ``retries``."""

    @functools.wraps(method)
    def patient(self: _Owner, /, *arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        return self.retries.call(lambda _: method(self, *arguments, **options))

    return patient


def is_away(error: BaseException) -> bool:
    """Whether an operation failed for the database being away or locked, so that it may succeed later."""
    if isinstance(error, StorageInternalError):
        return error.__cause__ is not None and is_away(error.__cause__)
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _PASSING
    if _REFUSING.search(str(error.orig)):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def reason(error: BaseException) -> str:
    """The database's own words, in one line and without a password."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return reason(error.__cause__)
    origin = getattr(error, "orig", None) or error
    line: str = without_secrets(" ".join(str(origin).split()))
    return line or type(origin).__name__


def _patience() -> float:
    text = os.environ.get("ORACLE_LEDGER_PATIENCE") or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidInput(f"ORACLE_LEDGER_PATIENCE is {text!r}; give a number of seconds, such as 120")
    return seconds


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a driver.

    Attributes:
        started: Seconds since 1970.
        ended: Seconds since 1970; None if it has not ended, or was killed.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
        driver: What drove it.
        host: Where.
        versions: Package to version.
        error: First traceback of a run that failed.
    """

    started: float
    ended: float | None
    state: str
    driver: str
    host: str
    versions: dict[str, str]
    error: str | None


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search as the ledger knows it.

    Attributes:
        name: The search's name.
        spec: The spec as it was last run, as JSON-able data.
        identity: What determines its outcomes.
        execution: How its trainings are computed.
        execution_reason: Why.
        created: Seconds since 1970.
    """

    name: str
    spec: dict[str, Any]
    identity: dict[str, Any]
    execution: Execution
    execution_reason: str
    created: float


def read_record(row: Row[Any]) -> SearchRecord:
    """A search from its row.

    Raises:
        Refused: The row can't be read.
    """
    found = row._mapping
    with reading(str(found["name"]), "its row of oracle_searches"):
        given = {name: checked(name, parsed(found[name]), dict) for name in ("spec", "identity", "execution")}
        for name in ("cycles", "replicates"):
            if name in given["spec"]:
                checked(f"spec.{name}", given["spec"][name], int, low=1)
        _check_identity(given["identity"])
        return SearchRecord(
            name=checked("name", found["name"], str),
            spec=given["spec"],
            identity=given["identity"],
            execution=_execution(given["execution"]),
            execution_reason=checked("execution_reason", found["execution_reason"], str),
            created=checked("created", found["created"], float, low=0.0, high=LATEST),
        )


def _check_identity(given: Mapping[str, Any]) -> None:
    for name, least in (("classes", 1), ("validation", 0)):  # a loop of one's own may have no data set
        if given.get(name) is not None:
            checked(f"identity.{name}", given[name], int, low=least)
    for name, kind in (("recipe", dict), ("code", dict), ("data", str), ("initial", list)):
        if name in given:
            checked(f"identity.{name}", given[name], kind)
    for each in given.get("initial", ()):
        initial = checked("identity.initial", each, dict)
        checked("identity.initial.sha256", initial["sha256"], str)


def _execution(given: Mapping[str, Any]) -> Execution:
    kinds = get_type_hints(Execution)
    if unknown := sorted(given.keys() - kinds.keys()):
        raise DamagedValue(f"execution has {', '.join(unknown)}, which this version does not know")
    return Execution(
        **{name: checked(f"execution.{name}", each, kinds[name]) for name, each in given.items()}
    )


_SQLITE_TIMEOUT_SECONDS = 15
_SQLITE_OPTIONS = {"timeout"}
"""Of a URL; others make a database in memory, or one that is never locked."""
_POSTGRESQL_OPTIONS = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds: a host that vanished doesn't answer that it has
}
_POSTGRESQL_SETTINGS = ("SET lock_timeout = '30s'", "SET idle_in_transaction_session_timeout = '60s'")
"""So that the server lets go of what a connection that broke has locked, and says who waits for it."""
_CREATE_ATTEMPTS = 8
_MAKING_TABLES = 7_016_510
"""Key of the lock on a PostgreSQL database whose tables are being made."""
_REVISION = "alembic_version"
"""The table that holds the revision of Optuna's tables."""


def check_url(url: str) -> URL:
    """The parsed URL of a ledger; ``~`` and variables in the path of SQLite's file are expanded.

    Raises:
        InvalidInput: It is no database URL, or one that can't be used; the message hides the password.
    """
    if not is_text(os.path.expandvars(url)):
        shown = without_secrets(url)
        raise InvalidInput(f"ledger: {shown!r} has bytes that are no UTF-8 text; name another place")
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise InvalidInput(
            "ledger: not a database URL that is known; "
            "give sqlite:///file.db or postgresql+psycopg://user:password@host/database"
        ) from error
    driver = parsed.get_dialect().driver
    if driver not in ("pysqlite", "psycopg") or parsed.database in (None, "", ":memory:"):
        raise InvalidInput(
            f"ledger: {_shown(parsed)} can't be a ledger; "
            "give sqlite:///file.db or postgresql+psycopg://user:password@host/database"
        )
    if _is_sqlite(parsed) and parsed.database:
        if parsed.database.startswith("file:") or set(parsed.query) - _SQLITE_OPTIONS:
            raise InvalidInput(
                f"ledger: {_shown(parsed)} may be no file, or not the one that it names; give its path "
                "alone: sqlite:///file.db"
            )
        parsed = parsed.set(database=expanded(parsed.database, "ledger"))
    if set("{}") & set(str(parsed.database) if _is_sqlite(parsed) else url):
        raise InvalidInput("ledger: braces can't stand in a ledger's URL; write them as %7B and %7D")
    return parsed


def look(url: str) -> None:
    """Looks whether a ledger can be used, or made; neither makes nor changes anything.

    Raises:
        InvalidInput: The URL is none.
        Refused: The database can't be reached or written, or holds a ledger of another version.
    """
    parsed = check_url(url)
    file = Path(parsed.database) if _is_sqlite(parsed) and parsed.database else None
    if file is not None and not _is_there(parsed):
        if reason := unwritable(file.parent):
            raise Refused(
                f"ledger {_shown(parsed)}: its folder can't be written ({reason}); name another place"
            )
        return
    if file is not None and not os.access(file, os.W_OK):
        raise Refused(f"ledger {_shown(parsed)}: the file can't be written; make it writable")
    with _naming(parsed):
        _check(parsed, create=True, looks=True)


def open_storage(url: str, *, create: bool, retries: Retries) -> RDBStorage:
    """Optuna's storage on the ledger's database, our tables beside it.

    A database that is away is waited for, as it is later on.

    Args:
        url: SQLAlchemy URL.
        create: Whether a database without a ledger gets one.
        retries: For how long.

    Raises:
        InvalidInput: The URL is none.
        Refused: The database can't be reached, has no ledger, or one of another version.
    """
    parsed = check_url(url)

    def step(work: Callable[[], _Result]) -> _Result:
        """Tries a part of it by itself: one that is done is not done again if the next one fails."""
        return retries.call(lambda _: _done_or_refused(parsed, work))

    with _naming(parsed):
        missing = step(lambda: _check(parsed, create=create))
        if missing and not create and _only_read(parsed):
            raise Refused(
                f"ledger {_shown(parsed)}: made by an earlier version of this program (it has no "
                f"{min(missing)}); look at it once where it can be written"
            )
        if missing:
            _make(parsed, missing, step)
        try:
            storage = step(lambda: _connected(parsed, create=create))
            if step(storage.get_current_version) != _newest_layout(storage):
                step(storage._version_manager.check_table_schema_compatibility)
        except (RuntimeError, CommandError) as error:
            raise Refused(
                f"ledger {_shown(parsed)}: made by another version of Optuna than {optuna.__version__}; "
                "install that version, or name a new ledger"
            ) from error
    if create or not _only_read(parsed):
        settings = _sqlite_settings if _is_sqlite(parsed) else _postgresql_settings
        event.listen(storage.engine, "connect", settings)
        storage.engine.dispose()
    if _is_sqlite(parsed):
        _keep_to_file(storage.engine, storage.engine.url)
    return storage


def _newest_layout(storage: RDBStorage) -> str:
    """The layout of tables that this Optuna makes: asked once, as it reads all that there ever were."""
    if optuna.__version__ not in _NEWEST_LAYOUTS:
        _NEWEST_LAYOUTS[optuna.__version__] = storage.get_head_version()
    return _NEWEST_LAYOUTS[optuna.__version__]


def _keep_to_file(engine: Engine, url: URL) -> None:
    """Makes every use of a ledger look whether its file is still there.

    SQLite writes on in a file that was deleted, and makes a new one in its place for the next connection.
    """
    opened = _file_at(url)

    def look(*_: object) -> None:
        with suppress(OSError):
            if _file_at(url) == opened:
                return
        raise FileReplaced(
            f"the file of ledger {_shown(url)} was deleted, moved or replaced while it was in use"
        )

    event.listen(engine, "do_connect", look)
    event.listen(engine, "checkout", look)


def _file_at(url: URL) -> tuple[int, int] | None:
    """What tells a SQLite file from others of its name; None where there is none."""
    try:
        found = os.stat(str(url.database))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _done_or_refused(url: URL, work: Callable[[], _Result]) -> _Result:
    """Tells a database that is away from one in a folder where SQLite can't keep its files."""
    try:
        return work()
    except DATABASE_ERRORS as error:
        if _is_sqlite(url) and url.database and is_away(error):
            why = unwritable(Path(url.database).absolute().parent)
            if why is not None:
                raise Refused(
                    f"ledger {_shown(url)}: its folder can't be written ({why}), where SQLite keeps files of "
                    "its own; make it writable, or copy the ledger to another folder"
                ) from error
        raise


@contextmanager
def _naming(url: URL) -> Iterator[None]:
    """Makes what the database has to say one line that names the ledger."""
    try:
        yield
    except DATABASE_ERRORS as error:
        check = "that it runs, and user, password and place"
        if _is_sqlite(url):
            check = "its folder, and that there is room on its disk"
        raise Refused(
            f"ledger {_shown(url)}: the database can't be used ({reason(error)}); check {check}"
        ) from error


def _check(url: URL, *, create: bool, looks: bool = False) -> set[str]:
    """Looks at the database without changing it; gives the tables that it lacks.

    Makes SQLite's folder and turns its WAL on if it is new; with ``looks`` it does not even that.
    """
    database = Path(url.database) if _is_sqlite(url) and url.database else None
    if database is not None:
        _check_file(database, url, create=create)
    try:
        engine = create_engine(url, **_engine_options(url, create=create))
    except ImportError as error:
        raise Refused(
            f"ledger {_shown(url)}: its driver is not installed; pip install 'silo-oracle[postgresql]'"
        ) from error
    try:
        with engine.connect() as connection:
            missing = _missing(connection, url, create=create)
            if database is not None and create and not looks:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    finally:
        engine.dispose()
    return missing


def _is_there(url: URL) -> bool:
    """Whether there is a SQLite file.

    Raises:
        Refused: Nobody can tell, as its folder can't be entered.
    """
    try:
        return _file_at(url) is not None
    except OSError as error:
        raise Refused(
            f"ledger {_shown(url)}: it can't be reached ({error.strerror}); name another place, or make its "
            "folder readable"
        ) from error


def _check_file(database: Path, url: URL, *, create: bool) -> None:
    """Refuses what waiting doesn't mend; makes the folder of a new ledger."""
    if _is_there(url):
        if not database.is_file() or not os.access(database, os.R_OK):
            raise Refused(f"ledger {_shown(url)}: it is no file that can be read; make it readable")
        return
    if not create:
        raise Refused(f"ledger {_shown(url)}: there is no such file; 'oracle run' makes it")
    if database.is_symlink() and not os.path.isdir(os.path.dirname(os.path.realpath(database))):
        raise Refused(
            f"ledger {_shown(url)}: it is a link to {os.path.realpath(database)}, whose folder isn't there; "
            "make the folder, or name another place"
        )
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"ledger {_shown(url)}: its folder can't be made ({error.strerror}); name another place"
        ) from error


def _missing(connection: Connection, url: URL, *, create: bool) -> set[str]:
    there = set(inspect(connection).get_table_names())
    if schema.name not in there and not create:
        raise Refused(f"ledger {_shown(url)}: there is no ledger in this database; 'oracle run' makes it")
    version = connection.scalar(select(schema.c.version)) if schema.name in there else None
    if version not in (None, SCHEMA_VERSION):
        raise Refused(
            f"ledger {_shown(url)}: made by another version of this program (schema {version}, this one "
            f"writes {SCHEMA_VERSION}); use that version, or name a new ledger"
        )
    if version is None:  # which is written last
        there.discard(schema.name)
    return {*OPTUNAS.tables, *metadata.tables, _REVISION} - there


def _make(url: URL, missing: Collection[str], step: Callable[[Callable[[], None]], None]) -> None:
    """Makes tables that a ledger lacks, each by itself, and last what tells that all are there.

    In SQLite, where nothing is cut off, they are made together: each by itself it would write to the disk.
    """
    engine = create_engine(url, connect_args=_connect_args(url), pool_pre_ping=not _is_sqlite(url))
    tables = [table for table in (*OPTUNAS.sorted_tables, *metadata.sorted_tables) if table.name in missing]
    try:
        for some in [tables] if _is_sqlite(url) else ([table] for table in tables):
            step(partial(_alone, engine, partial(_create, some)))
        step(partial(_alone, engine, partial(_mark, url)))
    finally:
        engine.dispose()


def _create(tables: Iterable[Table], connection: Connection) -> None:
    if connection.dialect.name == "sqlite":  # whose driver begins no transaction for a table
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    for table in tables:
        table.create(connection, checkfirst=True)


def _alone(engine: Engine, make: Callable[[Connection], None]) -> None:
    """Makes something that another process may be making just now."""
    for attempt in range(_CREATE_ATTEMPTS):
        try:
            with engine.begin() as connection:
                if engine.dialect.name != "sqlite":  # where it doesn't take long to fail and try again
                    connection.execute(select(func.pg_advisory_xact_lock(_MAKING_TABLES)))
                return make(connection)
        except DBAPIError as error:
            if is_away(error) or attempt + 1 == _CREATE_ATTEMPTS:
                raise
            time.sleep(random.uniform(0.05, 0.2) * (attempt + 1))


def _mark(url: URL, connection: Connection) -> None:
    """Writes the versions of Optuna's tables and of ours."""
    _connected(url, create=True).engine.dispose()
    if connection.scalar(select(schema.c.version)) is None:
        connection.execute(schema.insert().values(version=SCHEMA_VERSION))


def _connected(url: URL, *, create: bool) -> RDBStorage:
    """Optuna's storage on tables that are there."""
    if _is_sqlite(url) and url.database:  # a later connection finds it wherever this process is by then
        url = url.set(database=os.path.abspath(url.database))
    return RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={**_engine_options(url, create=create), "pool_pre_ping": not _is_sqlite(url)},
        skip_compatibility_check=True,  # it is done later
        skip_table_creation=True,
    )


def _sqlite_settings(connection: object, _record: object) -> None:
    """FULL: what is committed survives a power cut, not only the end of the process."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
    # Bytes that are no text are seen by whoever looks at the value, and don't fail the whole query.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # type: ignore[attr-defined]


def _postgresql_settings(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for statement in _POSTGRESQL_SETTINGS:
        cursor.execute(statement)
    cursor.close()
    connection.commit()  # type: ignore[attr-defined]


def _only_read(url: URL) -> bool:
    """Whether a ledger's file, or the folder that its changes are noted in, can't be written here."""
    if not _is_sqlite(url) or not url.database or not os.path.exists(url.database):
        return False
    return not all(os.access(place, os.W_OK) for place in (url.database, Path(url.database).parent))


def _engine_options(url: URL, *, create: bool) -> dict[str, Any]:
    if create or not _only_read(url):
        return {"connect_args": _connect_args(url)}
    file = Path(str(url.database)).absolute()
    changes = file.with_name(f"{file.name}-wal")
    if changes.exists() and changes.stat().st_size and not os.access(f"{file}-shm", os.R_OK):
        raise Refused(
            f"ledger {_shown(url)}: its last changes are in {changes.name}, and can't be read where nothing "
            "can be written; copy the files of that name to a folder of yours"
        )
    # To read a database, SQLite makes notes of changes beside it, unless it is told that nobody writes.
    still = "&immutable=1" if not (changes.exists() and changes.stat().st_size) else ""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{file.as_uri()}?mode=ro{still}",
            uri=True,
            timeout=_SQLITE_TIMEOUT_SECONDS,
            check_same_thread=False,
        )

    return {"creator": connect}


def _connect_args(url: URL) -> dict[str, object]:
    if _is_sqlite(url):
        return {"timeout": _SQLITE_TIMEOUT_SECONDS}
    return {name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in url.query}


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
