"""A search as tidy tables: a row per training, candidate, cycle, curve, rival, policy or run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from oracle.analysis import Analysis
from oracle.columns import FRAMES, TIME
from oracle.comparison import Comparison, CycleRow
from oracle.ledger import Run
from silo.curve import SiloCurve
from silo.fit import CurveFit
from trials.secrets import without_secrets
from trials.tasks import STATISTICS, PrunedNetwork, Trial

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: dict[str, dict[str, str]] = {
    name: {column: meaning for column, (_, meaning) in columns.items()} for name, columns in FRAMES.items()
}
"""What each column of each frame means, with its unit. Rates are as they are, not in units of 1e-2."""

_PLAIN = ("cycle", "replicate", "max_lr", "test_accuracy", "best_step", "diverged", "train_loss")


def trials_frame(
    outcomes: Iterable[Trial],
    *,
    prunings: Iterable[PrunedNetwork] = (),
    optima: Mapping[int, float] | None = None,
) -> pd.DataFrame:
    """One row per finished training, those of the cycle under way and those that diverged included.

    A training that failed has no outcome, and no row: the next run tries it again.

    Args:
        outcomes: The finished trainings.
        prunings: The pruned networks that they started from.
        optima: The optimum of each decided cycle.
    """
    densities = {(pruned.cycle, pruned.replicate): pruned.alive / pruned.prunable for pruned in prunings}
    best = optima or {}
    return _frame("trials", (_trial(trial, densities, best) for trial in outcomes))


def candidates_frame(comparison: Comparison) -> pd.DataFrame:
    """One row per candidate of each decided cycle."""
    return _frame(
        "candidates",
        (
            {
                "cycle": row.interval.cycle,
                "density": row.density,
                "max_lr": candidate.max_lr,
                "validation_accuracy_mean": candidate.accuracy,
                "validation_accuracy_std": candidate.accuracy_std,
                "test_accuracy_mean": candidate.test_accuracy,
                "test_accuracy_std": candidate.test_accuracy_std,
                "diverged": candidate.diverged,
                "optimum": candidate.max_lr == row.interval.optimum,
                "inside": row.interval.low <= candidate.max_lr <= row.interval.high,
                "detached": candidate.max_lr in row.detached,
            }
            for row in comparison.rows
            for candidate in row.candidates
        ),
    )


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One dict per decided cycle with the columns of the intervals; ``detached`` is a list there."""
    return [_interval(row) for row in comparison.rows]


def intervals_frame(comparison: Comparison) -> pd.DataFrame:
    """One row per decided cycle."""
    rows = comparison_rows(comparison)
    return _frame("intervals", ({**row, "detached": _listed(row["detached"])} for row in rows))


def fits_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per curve: the predicted one, least squares, and the one that keeps to the intervals best."""
    curves: list[dict[str, Any]] = []
    rows = analysis.comparison.rows
    if rows and analysis.comparison.predicted:
        curves.append({"curve": "predicted", **_curve(analysis.comparison.predicted, rows)})
    if fit := analysis.fit:
        own = {"weighted_rmse": fit.weighted_rmse, **_ranges(fit)}
        curves.append({"curve": "least squares", **_curve(fit.curve, rows), **own})
        curves.append({"curve": fit.closest, **_curve(fit.fewest_misses, rows)})
    return _frame("fits", curves)


def rivals_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per kind of curve that was fitted to the optima."""
    names = ("formula", "parameters", "s_shaped", "weighted_rmse", "loo_error", "aicc")
    rivals = analysis.rivals.rivals if analysis.rivals else ()
    return _frame(
        "rivals",
        (
            {
                "rival": rival.name,
                "values": json.dumps(rival.values),
                **{name: getattr(rival, name) for name in names},
            }
            for rival in rivals
        ),
    )


def costs_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per way to set the rates."""
    names = ("policy", "trainings", "worker_hours", "measured", "explanation")
    return _frame(
        "costs",
        (
            {
                **{name: getattr(cost, name) for name in names},
                "last_test_accuracy": cost.test_accuracies[-1],
                "test_accuracies": _listed(cost.test_accuracies),
            }
            for cost in analysis.costs
        ),
    )


def diagnostics_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per decided cycle whose selected networks have statistics."""
    names = ("cycle", "density", "max_lr", *STATISTICS[:-1])
    pairs = zip(analysis.distributions, analysis.diagnosed, strict=True)
    return _frame(
        "diagnostics",
        ({**{name: getattr(each, name) for name in names}, "predicted": rate} for each, rate in pairs),
    )


def runs_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per run, oldest first, without passwords."""
    return _frame(
        "runs",
        (
            {
                **{name: getattr(run, name) for name in ("started", "ended", "state", "driver", "host")},
                "versions": json.dumps(run.versions),
                "error": without_secrets(run.error),
            }
            for run in runs
        ),
    )


def _frame(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame with exactly the documented columns and their types; what a row leaves out is missing."""
    import pandas as pd

    given = list(rows)
    columns = {}
    for column, (kind, _) in FRAMES[name].items():
        values = [row.get(column) for row in given]
        if kind == TIME:
            values = [None if value is None else datetime.fromtimestamp(value, UTC) for value in values]
        columns[column] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)


def _trial(
    trial: Trial, densities: Mapping[tuple[int, int], float], optima: Mapping[int, float]
) -> dict[str, Any]:
    notes = trial.diagnostics
    return {
        **{name: getattr(trial, name) for name in (*_PLAIN, "started", "ended", "pack", "worker")},
        "density": densities.get((trial.cycle, trial.replicate), 1.0 if trial.cycle == 0 else math.nan),
        "validation_accuracy": trial.accuracy,
        "selected": optima.get(trial.cycle) == trial.max_lr,
        **({name: getattr(notes, name) for name in STATISTICS} if notes else {}),
        "checkpoint": trial.checkpoint.path,
        "sha256": trial.checkpoint.sha256,
    }


def _interval(row: CycleRow) -> dict[str, Any]:
    interval, best = row.interval, row.best
    values = (
        interval.cycle,
        row.density,
        row.density_all,
        interval.optimum,
        interval.low,
        interval.high,
        interval.low_cut,
        interval.high_cut,
        list(row.detached),
        best.accuracy,
        best.accuracy_std,
        best.test_accuracy,
        best.test_accuracy_std,
        row.predicted,
        row.predicted_inside,
        row.fitted,
        row.fitted_inside,
    )
    return dict(zip(COLUMNS["intervals"], values, strict=True))


def _curve(curve: SiloCurve, rows: Sequence[CycleRow]) -> dict[str, Any]:
    intervals = [row.interval for row in rows]
    rates = [curve.max_lr(interval.cycle) for interval in intervals]
    missed = [i.cycle for i, rate in zip(intervals, rates, strict=True) if not i.contains(rate)]
    away = np.array(rates) - np.array([interval.optimum for interval in intervals])
    return {
        **curve.to_dict(),
        "inside": len(rows) - len(missed),
        "missed_cycles": _listed(missed),
        "rmse": float(np.sqrt(np.mean(away**2))),
    }


def _ranges(fit: CurveFit) -> dict[str, float]:
    if fit.bootstrap is None:
        return {}
    ends = {}
    for name in ("q", "beta", "epsilon", "delta"):
        ends[f"{name}_low"], ends[f"{name}_high"] = fit.bootstrap.interval(name)
    return ends


def _listed(values: Iterable[float | None]) -> str | None:
    """``0.01;0.02``, nothing between where one is not known; None where there are no values."""
    return ";".join("" if value is None else repr(value) for value in values) or None
