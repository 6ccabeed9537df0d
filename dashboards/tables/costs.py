"""What several searches took, as they were run, a row per search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.style import hours_text
from dashboards.tables.accuracy import short_names
from dashboards.tables.accuracy_series import measure_of, series_of
from dashboards.tables.table import Table, texts
from oracle.measure import BY_ACCURACY
from oracle.results import Results
from oracle.results.costs import mean_test_accuracy
from silo.intervals import cycles_in_words

_COLUMNS = {
    "search": "its name",
    "policy": "what set max_lr",
    "cycles": "cycles that are decided",
    "trainings": "networks trained in them, of all replicates",
    "worker_hours": "hours that workers trained, without the writing of files",
    "wall_hours": "hours that its runs lasted, start-up and decisions included; empty where not known",
    "test_{key}": "mean over the cycles that all searches decided, {range}",
}
"""Columns, named for the metric: see :meth:`oracle.measure.Measure.named`."""

COST_COLUMNS = {BY_ACCURACY.named(name): BY_ACCURACY.named(text) for name, text in _COLUMNS.items()}
"""The columns of :func:`cost_table`'s records, of searches judged by accuracy."""

_NOTHING = "–"


def cost_table(searches: Sequence[Results]) -> Table:
    """Trainings, worker-hours and wall time of each search, measured, and the test score that it reached.

    Raises:
        InvalidInput: They are judged by different metrics.
    """
    measure = measure_of(series_of(searches, [results.name for results in searches]))
    test, named = f"test_{measure.key}", measure.named
    shared = range(min(len(results.decided) for results in searches))
    records = [_record(results, shared) for results in searches]
    rows = [
        texts(
            name,
            record["policy"],
            str(record["cycles"]),
            f"{record['trainings']:,}",
            _hours(record["worker_hours"]),
            _hours(record["wall_hours"]),
            _NOTHING if record[test] is None else measure.text(record[test]),
        )
        for name, record in zip(short_names([results.name for results in searches]), records, strict=True)
    ]
    notes = ["As they were run. Wall time is that of all runs: it depends on the workers that they had."]
    if shared:
        notes.append(f"{measure.label('Test')}: mean over {cycles_in_words(list(shared))}.")
    return Table(
        title="What each search took",
        headers=(
            "search",
            "policy",
            "cycles",
            "trainings",
            "worker\nhours",
            "wall\nhours",
            measure.heading("test"),
        ),
        rows=tuple(rows),
        align="llrrrrr",
        notes=tuple(notes),
        columns={named(name): named(meaning) for name, meaning in _COLUMNS.items()},
        records=tuple(records),
    )


def _record(results: Results, shared: Sequence[int]) -> dict[str, Any]:
    cost = results.policy_costs[0] if results.policy_costs else None
    return {
        "search": results.name,
        "policy": results.search_spec.policy.name,
        "cycles": len(results.decided),
        "trainings": cost.trainings if cost else 0,
        "worker_hours": cost.worker_hours if cost else None,
        "wall_hours": None if results.wall_seconds is None else results.wall_seconds / 3600,
        f"test_{results.measure.key}": mean_test_accuracy(cost, shared) if cost else None,
    }


def _hours(hours: float | None) -> str:
    return _NOTHING if hours is None else hours_text(hours)
