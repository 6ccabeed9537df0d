"""The contract of drivers: run a session's tasks to the outcomes that one process finds, whatever goes wrong.

In a test of a driver of one's own, here with pytest::

    from oracle.testing.drivers import DRIVER_CHECKS

    @pytest.mark.parametrize("check", DRIVER_CHECKS)
    def test_our_driver(check, tmp_path):
        check(our_driver.run, tmp_path)

A driver's workers must see the folder, and be able to import ``oracle.testing.networks``.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from oracle.cycles import Cycle
from oracle.ledger import Ledger
from oracle.observers import Observer
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from oracle.testing.sessions import Place, open_session, results, run_in_process, small_spec
from trials.checkpoints import Store
from trials.tasks import Task, Trial
from trials.testing.assertions import require, require_same

Driver = Callable[[Session], Signal]
"""Runs a started session until it asks for nothing more; gives what it said last."""


def check_outcomes(run: Driver, folder: Path) -> None:
    """Checks that every trial is found as one process finds it, and written once."""
    heard = _Heard()
    with open_session(_spec(folder), observers=[heard]) as session:
        require_same(run(session), Signal.DONE, "a search that nothing disturbs ends")
    _check_end(session)
    require_same(heard.reasons, [], "no task is tried again")


def check_failures(run: Driver, folder: Path) -> None:
    """Checks that a training that raises is an answer: it is tried again, and nothing else happens."""
    heard = _Heard()
    with open_session(_spec(folder), observers=[heard]) as session:
        _flag(folder).touch()
        require_same(run(session), Signal.DONE, "a task that failed once is tried again")
    require(len(heard.reasons) == 1, f"one task has failed, once, but these were heard: {heard.reasons}")
    require("as it was told to" in heard.reasons[0], f"the reason isn't the error's text: {heard.reasons[0]}")
    _check_end(session)


def check_stuck(run: Driver, folder: Path) -> None:
    """Checks that a training that always raises ends the run in order, and that the next one goes on."""
    with open_session(_spec(folder, once=False)) as session:
        _flag(folder).touch()
        require_same(run(session), Signal.STUCK, "a task that always fails is given up")
        written = session.ledger.outcomes(session.spec.name)
        require_same(written, {}, "a search whose tasks all fail has no outcomes")
    _flag(folder).unlink()
    with open_session(_spec(folder, once=False)) as session:
        require_same(run(session), Signal.DONE, "what was given up is tried again by the next run")
    _check_end(session)


def check_damage(run: Driver, folder: Path) -> None:
    """Checks that a network whose file is damaged is trained again, to the same bytes."""
    heard, damage = _Heard(), _Damage()
    with open_session(_spec(folder), observers=[heard, damage]) as session:
        require_same(run(session), Signal.DONE, "a damaged file is made again")
    wanted = [f"{damage.path} is missing or damaged"]
    require_same(heard.reasons, wanted, "who reads a damaged file says that it is")
    _check_end(session)


def check_resuming(run: Driver, folder: Path) -> None:
    """Checks that what an observer raises ends the run, and that the next one trains only what is left."""
    with open_session(_spec(folder), observers=[_Stop()]) as session:
        with suppress(_Stopped):
            ended = run(session)
            raise AssertionError(f"the driver hid what its session raised, and gave {ended}")
        written = session.ledger.outcomes(session.spec.name)
    heard = _Heard()
    with open_session(_spec(folder), observers=[heard]) as session:
        require(written, "nothing that was finished is in the ledger")
        require_same(session.resumed, len(written), "what was finished is taken from the ledger")
        require_same(run(session), Signal.DONE, "a search goes on where it was stopped")
        again = heard.places & {_place(trial) for trial in written.values()}
    require(not again, f"trained although they were finished: {again}")
    _check_end(session)


DRIVER_CHECKS = (check_outcomes, check_failures, check_stuck, check_damage, check_resuming)
"""All of them."""


class _Stopped(Exception):
    """Ends a run."""


class _Heard(Observer):
    """Notes what was trained, and why tasks were tried again."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.places: set[Place] = set()

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        self.places |= set(map(_place, outcomes))

    def retried(self, session: Session, task: Task, reason: str) -> None:
        self.reasons.append(reason)


class _Stop(Observer):
    """Ends the run at the second result."""

    def __init__(self) -> None:
        self._results = 0

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        self._results += 1
        if self._results == 2:
            raise _Stopped


class _Damage(Observer):
    """Flips a bit of the network that the first cycle has selected."""

    def __init__(self) -> None:
        self.path = ""

    def decided(self, session: Session, decision: Cycle) -> None:
        if decision.cycle == 0:
            self.path = session.search.checkpoint(0, 0).path
            file = Path(session.spec.storage_root()) / self.path
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)


def _flag(folder: Path) -> Path:
    """The file that makes trainings fail. It comes once a session is open, whose preflight trains, too."""
    return folder / "fails"


def _spec(folder: Path, *, once: bool = True) -> Spec:
    """A search of twelve trials at least, two to a pack."""
    changes: dict[str, Any] = {
        "network": {
            "name": "oracle.testing.networks:Failing",
            "arguments": {"flag": str(_flag(folder)), "once": once},
        },
        "cycles": 2,
        "grid": {"low": 0.01, "high": 0.1, "points": 3, "extend": False},
        "training": {"epochs": 1, "batch_size": 64, "pack": 2, "compile": False},
        "resources": {"workers": 1},
    }
    return small_spec(folder, **changes)


@functools.cache
def _expected() -> dict[Place, tuple[Any, ...]]:
    """The outcomes that one process finds."""
    with tempfile.TemporaryDirectory() as folder:
        return results(run_in_process(_spec(Path(folder))))


def _place(trial: Trial) -> Place:
    return trial.cycle, trial.replicate, trial.max_lr


def _rows(spec: Spec) -> list[Place]:
    """The finished rows of a search, as Optuna reads them."""
    ledger = Ledger(spec.ledger)
    try:
        return [
            (cycle, row.user_attrs["replicate"], row.params["max_lr"])
            for cycle in range(spec.cycles)
            for row in ledger.cycle_study(spec.name, cycle).get_trials(states=(TrialState.COMPLETE,))
        ]
    finally:
        ledger.close()


def _check_end(session: Session) -> None:
    """Checks outcomes, rows and the files that a later cycle could need."""
    spec = session.spec
    found, expected = results(session), _expected()
    other = {
        place: (found.get(place), wanted) for place, wanted in expected.items() if found.get(place) != wanted
    }
    require(not other, f"outcomes are not those of one process (place: found, wanted): {other}")
    require_same(sorted(found), sorted(expected), "the trials are those of one process")
    require_same(sorted(_rows(spec)), sorted(expected), "every trial is in the ledger, once")
    store = Store(spec.storage_root())
    for replicate in range(spec.replicates):
        store.read(session.search.checkpoint(spec.cycles - 1, replicate))
