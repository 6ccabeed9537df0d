"""Searches whose outcomes are invented: nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from oracle.identity import KEY_SCHEMA, Keys
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.rows import Axis
from oracle.search import Search
from oracle.session import search_rules
from oracle.spec import Spec
from oracle.testing.replay import Accuracy, replay
from trials.tasks import Execution, StoredFile, Trial, TrialDiagnostics

Change = Callable[[Trial], Trial]

GRID = {"low": 0.01, "high": 0.32, "points": 6}
"""0.01, 0.02, 0.04, 0.08, 0.16, 0.32."""


def peak(cycle: int, replicate: int, max_lr: float) -> float:
    """The better the nearer to 0.02, later to 0.08; replicates differ a little, not always alike."""
    center = 0.02 if cycle < 2 else 0.08
    noise = 0.001 * math.sin(37 * cycle + 11 * replicate + 1000 * max_lr)
    return 0.9 - 0.01 * cycle - 0.02 * math.log2(max_lr / center) ** 2 + noise


def make_spec(**fields: Any) -> Spec:
    """Four cycles with three replicates on a grid of six."""
    given: dict[str, Any] = {"name": "invented", "network": "fc", "dataset": "digits", "cycles": 4}
    given |= {"decide": "point"}  # of which the tests know beforehand what it chooses
    given |= {"grid": GRID, "silo": {"q": 1, "beta": 5, "epsilon": 0.02, "delta": 0.06}}
    return Spec.model_validate({**given, "training": {"epochs": 1}, **fields})


def make_record(spec: Spec) -> SearchRecord:
    """The search as a ledger knows it."""
    return SearchRecord(
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        identity={
            "schema": KEY_SCHEMA,
            "recipe": {},
            "data": "invented",
            "code": {},
            "initial": [{"sha256": f"invented {replicate}"} for replicate in range(spec.replicates)],
        },
        execution=Execution(pack_size=3),
        execution_reason="invented",
        created=0.0,
    )


def invent(
    accuracy: Accuracy = peak,
    *,
    decided: int | None = None,
    change: Change = lambda trial: trial,
    **fields: Any,
) -> tuple[Spec, Search]:
    """Spec and search.

    Args:
        accuracy: What each trial reaches.
        decided: After how many cycles the search ends; by default all.
        change: What is done to each outcome.
        fields: Of the spec.
    """
    spec = make_spec(**fields)
    rules = search_rules(spec, make_record(spec))
    whole, search = replay(rules, accuracy), Search(rules)
    count = spec.cycles if decided is None else decided
    search.restore(
        [change(trial) for trial in whole.outcomes() if trial.cycle < count],
        [pruned for cycle in range(count) for pruned in whole.prunings(cycle)],
    )
    return spec, search


def took(seconds: Callable[[int], float], pack: int = 1) -> Change:
    """Gives each trial a pack of its own (or so many to one) that takes ``seconds(cycle)``."""

    def change(trial: Trial) -> Trial:
        place = int(trial.max_lr * 1e6) // pack
        started = 1e9 + 1e4 * place
        return replace(trial, started=started, ended=started + seconds(trial.cycle), pack=pack)

    return change


def noted(trial: Trial) -> Trial:
    """An outcome with statistics: gradients get narrower by a fifth from cycle to cycle."""
    std = 0.01 * 0.8**trial.cycle * (1 + 0.1 * trial.replicate)
    notes = TrialDiagnostics(
        gradient_std=std,
        update_std=std * trial.max_lr,
        representation_std=1.5,
        activation_norm=2.5,
        gradient_norm=math.nan,
        flipped_signs=0.25,
        file=StoredFile(path=f"{trial.cycle}/{trial.replicate}/{trial.max_lr!r}.json", sha256="0" * 64),
    )
    return replace(trial, diagnostics=notes)


def write_ledger(folder: Path, spec: Spec, search: Search, url: str = "") -> str:
    """Writes a search with one run into a ledger, by default one in a folder; gives the ledger's URL."""
    url = url or f"sqlite:///{folder}/invented.db"
    ledger = Ledger(url, create=True)
    ledger.register(make_record(spec))
    run = ledger.start_run(spec.name, driver="in-process", host="here", versions={"torch": "2"})
    axis = Axis(low=0.01, high=0.32, log=True)
    record = make_record(spec)
    keys = Keys(record.identity, record.execution, search.decisions)
    for cycle in range(spec.cycles):
        rows = {keys.key(cycle, t.replicate, t.max_lr): t for t in search.outcomes() if t.cycle == cycle}
        if rows:
            ledger.add_outcomes(spec.name, rows, axis=axis)
        for pruned in search.prunings(cycle):
            ledger.add_pruning(spec.name, pruned)
    ledger.end_run(run, state="failed", error="no postgresql+psycopg://me:hunter2@host/db")
    ledger.close()
    return url
