"""The contract of ledgers, whatever database its URL names.

In a test of a database of one's own, here with pytest::

    from oracle.testing.ledgers import LEDGER_CHECKS

    @pytest.mark.parametrize("check", LEDGER_CHECKS)
    def test_our_database(check):
        check("postgresql+psycopg://user@host/database")

Each check writes a search of a new name, so that all of them can use one database.
"""

from __future__ import annotations

import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import optuna
from optuna.trial import TrialState

from oracle.cycles import Choice, Grid
from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.rows import Axis
from oracle.ledger.tables import add_choices, add_rounds, read_choices, read_rounds
from oracle.policies import OraclePolicy
from oracle.search import Rules, Search, Signal
from oracle.testing.replay import replay, replayed, replayed_trial
from trials.tasks import (
    STATISTICS,
    Execution,
    PrunedNetwork,
    StoredFile,
    TrainingCurve,
    Trial,
    TrialDiagnostics,
    Validation,
)
from trials.testing.assertions import require, require_same

AXIS = Axis(low=0.01, high=0.1, log=True)
_READ_SECONDS = 60
"""Seconds in which a reader sees what was written."""

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
    file = StoredFile(path="statistics", sha256="2" * 64)
    statistics = TrialDiagnostics(file=file, **{name: 1 / (3 + i) for i, name in enumerate(STATISTICS)})
    changes: dict[str, Any] = {"diverged": True, "train_loss": 1e-300, "max_lr": 1 / 3, "pack": 4}
    changes["diagnostics"] = statistics
    point = Validation(step=10, score=0.5, train_loss=float("nan"))
    changes["curve"] = TrainingCurve.of([point, replace(point, step=20)])
    for outcome in (plain, replace(plain, **changes)):
        with _search(url) as (ledger, name):
            ledger.add_outcomes(name, {"key": outcome}, axis=AXIS)
            require_same(ledger.outcomes(name), {"key": outcome}, "an outcome that was written comes back")


def check_lost_numbers(url: str) -> None:
    """Checks that an outcome that is no number is one when it comes back, and no error."""
    with _search(url) as (ledger, name):
        ledger.add_outcomes(name, {"key": _trial(diverged=True, train_loss=float("nan"))}, axis=AXIS)
        (found,) = ledger.outcomes(name).values()
        require(found.diverged, "a diverged trial comes back as one that is not")
        require(math.isnan(found.train_loss), f"a loss that is no number comes back as {found.train_loss!r}")


def check_studies(url: str) -> None:
    """Checks that a cycle is an Optuna study, after that of the search, with the trainings' own times."""
    with _search(url) as (ledger, name):
        ledger.add_outcomes(name, {"key": _trial(cycle=3, started=1.7e9, ended=1.7e9 + 5)}, axis=AXIS)
        study = optuna.load_study(study_name=f"{name}/cycle-03", storage=ledger.storage)
        (row,) = study.trials
        written = (row.params, row.value, row.state)
        require_same(written, ({"max_lr": 0.05}, 0.75, TrialState.COMPLETE), "Optuna reads an outcome's row")
        seconds = row.duration and row.duration.total_seconds()
        require_same(seconds, 5.0, "Optuna reads how long a training took, in seconds")
        axis = row.distributions["max_lr"]
        logarithmic = isinstance(axis, optuna.distributions.FloatDistribution) and axis.log
        require(logarithmic, f"Optuna reads the rates' axis as {axis}, which is not logarithmic")
        require_same(study.metric_names, ["validation accuracy"], "Optuna reads the metric's name")
        require_same(study.direction, optuna.study.StudyDirection.MAXIMIZE, "Optuna reads the direction")
        numbers = {found.study_name: found._study_id for found in ledger.storage.get_all_studies()}
        first = numbers[name] < numbers[f"{name}/cycle-03"]
        require(first, "a cycle's study has come before the search's own, which dashboards list first")


def check_goals(url: str) -> None:
    """Checks that Optuna takes less for better where the search's metric does."""
    with _search(url, metric={"name": "rmse", "goal": "min"}) as (ledger, name):
        rows = {str(rate): _trial(max_lr=rate, score=10 * rate) for rate in (0.05, 0.02, 0.1)}
        ledger.add_outcomes(name, rows, axis=AXIS)
        for study in (ledger.summary_study(name), ledger.cycle_study(name, 0)):
            require_same(study.metric_names, ["validation rmse"], "Optuna reads the metric's name")
            require_same(study.direction, optuna.study.StudyDirection.MINIMIZE, "Optuna reads the direction")
        require_same(study.best_params, {"max_lr": 0.02}, "Optuna's best trial has the least error")


def check_rates_past_the_grid(url: str) -> None:
    """Checks that a rate past the grid's edge, where it was extended, fits into its cycle's study."""
    with _search(url) as (ledger, name):
        for rate in (0.005, 0.05, 0.4):
            ledger.add_outcomes(name, {str(rate): _trial(max_lr=rate)}, axis=AXIS)
        rates = {trial.max_lr for trial in ledger.outcomes(name).values()}
        require_same(rates, {0.005, 0.05, 0.4}, "rates past the grid's edges come back")


def check_failures(url: str) -> None:
    """Checks that a failure is a row that dashboards show, and no outcome."""
    with _search(url) as (ledger, name):
        ledger.add_failure(name, cycle=0, replicate=1, max_lr=0.05, error="boom", axis=AXIS)
        require_same(ledger.outcomes(name), {}, "a failure is no outcome")
        rows = [(row.state, row.user_attrs.get("error")) for row in ledger.cycle_study(name, 0).trials]
        require_same(rows, [(TrialState.FAIL, "boom")], "Optuna reads a failure's row")


def check_rewritten_files(url: str) -> None:
    """Checks that a file that was written anew replaces the first, with nothing else of its row."""
    outcome = _trial()
    anew = replace(outcome, checkpoint=StoredFile(path=outcome.checkpoint.path, sha256="1" * 64))
    with _search(url) as (ledger, name):
        ledger.add_outcomes(name, {"key": outcome}, axis=AXIS)
        for _ in range(2):
            ledger.replace_checkpoint(name, "key", anew)
        wanted = {"key": anew}
        require_same(ledger.outcomes(name), wanted, "an outcome whose file was written anew comes back")


def check_prunings(url: str) -> None:
    """Checks that a pruning comes back, and that a second one of its place replaces it."""
    file = StoredFile(path="p", sha256="0")
    first = PrunedNetwork(
        cycle=1, replicate=0, start=file, alive=8, prunable=10, parameters=12, norm_drop=1 / 3
    )
    second = replace(first, start=replace(file, sha256="1"), norm_drop=1 / 7, parent="2" * 64)
    with _search(url) as (ledger, name):
        for pruned in (first, second):
            ledger.add_pruning(name, pruned)
            require_same(ledger.prunings(name), (pruned,), "the last pruning of a place comes back, alone")


def check_choices(url: str) -> None:
    """Checks that what was chosen comes back to the last digit, and that a second choice changes nothing."""
    first = Choice(cycle=0, max_lr=1 / 3, rule="posterior", replicates=3)
    with _search(url) as (ledger, name):
        require_same(read_choices(ledger, name), (), "a search without choices has none")
        add_choices(ledger, name, [first])
        second = replace(first, cycle=1, rule="point")
        add_choices(ledger, name, [replace(first, max_lr=0.5), second])
        require_same(read_choices(ledger, name), (first, second), "choices come back, each the first one")


def check_rounds(url: str) -> None:
    """Checks that what was asked for comes back round by round, and that a cycle's rounds are replaced."""
    first, second = {0: (1 / 3, 0.5), 2: (0.5,)}, {1: (1 / 3,)}
    with _search(url) as (ledger, name):
        require_same(read_rounds(ledger, name), {}, "a search without rounds has none")
        add_rounds(ledger, name, {0: [first], 1: [second]})
        add_rounds(ledger, name, {1: [second, first]})
        add_rounds(ledger, name, {})
        wanted = {0: (first,), 1: (second, first)}
        require_same(read_rounds(ledger, name), wanted, "rounds come back in turn, to the last digit")


def check_summary_rows(url: str) -> None:
    """Checks that a summary's row is written once, however often it is given, and as it was given last."""

    def row(cycle: int, value: float = 0.5) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(value=value, user_attrs={"key": f"cycle {cycle}"})

    with _search(url) as (ledger, name):
        for rows in ([row(0)], [row(0), row(1), row(2)], [row(1, 0.25)]):
            ledger.add_summary_rows(name, rows)
        found = [(row.user_attrs["key"], row.value) for row in ledger.summary_study(name).trials]
        wanted = [("cycle 0", 0.5), ("cycle 1", 0.25), ("cycle 2", 0.5)]
        require_same(found, wanted, "a summary's rows are there, each once, in their order, as given last")


def check_runs(url: str) -> None:
    """Checks that runs are kept in turn, and that one that was killed counts as interrupted."""
    with _search(url) as (ledger, name):
        ledger.start_run(name, driver="ray", host="h", versions={"torch": "2"})
        second = ledger.start_run(name, driver="ray", host="h", versions={})
        ledger.end_run(second, state="failed", error="trace")
        with mock.patch("time.time", return_value=time.time() - 86_400):
            ledger.start_run(name, driver="ray", host="whose clock is late", versions={})
        states = [(run.state, run.error) for run in ledger.runs(name)]
        wanted = [("interrupted", None), ("failed", "trace"), ("running", None)]
        require_same(states, wanted, "a run that was killed counts as interrupted, and runs come in turn")


def check_resuming(url: str) -> None:
    """Checks that a search that goes on from its rows decides what one does that was never stopped."""
    whole = replay(RULES, _accuracy)
    with _search(url) as (ledger, name):
        for steps in (5, None):
            _go_on(ledger, name, steps)
        found, wanted = (sorted(map(_place, of)) for of in (ledger.outcomes(name).values(), whole.outcomes()))
        require_same(found, wanted, "a search that went on has the trials of one that was never stopped")
        intervals = [decision.interval for decision in _restored(ledger, name).decisions]
        same = [decision.interval for decision in whole.decisions]
        require_same(intervals, same, "a search that went on decides as one that was never stopped")
        rows = sum(len(ledger.cycle_study(name, cycle).trials) for cycle in range(RULES.cycles))
        require_same(rows, len(wanted), "every trial has one row")


def check_opening(url: str) -> None:
    """Checks that many processes may open a ledger at once, the first of which makes it."""
    with ThreadPoolExecutor(8) as pool:
        for opened in pool.map(lambda _: Ledger(url, create=True), range(8)):
            require(opened.search("none of this name") is None, "a new ledger has a search that nobody wrote")
            opened.close()


def check_lease(url: str) -> None:
    """Checks that one driver at a time runs a search, and that the next one may when it is through."""
    with _search(url) as (ledger, name):
        for _ in range(2):
            with ledger.lease(name) as held:
                held.check()
                us = f"process {os.getpid()} on {os.uname().nodename}"
                require_same(ledger.holder(name), us, "a ledger names who holds a lease")
                try:
                    with ledger.lease(name):
                        raise AssertionError("two drivers run one search")
                except Refused as refused:
                    named = "is being run by process" in str(refused)
                    require(named, f"a second driver isn't told who runs the search: {refused}")
            require_same(ledger.holder(name), None, "nobody holds a lease that was given back")


def check_readers(url: str) -> None:
    """Checks that those who read while a driver writes see whole packs only, and none of them go."""
    seen: list[int] = []
    begun, over = threading.Event(), threading.Event()

    def read() -> None:
        other = Ledger(url)
        try:
            while not over.is_set():
                seen.append(len(other.outcomes(name)))
                if seen[-1]:
                    begun.set()
            seen.append(len(other.outcomes(name)))
        finally:
            other.close()

    with _search(url) as (ledger, name), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        reading.add_done_callback(lambda _: begun.set())  # whatever has failed in it is raised below
        try:
            for replicate in range(10):
                pack = {f"{replicate} {rate}": _trial(replicate, max_lr=rate) for rate in (0.02, 0.03, 0.05)}
                ledger.add_outcomes(name, pack, axis=AXIS)
                require(begun.wait(_READ_SECONDS), f"a reader sees none of the first pack: {seen[-3:]}")
        finally:
            over.set()
        reading.result()
    require(0 < next(filter(None, seen)) < 30, f"nothing was read while it was written: {seen}")
    require_same(seen[-1], 30, "a reader sees all trials once they are written")
    require_same(seen, sorted(seen), "trials that a reader has seen don't go")
    require_same([count for count in seen if count % 3], [], "a reader sees no part of a pack")


LEDGER_CHECKS: tuple[Callable[[str], None], ...] = (
    check_outcomes,
    check_lost_numbers,
    check_studies,
    check_goals,
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
def _search(url: str, **spec: object) -> Iterator[tuple[Ledger, str]]:
    """A ledger with a search of a new name."""
    name = f"check-{uuid.uuid4().hex}"
    ledger = Ledger(url, create=True)
    try:
        ledger.register(
            SearchRecord(
                name=name, spec=spec, identity={}, execution=Execution(), execution_reason="", created=1.0
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
