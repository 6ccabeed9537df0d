"""A throwaway PostgreSQL server for the tests: on loopback only, in a folder that is removed with it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

NEEDED = "ORACLE_TESTS_NEED_POSTGRESQL"
USER, PASSWORD = "searcher", "pass-Word/0f-the:tests"
_SETTINGS = "-h 127.0.0.1 -k '' -c fsync=off -c shared_buffers=32MB -c max_connections=60"


def programs() -> Path | None:
    """The folder of the server's programs; None if they are not installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return installed[-1].parent if installed else None


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that runs; skips the test where none is installed, unless the environment says it must be."""
    found = programs()
    if found is None:
        reason = "PostgreSQL's initdb is neither on the PATH nor below /usr/lib/postgresql"
        if os.environ.get(NEEDED):
            pytest.fail(f"{reason}, and {NEEDED} is set")
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="oracle-postgresql-") as folder:
        server = Server(Path(folder), found)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


class Server:
    """A server that can be stopped and started again on the same port."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        self._numbers = itertools.count()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # initdb refuses root
            names = {entry.pw_name for entry in pwd.getpwall()}
            owner = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            self._owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if self._owner:
            os.chown(secret, self._owner["user"], self._owner["group"])
        login = ("-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}")
        self._do("initdb", "--no-sync", "-E", "UTF8", "--locale=C", *login)

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        log = self._folder / "log"
        self._do("pg_ctl", "start", "-w", "-l", str(log), "-o", f"-p {self.port} {_SETTINGS}")

    def stop(self, mode: str = "fast") -> None:
        """Stops it: ``fast`` ends its connections, ``immediate`` kills it, to recover at the next start."""
        self._do("pg_ctl", "stop", "-w", "-m", mode)

    def database(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"ledger_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        quoted = PASSWORD.replace("/", "%2F").replace(":", "%3A")
        return f"postgresql+psycopg://{USER}:{quoted}@127.0.0.1:{self.port}/{name}"

    def connect(self, database: str) -> psycopg.Connection:
        """A connection of the test's own."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **self._owner,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")
