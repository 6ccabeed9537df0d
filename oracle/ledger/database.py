"""Opening the ledger's database: Optuna's storage and our tables on one engine."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import URL, create_engine, event, func, inspect, make_url, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from oracle.errors import Refused
from oracle.ledger import tables
from oracle.ledger.retrying import reason
from silo.errors import InvalidInput

_SQLITE_TIMEOUT_SECONDS = 15
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


def check_url(url: str) -> URL:
    """The parsed URL of a ledger.

    Raises:
        InvalidInput: It is no database URL, or one that can't be used; the message hides the password.
    """
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
    if "{" in url or "}" in url:
        raise InvalidInput("ledger: braces can't stand in a ledger's URL; write them as %7B and %7D")
    return parsed


def open_storage(url: str, *, create: bool) -> RDBStorage:
    """Optuna's storage on the ledger's database, our tables beside it.

    Args:
        url: SQLAlchemy URL.
        create: Whether a database without a ledger gets one.

    Raises:
        InvalidInput: The URL is none.
        Refused: The database can't be reached, has no ledger, or one of another version.
    """
    parsed = check_url(url)
    _check(parsed, create=create)
    for attempt in range(_CREATE_ATTEMPTS):
        try:
            with _alone(parsed) if create else nullcontext():
                return _open(parsed)
        except (DBAPIError, IntegrityError) as error:  # another process creates the same tables just now
            if attempt + 1 == _CREATE_ATTEMPTS:
                raise Refused(f"ledger {_shown(parsed)}: can't be opened ({reason(error)})") from error
            time.sleep(random.uniform(0.05, 0.2) * (attempt + 1))
        except RuntimeError as error:
            raise Refused(
                f"ledger {_shown(parsed)}: made by another version of Optuna than {optuna.__version__}; "
                "install that version, or name a new ledger"
            ) from error
    raise AssertionError("unreachable")


def _check(url: URL, *, create: bool) -> None:
    """Looks at the database without changing it; makes SQLite's folder and turns its WAL on if it is new."""
    database = Path(url.database) if _is_sqlite_file(url) and url.database else None
    if database is not None and not database.exists():
        if not create:
            raise Refused(f"ledger {_shown(url)}: there is no such file; 'oracle run' makes it")
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(
                f"ledger {_shown(url)}: its folder can't be made ({error.strerror}); name another place"
            ) from error
    try:
        engine = create_engine(url, connect_args=_connect_args(url))
    except ImportError as error:
        raise Refused(
            f"ledger {_shown(url)}: its driver is not installed; pip install 'silo-oracle[postgresql]'"
        ) from error
    try:
        with engine.connect() as connection:
            _check_version(connection, url, create=create)
            if database is not None and create:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    except SQLAlchemyError as error:
        raise Refused(
            f"ledger {_shown(url)}: the database can't be used ({reason(error)}); "
            "check that it runs, and user, password and place"
        ) from error
    finally:
        engine.dispose()


def _check_version(connection: Connection, url: URL, *, create: bool) -> None:
    if not inspect(connection).has_table(tables.schema.name):
        if create:
            return
        raise Refused(f"ledger {_shown(url)}: there is no ledger in this database; 'oracle run' makes it")
    version = connection.execute(select(tables.schema.c.version)).scalar()
    if version not in (None, tables.SCHEMA_VERSION):
        raise Refused(
            f"ledger {_shown(url)}: made by another version of this program (schema {version}, this one "
            f"writes {tables.SCHEMA_VERSION}); use that version, or name a new ledger"
        )


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """Lets one process at a time make PostgreSQL's tables; SQLite's don't take long to fail and try again."""
    if url.get_backend_name() == "sqlite":
        yield
        return
    engine = create_engine(url, connect_args=_connect_args(url))
    try:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_MAKING_TABLES)))
            yield
    finally:
        engine.dispose()


def _open(url: URL) -> RDBStorage:
    sqlite = url.get_backend_name() == "sqlite"
    storage = RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={"connect_args": _connect_args(url), "pool_pre_ping": not sqlite},
    )
    event.listen(storage.engine, "connect", _sqlite_settings if sqlite else _postgresql_settings)
    storage.engine.dispose()
    tables.metadata.create_all(storage.engine)
    with storage.engine.begin() as connection:
        if connection.execute(select(tables.schema.c.version)).scalar() is None:
            connection.execute(tables.schema.insert().values(version=tables.SCHEMA_VERSION))
    return storage


def _sqlite_settings(connection: object, _record: object) -> None:
    """FULL: what is committed survives a power cut, not only the end of the process."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _postgresql_settings(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for statement in _POSTGRESQL_SETTINGS:
        cursor.execute(statement)
    cursor.close()
    connection.commit()  # type: ignore[attr-defined]


def _connect_args(url: URL) -> dict[str, object]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": _SQLITE_TIMEOUT_SECONDS}
    return {name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in url.query}


def _is_sqlite_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
