"""The contract of ledgers, whatever database its URL names.

In a test of a database of one's own, here with pytest::

    from oracle.testing.ledgers import LEDGER_CHECKS

    @pytest.mark.parametrize("check", LEDGER_CHECKS)
    def test_our_database(check):
        check("postgresql+psycopg://user@host/database")

Each check writes a search of a new name, so that all of them can use one database.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import optuna
from optuna.trial import TrialState

from oracle.cycles import Choice
from oracle.errors import Refused
from oracle.grid import Grid
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.choices import add_choices, read_choices
from oracle.ledger.rows import Axis
from oracle.policies import OraclePolicy
from oracle.search import Rules, Search, Signal
from oracle.testing.replay import replay, replayed, replayed_trial
from trials.recipe import Execution
from trials.tasks import PrunedNetwork, StoredFile, Trial

AXIS = Axis(low=0.01, high=0.1, log=True)
RULES = Rules(
    policy=OraclePolicy(grid=Grid(values=(0.01, 0.03, 0.1), scale="log", limit=1)),
    cycles=3,
    replicates=2,
    tolerance=0.005,
    pack_size=2,
)


def check_outcomes(url: str) -> None:
    """Checks that an outcome comes back as it was written, to the last digit, and under its own key."""
    plain = _trial(started=1.7e9 + 0.25, ended=1.7e9 + 3.5, worker="host:1")
    for outcome in (plain, replace(plain, diverged=True, train_loss=1e-300, max_lr=1 / 3, pack=4)):
        with _search(url) as (ledger, name):
            ledger.add_outcomes(name, {"key": outcome}, axis=AXIS)
            assert ledger.outcomes(name) == {"key": outcome}


def check_lost_numbers(url: str) -> None:
    """Checks that an outcome that is no number is one when it comes back, and no error."""
    with _search(url) as (ledger, name):
        ledger.add_outcomes(name, {"key": _trial(diverged=True, train_loss=float("nan"))}, axis=AXIS)
        (found,) = ledger.outcomes(name).values()
        assert found.diverged and found.train_loss != found.train_loss


def check_studies(url: str) -> None:
    """Checks that a cycle is an Optuna study, after that of the search, with the trainings' own times."""
    with _search(url) as (ledger, name):
        ledger.add_outcomes(name, {"key": _trial(cycle=3, started=1.7e9, ended=1.7e9 + 5)}, axis=AXIS)
        study = optuna.load_study(study_name=f"{name}/cycle-03", storage=ledger.storage)
        (row,) = study.trials
        assert (row.params, row.value, row.state) == ({"max_lr": 0.05}, 0.75, TrialState.COMPLETE)
        assert row.duration is not None and row.duration.total_seconds() == 5
        axis = row.distributions["max_lr"]
        assert isinstance(axis, optuna.distributions.FloatDistribution) and axis.log
        assert study.metric_names == ["validation accuracy"]
        assert study.direction == optuna.study.StudyDirection.MAXIMIZE
        numbers = {found.study_name: found._study_id for found in ledger.storage.get_all_studies()}
        assert numbers[name] < numbers[f"{name}/cycle-03"], "dashboards list the search's own study first"


def check_rates_past_the_grid(url: str) -> None:
    """Checks that a rate past the grid's edge, where it was extended, fits into its cycle's study."""
    with _search(url) as (ledger, name):
        for rate in (0.005, 0.05, 0.4):
            ledger.add_outcomes(name, {str(rate): _trial(max_lr=rate)}, axis=AXIS)
        assert {trial.max_lr for trial in ledger.outcomes(name).values()} == {0.005, 0.05, 0.4}


def check_failures(url: str) -> None:
    """Checks that a failure is a row that dashboards show, and no outcome."""
    with _search(url) as (ledger, name):
        ledger.add_failure(name, cycle=0, replicate=1, max_lr=0.05, error="boom", axis=AXIS)
        assert ledger.outcomes(name) == {}
        (row,) = ledger.cycle_study(name, 0).trials
        assert (row.state, row.user_attrs["error"]) == (TrialState.FAIL, "boom")


def check_rewritten_files(url: str) -> None:
    """Checks that a file that was written anew replaces the first, with nothing else of its row."""
    outcome = _trial()
    anew = StoredFile(path=outcome.checkpoint.path, sha256="1" * 64)
    with _search(url) as (ledger, name):
        ledger.add_outcomes(name, {"key": outcome}, axis=AXIS)
        for _ in range(2):
            ledger.replace_checkpoint(name, "key", anew)
        assert ledger.outcomes(name) == {"key": replace(outcome, checkpoint=anew)}


def check_prunings(url: str) -> None:
    """Checks that a pruning comes back, and that a second one of its place replaces it."""
    file = StoredFile(path="p", sha256="0")
    first = PrunedNetwork(cycle=1, replicate=0, start=file, alive=8, prunable=10, parameters=12)
    second = replace(first, start=replace(file, sha256="1"))
    with _search(url) as (ledger, name):
        ledger.add_pruning(name, first)
        ledger.add_pruning(name, second)
        assert ledger.prunings(name) == (second,)


def check_choices(url: str) -> None:
    """Checks that what was chosen comes back to the last digit, and that a second choice changes nothing."""
    first = Choice(cycle=0, max_lr=1 / 3, rule="posterior", replicates=3)
    with _search(url) as (ledger, name):
        assert read_choices(ledger, name) == ()
        add_choices(ledger, name, [first])
        second = replace(first, cycle=1, rule="point")
        add_choices(ledger, name, [replace(first, max_lr=0.5), second])
        assert read_choices(ledger, name) == (first, second)


def check_summary_rows(url: str) -> None:
    """Checks that a summary's row is written once, however often it is given."""
    rows = [optuna.trial.create_trial(value=0.5, user_attrs={"key": f"cycle {cycle}"}) for cycle in range(3)]
    with _search(url) as (ledger, name):
        for upto in (1, 3, 3):
            ledger.add_summary_rows(name, rows[:upto])
        found = [row.user_attrs["key"] for row in ledger.summary_study(name).trials]
        assert found == ["cycle 0", "cycle 1", "cycle 2"]


def check_runs(url: str) -> None:
    """Checks that runs are kept, and that one that was killed counts as interrupted."""
    with _search(url) as (ledger, name):
        ledger.start_run(name, driver="ray", host="h", versions={"torch": "2"})
        second = ledger.start_run(name, driver="ray", host="h", versions={})
        ledger.end_run(second, state="failed", error="trace")
        states = [(run.state, run.error) for run in ledger.runs(name)]
        assert states == [("interrupted", None), ("failed", "trace")]


def check_resuming(url: str) -> None:
    """Checks that a search that goes on from its rows decides what one does that was never stopped."""
    whole = replay(RULES, _accuracy)
    with _search(url) as (ledger, name):
        for steps in (5, None):
            _go_on(ledger, name, steps)
        assert sorted(map(_place, ledger.outcomes(name).values())) == sorted(map(_place, whole.outcomes()))
        assert [decision.interval for decision in _restored(ledger, name).decisions] == [
            decision.interval for decision in whole.decisions
        ]
        rows = sum(len(ledger.cycle_study(name, cycle).trials) for cycle in range(RULES.cycles))
        assert rows == len(whole.outcomes()), "no row is there twice"


def check_opening(url: str) -> None:
    """Checks that many processes may open a ledger at once, the first of which makes it."""
    with ThreadPoolExecutor(8) as pool:
        for opened in pool.map(lambda _: Ledger(url, create=True), range(8)):
            assert opened.search("none of this name") is None
            opened.close()


def check_lease(url: str) -> None:
    """Checks that one driver at a time runs a search, and that the next one may when it is through."""
    with _search(url) as (ledger, name):
        for _ in range(2):
            with ledger.lease(name) as held:
                held.check()
                assert ledger.holder(name) == f"process {os.getpid()} on {os.uname().nodename}"
                try:
                    with ledger.lease(name):
                        raise AssertionError("two drivers run one search")
                except Refused as refused:
                    assert "is being run by process" in str(refused)
            assert ledger.holder(name) is None


def check_readers(url: str) -> None:
    """Checks that those who read while a driver writes see whole packs only, and none of them go."""
    seen, over = [], threading.Event()

    def read() -> None:
        other = Ledger(url)
        try:
            while not over.is_set():
                seen.append(len(other.outcomes(name)))
        finally:
            other.close()

    with _search(url) as (ledger, name), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for replicate in range(10):
                pack = {f"{replicate} {rate}": _trial(replicate, max_lr=rate) for rate in (0.02, 0.03, 0.05)}
                ledger.add_outcomes(name, pack, axis=AXIS)
        finally:
            over.set()
        reading.result()
    assert seen == sorted(seen) and not [count for count in seen if count % 3]


LEDGER_CHECKS: tuple[Callable[[str], None], ...] = (
    check_outcomes,
    check_lost_numbers,
    check_studies,
    check_rates_past_the_grid,
    check_failures,
    check_rewritten_files,
    check_prunings,
    check_choices,
    check_summary_rows,
    check_runs,
    check_resuming,
    check_opening,
    check_lease,
    check_readers,
)
"""All of them."""


@contextmanager
def _search(url: str) -> Iterator[tuple[Ledger, str]]:
    """A ledger with a search of a new name."""
    name = f"check-{uuid.uuid4().hex}"
    ledger = Ledger(url, create=True)
    try:
        ledger.register(
            SearchRecord(
                name=name, spec={}, identity={}, execution=Execution(), execution_reason="", created=1.0
            )
        )
        yield ledger, name
    finally:
        ledger.close()


def _trial(replicate: int = 0, *, cycle: int = 0, max_lr: float = 0.05, **changes: object) -> Trial:
    return replace(replayed_trial(cycle, replicate, max_lr, 0.75), **changes)  # type: ignore[arg-type]


def _accuracy(cycle: int, replicate: int, max_lr: float) -> float:
    return 0.9 - 0.01 * cycle - abs(max_lr - 0.03) - 0.001 * replicate


def _place(trial: Trial) -> tuple[int, int, float]:
    return trial.cycle, trial.replicate, trial.max_lr


def _restored(ledger: Ledger, name: str) -> Search:
    search = Search(RULES)
    search.restore(ledger.outcomes(name).values(), ledger.prunings(name))
    return search


def _go_on(ledger: Ledger, name: str, steps: int | None) -> None:
    """Goes on from the ledger's rows, for so many tasks or to the end, and writes what they give."""
    search = _restored(ledger, name)
    while steps != 0 and not isinstance(task := search.ask(), Signal):
        result = replayed(task, _accuracy)
        if isinstance(result, PrunedNetwork):
            ledger.add_pruning(name, result)
        elif isinstance(result, tuple):
            ledger.add_outcomes(name, {repr(_place(trial)): trial for trial in result}, axis=AXIS)
        search.tell(task, result)
        steps = None if steps is None else steps - 1
