"""The lease: one driver at a time per search, whatever the clocks of the machines say."""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil
from sqlalchemy import Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from oracle.errors import LeaseLost, Refused
from oracle.ledger.database import DATABASE_ERRORS, Retries, retried
from oracle.ledger.tables import checked, leases, reading, stops

_Row = Row[tuple[object, ...]]

SECONDS = 20.0
"""A lease that has not been renewed for so long, watched by the contender's own clock, is taken over."""


_HELD: set[str] = set()
"""Owners of the leases that this process holds: a row that it couldn't delete is nobody's."""


class Lease:
    """A row that its owner renews by counting ``beat`` up.

    A contender never compares times of two machines: it takes a lease over when the owner's process on this
    very host has ended, or when it has watched ``beat`` stand still for :data:`SECONDS`.

    Args:
        engine: The ledger's database.
        search: The search to lease.
        retries: For how long the database may be away.
        waiting: Called once with a line if the contender has to watch before it knows.
        stopped: Called, in another thread, when somebody asks for the search to stop.
    """

    def __init__(
        self,
        engine: Engine,
        search: str,
        *,
        retries: Retries | None = None,
        waiting: Callable[[str], None] = lambda _: None,
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self.retries = retries or Retries()
        self._engine, self._search, self._waiting, self._stopped = engine, search, waiting, stopped
        self._owner, self._lost, self._asked = uuid.uuid4().hex, False, False
        self._stop = threading.Event()
        self._renewed = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        _HELD.add(self._owner)
        try:
            self._take()
        except BaseException:
            _HELD.discard(self._owner)
            raise
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._renew_forever, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(SECONDS / 4)  # it may hang in a database that is away
        try:
            if error is None:
                self._release()
                return
            self.retries.give_up()
            with suppress(*DATABASE_ERRORS):  # what is left behind is taken over
                self._release()
        finally:
            _HELD.discard(self._owner)

    def _take(self) -> None:
        while not self._insert():
            current = self._current()
            if current is None:
                continue
            if not _is_dead(current):
                self._watch(current)
            self._evict(current)

    def check(self) -> None:
        """Makes sure that the lease is still ours; asks the database if it was not renewed in time.

        Raises:
            LeaseLost: Another driver has taken the search over.
            KeyboardInterrupt: Somebody asked for the search to stop, and the interrupt has not come through:
                this process ignores it, or the search runs in another thread than the first.
        """
        if self._asked:
            raise KeyboardInterrupt
        if not self._lost and time.monotonic() - self._renewed > SECONDS:
            self.retries.call(lambda _: self._renew())
        if self._lost:
            raise LeaseLost(f"search {self._search!r} was taken over by another driver; this one stops")

    @retried
    def _insert(self) -> bool:
        row = {
            "search": self._search,
            "owner": self._owner,
            "host": this_host(),
            "pid": os.getpid(),
            "process_started": start_of(os.getpid()),
            "beat": 0,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(leases).values(**row))
        except IntegrityError:  # or it is ours, by a try whose answer was lost
            current = self._current()
            return current is not None and current.owner == self._owner
        return True

    @retried
    def _release(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(stops).where(stops.c.owner == self._owner))
            connection.execute(
                delete(leases).where(leases.c.search == self._search, leases.c.owner == self._owner)
            )

    @retried
    def _current(self) -> _Row | None:
        return leased(self._engine, self._search)

    def _watch(self, seen: _Row) -> None:
        """Waits until the lease has stood still for long enough; refuses as soon as it is renewed."""
        holder, here = _named(seen), seen.host == this_host()
        if not here:
            self._waiting(f"search {self._search!r} is leased to {holder}; watching whether it still runs")
        if here or _renewed(seen, self._current):
            raise Refused(
                f"search {self._search!r} is being run by {holder}; stop that one first, or wait for it"
            )

    @retried
    def _evict(self, seen: _Row) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                delete(leases).where(
                    leases.c.search == self._search,
                    leases.c.owner == seen.owner,
                    leases.c.beat == seen.beat,
                )
            )

    def _renew_forever(self) -> None:
        asked = False
        while not self._stop.wait(SECONDS / 5) and not self._lost:
            try:
                self._renew()
                if not asked and self._is_asked_to_stop():
                    asked = self._asked = True
                    self._stopped()
            except DATABASE_ERRORS:
                continue  # the database is away; check() asks again before anything is written

    def _is_asked_to_stop(self) -> bool:
        with self._engine.connect() as connection:
            query = select(stops.c.owner).where(stops.c.owner == self._owner)
            return connection.execute(query).one_or_none() is not None

    def _renew(self) -> None:
        with self._engine.begin() as connection:
            result = connection.execute(
                update(leases)
                .where(leases.c.search == self._search, leases.c.owner == self._owner)
                .values(beat=leases.c.beat + 1)
            )
        self._lost = result.rowcount == 0
        self._renewed = time.monotonic()


def holder(
    read: Callable[[], _Row | None],
    search: str,
    *,
    watched: bool = False,
    waiting: Callable[[str], None] = lambda _: None,
) -> str | None:
    """Who runs a search: ``process PID on HOST``; None if nobody does.

    Args:
        read: Reads the search's lease.
        search: The search.
        watched: Whether a lease of another machine is watched until it is renewed, or has ended: within
            :data:`SECONDS` in which the database answers. Else it is believed.
        waiting: Called once with a line if it has to be watched.
    """
    row = read()
    if row is None or _is_dead(row):
        return None
    named = _named(row)
    if not watched or row.host == this_host():
        return named
    waiting(f"search {search!r} is leased to {named}; watching whether it still runs")
    renewed = _renewed(row, read)
    return _named(renewed) if renewed else None


def _renewed(seen: _Row, read: Callable[[], _Row | None]) -> _Row | None:
    """A lease once it is another or has been renewed; None if it is given back or stood still long enough.

    Only an unbroken watch counts: while the database is away, its holder can't renew the lease either.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(SECONDS / 20)
        asked = time.monotonic()
        now = read()
        if time.monotonic() - asked > SECONDS / 4:
            deadline = time.monotonic() + SECONDS
        if now is None or (now.owner, now.beat) != (seen.owner, seen.beat):
            return now
    return None


def leased(engine: Engine, search: str) -> _Row | None:
    """The row of a search's lease; None if there is none."""
    with engine.connect() as connection:
        return _checked(search, connection.execute(select(leases).where(leases.c.search == search)).first())


def _checked(search: str, row: _Row | None) -> _Row | None:
    if row is not None:
        with reading(search, "its row of oracle_leases; delete it, if nobody runs the search"):
            for name, kind in (("owner", str), ("host", str), ("pid", int), ("beat", int)):
                checked(name, getattr(row, name), kind)
            checked("process_started", row.process_started, float)
    return row


def _named(row: _Row) -> str:
    return f"process {row.pid} on {str(row.host).split('/')[0]}"


def ask_to_stop(engine: Engine, search: str) -> bool:
    """Asks who runs a search, on whatever machine, to stop; gives whether anybody runs it."""
    with engine.begin() as connection:
        row = _checked(search, connection.execute(select(leases).where(leases.c.search == search)).first())
        if row is None or _is_dead(row):
            return False
        connection.execute(delete(stops).where(stops.c.owner == row.owner))
        connection.execute(insert(stops).values(owner=row.owner))
    return True


def _is_dead(row: _Row) -> bool:
    """Whether the holder is known to have ended: a process of this host that is no more, or this very one."""
    if row.host != this_host():
        return False
    if row.pid == os.getpid() and row.owner not in _HELD:
        return True
    started = start_of(int(str(row.pid)))
    return started is None or abs(started - float(str(row.process_started))) > 1.0


_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START_TIME = 3 - 3, 22 - 3  # fields of /proc/PID/stat, counted from its third on


def this_host() -> str:
    """The place in which a process's number and start mean the same: host, boot, and what ``/proc`` shows.

    The node's name stands before the first slash.
    """
    if not _BOOT.exists():
        return f"{platform.node()}/{int(psutil.boot_time())}"
    return f"{platform.node()}/{_BOOT.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"


def start_of(pid: int) -> float | None:
    """When a process of this host was started; None if it is no more.

    On Linux in clock ticks since boot, whatever the clock is set to; elsewhere in seconds since 1970.
    """
    if not _BOOT.exists():
        try:
            return psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return None
    try:
        # The name in parentheses is the process's own choice, and may hold both spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE] in "ZX" else float(fields[_START_TIME])
