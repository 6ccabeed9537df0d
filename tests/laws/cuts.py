"""Searches on a PostgreSQL whose connections are cut again and again.

    python -m tests.laws.cuts FOLDER SEARCHES READERS [SEED] [SECONDS]

Every two seconds, or so many, a superuser ends all connections of the ledger's database, while searches are
run and read by processes of their own. None ends otherwise than well, and each search leaves what one leaves
that nobody disturbed. How often connections were cut is printed as JSON, and how often each command was run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.laws.kills import RUN, command, ended, left, prepare, start
from tests.postgresql import Server, running_server

READS = ("status", "report", "export", "list")
NOT_YET = ("no search '", "no cycle is decided", "there is no ledger in this database")
"""What a reader may be told while a search begins."""


def cut(server: Server, database: str, log: Path, seconds: float) -> int:
    """Starts a process that ends all other connections of a database again and again; gives its number."""
    child = os.fork()
    if child:
        return child
    ends = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    try:
        with server.connect("postgres") as connection, log.open("a") as file:
            while True:
                time.sleep(seconds)
                (count,) = connection.execute(ends, [database]).fetchone() or (0,)
                print(count, file=file, flush=True)
    finally:
        os._exit(99)


@contextmanager
def cutting(server: Server, database: str, log: Path, seconds: float) -> Iterator[None]:
    """Cuts connections while this lasts."""
    child = cut(server, database, log, seconds)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        ended(child)


def campaign(root: Path, searches: int, readers: int, seed: int = 0, seconds: float = 2) -> None:
    """Runs one search undisturbed, then so many at once that are read and cut off."""
    drawn = random.Random(seed)
    os.environ.setdefault("ORACLE_LEDGER_PATIENCE", "600")  # a busy machine does little between two cuts
    with running_server() as server:
        url = server.database()
        names = ["whole", *(f"search-{number}" for number in range(searches))]
        folders = {name: prepare(root / name, 4, name=name, ledger=url) for name in names}
        assert command(folders["whole"], RUN) == 0, (folders["whole"] / "log").read_text()
        whole = left(folders["whole"], "whole", url)
        run = Counter[str]()
        with cutting(server, url.rpartition("/")[2], root / "cuts", seconds):
            running = {start(folders[name], RUN): name for name in names[1:]}
            reading = dict(_read(root, url, drawn, names, run) for _ in range(readers))
            while running:
                child, status = os.waitpid(-1, 0)
                code = os.waitstatus_to_exitcode(status)
                if child in running:
                    name = running.pop(child)
                    assert code == 0, (name, code, (folders[name] / "log").read_text())
                else:
                    _check_read(reading.pop(child), code)
                    reading |= [_read(root, url, drawn, names, run)]
            for child, place in reading.items():
                _check_read(place, ended(child))
        for name in names[1:]:
            assert "Traceback" not in (folders[name] / "log").read_text(), name
            found = left(folders[name], name, url)
            assert found == whole, (name, [part for part in whole if found[part] != whole[part]])
    cuts = [int(line) for line in (root / "cuts").read_text().split()]
    print(json.dumps({"searches": searches, "cuts": len(cuts), "connections": sum(cuts), "reads": run}))


def _read(
    root: Path, url: str, drawn: random.Random, names: list[str], run: Counter[str]
) -> tuple[int, Path]:
    """Starts a command that looks; gives its number and its folder."""
    what, name = drawn.choice(READS), drawn.choice(names)
    run[what] += 1
    place = root / f"read-{run.total()}"
    place.mkdir()
    return start(place, (what, *([name] if what != "list" else []), "--ledger", url)), place


def _check_read(place: Path, code: int) -> None:
    told = (place / "log").read_text()
    assert "Traceback" not in told, told
    assert code == 0 or any(each in told for each in NOT_YET), (place.name, code, told)


if __name__ == "__main__":
    campaign(Path(sys.argv[1]), *map(int, sys.argv[2:]))
