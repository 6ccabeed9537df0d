"""Searches against each other: what each found, and what each cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.style import RATE_UNIT_TEXT, hours_text, rate_text
from dashboards.tables.accuracy import facts_of, measure_of, series_of, short_names
from dashboards.tables.table import Cell, Table, texts
from oracle.results import Results
from oracle.results.costs import mean_test_accuracy
from silo.curve import SiloCurve
from silo.landscape import JudgedCurve, Verdict
from silo.measured import cycles_in_words

SEARCH_COLUMNS = {
    "search": "its name",
    "network": "what was pruned",
    "dataset": "what it was trained for",
    "policy": "what set max_lr: oracle (a search), silo, fixed or allr",
    "pruner": "how the weights to prune were chosen",
    "retraining": "what a pruned network started from",
    "replicates": "independent seeds",
    "decided": "cycles that are decided",
    "cycles": "cycles in all",
    "trials": "finished trainings",
    "max_lr_low": "lowest of the Oracle's optima, or of the rates that were used",
    "max_lr_high": "the highest",
    "silo_inside": "at how many cycles SILO's predicted rate is surely within the tolerance of the best",
    "silo_unknown": "for how many that can't be told",
    "fitted_inside": "the same of the fitted curve",
    "fitted_unknown": "for how many that can't be told",
    "q": "of the curve that least squares fit, as are the next three",
    "beta": "β",
    "epsilon": "ε, a learning rate",
    "delta": "δ, a learning rate",
    "verdict": "in a few words",
    "explanation": "in sentences",
}
"""The columns of :func:`search_table`'s records; empty where there is no search, no prediction or no fit."""

_NOTHING = "–"
_FITTED = (
    "q, β, ε and δ are those of the fitted curve, by least squares of the optima. Inside: with a chance of "
    "0.9 within the tolerance of the best; ?: for so many cycles that can't be told."
)
_DIFFERING = ("network", "dataset", "pruner", "retraining")


def search_table(searches: Sequence[Results]) -> Table:
    """One row per search: the range of its rates, how SILO's curves do, and a verdict in a few words.

    The network, data set, pruner and way of retraining are shown as far as the searches differ in them.
    """
    records = [_record(results) for results in searches]
    names = short_names([results.name for results in searches])
    differing = [key for key in _DIFFERING if len({record[key] for record in records}) > 1]
    headers = (
        "search",
        *differing,
        "policy",
        "cycles",
        f"max_lr\n({RATE_UNIT_TEXT})",
        "SILO\ninside",
        "fitted\ninside",
        "verdict",
        "q",
        "β",
        f"ε\n({RATE_UNIT_TEXT})",
        f"δ\n({RATE_UNIT_TEXT})",
    )
    rows = [
        texts(name, *(str(record[key]) for key in differing), str(record["policy"])) + _numbers(record)
        for name, record in zip(names, records, strict=True)
    ]
    return Table(
        title="What each search says",
        headers=headers,
        rows=tuple(rows),
        align="l" * (len(differing) + 2) + "rrrr" + "l" + "rrrr",
        notes=_notes(names, records),
        columns=SEARCH_COLUMNS,
        records=tuple(records),
    )


def _notes(names: Sequence[str], records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    said = [f"{name}: {record['explanation']}" for name, record in zip(names, records, strict=True)]
    if any(record["q"] is not None for record in records):
        said.insert(0, _FITTED)
    return tuple(said)


def _numbers(record: dict[str, Any]) -> tuple[Cell, ...]:
    decided = record["decided"]
    inside = [_inside(record, curve, decided) for curve in ("silo", "fitted")]
    curve = [_NOTHING] * 4
    if record["q"] is not None:
        curve = [f"{record['q']:.4g}", f"{record['beta']:.4g}"]
        curve += [rate_text(record[key] + 0.0) for key in ("epsilon", "delta")]
    return texts(f"{decided}/{record['cycles']}", _rates(record), *inside, record["verdict"], *curve)


def _inside(record: dict[str, Any], curve: str, decided: int) -> str:
    """``11 of 16``, and in how many cycles that can't be told: ``11 + 3? of 16``."""
    inside, unknown = record[f"{curve}_inside"], record[f"{curve}_unknown"]
    if inside is None:
        return _NOTHING
    return f"{inside}{f' + {unknown}?' if unknown else ''} of {decided}"


def _rates(record: dict[str, Any]) -> str:
    if record["max_lr_low"] is None:
        return _NOTHING
    low, high = rate_text(record["max_lr_low"]), rate_text(record["max_lr_high"])
    return low if low == high else f"{low}–{high}"


def _record(results: Results) -> dict[str, Any]:
    rows, fit = results.decided, results.point_fit
    rates = [row.interval.optimum for row in rows]
    predicted, fitted = (_judged(results, curve) for curve in (results.predicted, results.fitted))
    return {
        **dict.fromkeys(SEARCH_COLUMNS),
        "search": results.name,
        **facts_of(results.search_spec),
        "decided": len(rows),
        "cycles": results.search_spec.cycles,
        "trials": len(results.outcomes),
        "max_lr_low": min(rates, default=None),
        "max_lr_high": max(rates, default=None),
        **_counts("silo", predicted),
        **_counts("fitted", fitted),
        **({name: getattr(fit.curve, name) for name in ("q", "beta", "epsilon", "delta")} if fit else {}),
        "verdict": _verdict(results),
        "explanation": results.verdict(),
    }


def _verdict(results: Results) -> str:
    if not results.decided:
        return "undecided"
    if results.point_fit is None:
        return "nothing is searched"
    predicted, fitted = (_judged(results, curve) for curve in (results.predicted, results.fitted))
    if fitted is None:
        return "nothing can be told"
    count = len(results.decided)
    if predicted is not None and len(predicted.cycles("inside")) == count:
        return "SILO fits as predicted"
    if len(fitted.cycles("inside")) == count:
        told = predicted is not None and predicted.cycles("outside")
        return "another SILO curve fits" if told else "a SILO curve fits"
    return "SILO's fit is outside somewhere" if fitted.cycles("outside") else "can't be told"


def _judged(results: Results, curve: SiloCurve | None) -> JudgedCurve | None:
    return None if curve is None else results.judged(curve.max_lr)


def _counts(name: str, judged: JudgedCurve | None) -> dict[str, int | None]:
    kinds: tuple[Verdict, ...] = ("inside", "unknown")
    return {f"{name}_{kind}": None if judged is None else len(judged.cycles(kind)) for kind in kinds}


_COST_COLUMNS = {
    "search": "its name",
    "policy": "what set max_lr",
    "cycles": "cycles that are decided",
    "trainings": "networks trained in them, of all replicates",
    "worker_hours": "hours that workers trained, without the writing of files",
    "wall_hours": "hours that its runs lasted, start-up and decisions included; empty where not known",
    "test_{key}": "mean over the cycles that all searches decided, {range}",
}
"""Columns, named for the metric: see :meth:`oracle.measure.Measure.named`."""

"""The columns of :func:`cost_table`'s records, of searches judged by accuracy."""

_NO_COST = "–"


def cost_table(searches: Sequence[Results]) -> Table:
    """Trainings, worker-hours and wall time of each search, measured, and the test score that it reached.

    Raises:
        InvalidInput: They are judged by different metrics.
    """
    measure = measure_of(series_of(searches, [results.name for results in searches]))
    test, named = f"test_{measure.key}", measure.named
    shared = range(min(len(results.decided) for results in searches))
    records = [_cost_record(results, shared) for results in searches]
    rows = [
        texts(
            name,
            record["policy"],
            str(record["cycles"]),
            f"{record['trainings']:,}",
            _hours(record["worker_hours"]),
            _hours(record["wall_hours"]),
            _NO_COST if record[test] is None else measure.text(record[test]),
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
        columns={named(name): named(meaning) for name, meaning in _COST_COLUMNS.items()},
        records=tuple(records),
    )


def _cost_record(results: Results, shared: Sequence[int]) -> dict[str, Any]:
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
    return _NO_COST if hours is None else hours_text(hours)
