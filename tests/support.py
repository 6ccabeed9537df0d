"""Small searches for the tests."""

from __future__ import annotations

import copy
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oracle import preflight
from oracle.drivers import in_process
from oracle.ledger import Ledger
from oracle.session import Session
from oracle.spec import Spec

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="compiling a step takes a C++ compiler"
)

SMALL: dict[str, Any] = {
    "name": "small",
    "network": {"name": "fc", "arguments": {"hidden": [16]}},
    "dataset": "digits",
    "cycles": 3,
    "replicates": 2,
    "grid": {"low": 0.01, "high": 0.4, "points": 5, "limit": 2},
    "training": {"epochs": 2, "batch_size": 64},
    "silo": {"q": 1, "beta": 5, "epsilon": 0.05, "delta": 0.1},
}


def small_spec(folder: Path, **changes: Any) -> Spec:
    """A search of a second or two, with its networks and ledger below a folder."""
    return Spec.model_validate(small_data(folder, **changes))


def small_data(folder: Path, **changes: Any) -> dict[str, Any]:
    """The fields of :func:`small_spec`."""
    data = copy.deepcopy(SMALL)
    data |= {"storage": str(folder / "networks"), "ledger": f"sqlite:///{folder}/ledger.db"}
    return data | changes


@contextmanager
def open_session(spec: Spec, **options: Any):
    """A session on the spec's ledger, as ``oracle run`` makes it."""
    facts = preflight.examine(spec, preflight.open_runner(spec))
    ledger = Ledger(spec.ledger, create=True)
    try:
        record = preflight.prepare(spec, facts, ledger)
        with ledger.lease(spec.name) as lease:
            graphs = facts.graphs if facts.execution == record.execution else ()
            session = Session(spec, record, ledger, lease, graphs=graphs, **options)
            session.start()
            yield session
    finally:
        ledger.close()


def run_in_process(spec: Spec, **options: Any) -> Session:
    """Runs a search to its end in this process."""
    with open_session(spec, **options) as session:
        in_process.run(session)
        return session


def results(session: Session) -> dict[tuple[int, int, float], tuple[Any, ...]]:
    """What a search found, without times, places and workers."""
    return {
        (t.cycle, t.replicate, t.max_lr): (t.accuracy, t.test_accuracy, t.best_step, t.checkpoint.sha256)
        for t in session.search.outcomes()
    }


def harm(path: Path, damage: str) -> None:
    """Deletes a file, cuts it in half, or flips a bit of a byte in its middle."""
    if damage == "deleted":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if damage == "halved":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
