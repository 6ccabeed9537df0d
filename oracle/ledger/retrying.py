"""Tries again while the ledger's database is away: restarted, out of reach, locked, or its disk full."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from silo.errors import InvalidInput
from trials.secrets import without_secrets

SECONDS = 120.0
"""How long an outage may last; the environment's ``ORACLE_LEDGER_PATIENCE`` sets another bound."""

DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
"""Errors that an operation of the ledger raises if its database fails."""

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
