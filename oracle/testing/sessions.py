"""Small searches, and sessions on them as ``oracle run`` makes them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oracle import preflight
from oracle.drivers import in_process
from oracle.execution import room
from oracle.ledger import Ledger
from oracle.observers import Observer
from oracle.session import Session
from oracle.spec import Spec

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

Place = tuple[int, int, float]
"""A trial's cycle, replicate and max_lr."""


def small_data(folder: Path, **changes: Any) -> dict[str, Any]:
    """Gives the fields of a search of a second or two, with its networks and ledger below a folder."""
    data = copy.deepcopy(SMALL)
    data |= {"storage": str(folder / "networks"), "ledger": f"sqlite:///{folder}/ledger.db"}
    return data | changes


def small_spec(folder: Path, **changes: Any) -> Spec:
    """Gives the spec of :func:`small_data`."""
    return Spec(**small_data(folder, **changes))


@contextmanager
def open_session(spec: Spec, *, observers: Sequence[Observer] = (), attempts: int = 3) -> Iterator[Session]:
    """Opens a session on the spec's ledger, which is made if there is none, and holds its lease."""
    facts = preflight.examine(spec, preflight.open_runner(spec))
    ledger = Ledger(spec.ledger, create=True)
    try:
        record = preflight.prepare(spec, facts, ledger)
        with ledger.lease(spec.name) as lease:
            graphs = facts.graphs if facts.execution == record.execution else ()
            session = Session(
                spec,
                record,
                ledger,
                lease,
                graphs=graphs,
                observers=observers,
                attempts=attempts,
                workers=room(spec),
            )
            session.start()
            yield session
    finally:
        ledger.close()


def run_in_process(spec: Spec, *, observers: Sequence[Observer] = (), attempts: int = 3) -> Session:
    """Runs a search to its end in this process."""
    with open_session(spec, observers=observers, attempts=attempts) as session:
        in_process.run(session)
        return session


def results(session: Session) -> dict[Place, tuple[Any, ...]]:
    """Gives what a search found, without times, places and workers."""
    return {
        (t.cycle, t.replicate, t.max_lr): (t.score, t.test_score, t.best_step, t.checkpoint.sha256)
        for t in session.search.outcomes()
    }
