"""A search as tidy tables: a row per training, candidate, cycle, curve, rival, policy or run.

A column is stated once: its name, its type, what it means with its unit, and where in a row it comes from.
Rates are as they are, not in units of 1e-2. Columns of scores are named for the search's metric.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from oracle.measure import BY_ACCURACY, MAX_LR, Measure
from oracle.results.verdict import simpler_rates
from silo.curve import SiloCurve
from silo.landscape import CycleBelief, Loss
from silo.landscape.belief import Verdict
from trials.secrets import without_secrets
from trials.tasks import Meaning, Trial, TrialDiagnostics, numbers_of

if TYPE_CHECKING:
    import pandas as pd

    from oracle.results.results import Results


INT, FLOAT, TRUTH, MAYBE, TEXT, TIME = "int64", "float64", "bool", "boolean", "string", "datetime64[us, UTC]"

Parts = Mapping[str, Any]
"""The parts of a row by name; ``row`` is the object that it is about."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        kind: Its type.
        meaning: What it holds, with its unit.
        place: Dotted path of its value from a row's parts, or from what the row is about; by default the
            column's name.
    """

    kind: str
    meaning: str
    place: str = ""


Columns = dict[str, Column]


def records(rows: Iterable[Parts], columns: Columns) -> list[dict[str, Any]]:
    """A dict per row."""
    return [{name: _value(row, each.place or name) for name, each in columns.items()} for row in rows]


def _value(parts: Parts, place: str) -> Any:
    """The value at a dotted path; None where something on the way is not there, or it is an empty text."""
    first, *rest = place.split(".")
    value = parts[first] if first in parts else getattr(parts["row"], first, None)
    for name in rest:
        value = None if value is None else getattr(value, name)
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


def series(values: list[Any], kind: str) -> pd.Series[Any]:
    """A column of a frame; what is None is missing, what is several is a text."""
    import pandas as pd

    if kind == TIME:
        values = [None if value is None else datetime.fromtimestamp(value, UTC) for value in values]
    elif kind == TEXT:
        values = [_listed(value) if isinstance(value, tuple) else value for value in values]
    return pd.Series(values, dtype=kind)


def _listed(values: Iterable[float | None]) -> str | None:
    """``0.01;0.02``, nothing between where one is not known; None where there are no values."""
    return ";".join("" if value is None else repr(value) for value in values) or None


DENSITY = "share of the prunable weights that is left, in (0, 1]"

_SCORES: Columns = {
    "score": Column(FLOAT, "{range}, at the best validation; {diverged} if it diverged", "score"),
    "test_score": Column(FLOAT, "{range}, of the same weights", "test_score"),
}

SCORE_COLUMNS = {"score": "validation_{key}", "test_score": "test_{key}"}
"""What a trial's scores are called in tables."""

_KINDS = {int: INT, float: FLOAT, bool: TRUTH, str: TEXT}

STATISTICS: Columns = {
    name: Column(FLOAT, meaning.text, f"diagnostics.{name}")
    for name, (_, meaning) in numbers_of(TrialDiagnostics).items()
}
"""Columns of a trial's statistics."""


def _columns() -> Columns:
    found: Columns = {}
    for name, (kind, meaning) in numbers_of(Trial).items():
        if name in _SCORES:
            found[SCORE_COLUMNS[name]] = _SCORES[name]
        else:
            found[name] = _column(name, kind, meaning)
        if name == "max_lr":
            found["density"] = Column(FLOAT, DENSITY)
        if name == "train_loss":
            found["selected"] = Column(
                TRUTH, "whether its cycle is decided and its rate chosen: the network pruned next"
            )
            found |= STATISTICS
    return found


def _column(name: str, kind: type, meaning: Meaning) -> Column:
    return Column(TIME if meaning.time else _KINDS[kind], meaning.text, name)


TRIALS: Columns = {
    **_columns(),
    "checkpoint": Column(
        TEXT, "file of the weights, below the search's storage; deleted unless selected", "checkpoint.path"
    ),
    "sha256": Column(TEXT, "its checksum", "checkpoint.sha256"),
}


def trial_rows(results: Results) -> Iterator[Parts]:
    """A trial, the density of its network, and whether it was selected."""
    left = {(pruned.cycle, pruned.replicate): pruned.alive / pruned.prunable for pruned in results.prunings}
    chosen = {each.cycle: each.chosen for each in results.decided}
    for trial in results.outcomes:
        density = left.get((trial.cycle, trial.replicate), 1.0 if trial.cycle == 0 else math.nan)
        yield {"row": trial, "density": density, "selected": chosen.get(trial.cycle) == trial.max_lr}


def frame(name: str, results: Results) -> pd.DataFrame:
    """One of the frames, with exactly the documented columns and types; what is not known is missing."""
    import pandas as pd

    rows, columns = _FRAMES[name][0], columns_of(results.measure)[name]
    found = records(rows(results), columns)
    return pd.DataFrame({key: series([each[key] for each in found], columns[key].kind) for key in columns})


def comparison_rows(results: Results) -> list[dict[str, Any]]:
    """One dict per decided cycle with the columns of the intervals; ``detached`` is a list there."""
    found = records(_interval_rows(results), columns_of(results.measure)["intervals"])
    return [{**each, "detached": list(each["detached"])} for each in found]


def _scores(candidate: str, whose: str = "") -> Columns:
    """Mean and deviation of both scores of a row's candidate."""
    mean, std = f"{whose}{{range}}, mean over the replicates", "its sample standard deviation; empty with one"
    return {
        f"{name}_{{key}}_{part}": Column(FLOAT, meaning, f"{candidate}.{field}{suffix}")
        for name, field in (("validation", "score"), ("test", "test_score"))
        for part, meaning, suffix in (("mean", mean, ""), ("std", f"{std} replicate", "_std"))
    }


CANDIDATES: Columns = {
    "cycle": Column(INT, "m, how often the network has been pruned", "of.cycle"),
    "density": Column(FLOAT, f"{DENSITY}, mean over the replicates", "of.density"),
    "max_lr": Column(FLOAT, "peak learning rate"),
    "replicates": Column(INT, "in how many replicates it was trained"),
    **_scores("row"),
    "diverged": Column(INT, "replicates that diverged"),
    "optimum": Column(TRUTH, "whether it is the Oracle optimized max_lr, an estimate"),
    "chosen": Column(TRUTH, "whether its networks are pruned next"),
    "inside": Column(TRUTH, "whether it lies in the Oracle optimized interval, an estimate"),
    "detached": Column(TRUTH, "whether it is within the tolerance, but beyond a worse rate"),
    "p_inside": Column(FLOAT, "chance that it lies in the optimized interval; empty where nothing is known"),
    "p_optimum": Column(FLOAT, "chance that it is the optimum; empty where nothing is known"),
    "loss": Column(FLOAT, "expected loss of validation {lost} against the best; empty where not known"),
}


def _candidate_rows(results: Results) -> Iterator[Parts]:
    for each, belief in zip(results.decided, results.beliefs or repeat(None), strict=False):
        for candidate in each.candidates:
            rate, interval = candidate.max_lr, each.interval
            k = each.grid.index(rate)
            told = belief if belief is not None and not belief.silent else None
            yield {
                "p_inside": float(told.inside[k]) if told else None,
                "p_optimum": float(told.best[k]) if told else None,
                "loss": results.measure.lost(float(told.means[k])) if told else None,
                "row": candidate,
                "replicates": len(candidate.trials),
                "of": each,
                "optimum": rate == interval.optimum,
                "chosen": rate == each.chosen,
                "inside": interval.low <= rate <= interval.high,
                "detached": rate in each.detached,
            }


CURVES: Columns = {
    "cycle": Column(INT, "m, how often the network has been pruned"),
    "replicate": Column(INT, "index of the independent seed"),
    "max_lr": Column(FLOAT, "peak learning rate"),
    "step": Column(INT, "optimizer steps so far"),
    "validation_{key}": Column(FLOAT, "{range}, at that step; empty where an output wasn't finite", "score"),
    "train_loss": Column(FLOAT, "mean training loss since the validation before; empty where not known"),
}


def _curve_rows(results: Results) -> Iterator[Parts]:
    for trial in results.outcomes:
        place = {"cycle": trial.cycle, "replicate": trial.replicate, "max_lr": trial.max_lr}
        for point in trial.curve.validations:
            yield {"row": point, **place}


def _passed(prefix: str, rate: str, curve: str, place: str) -> Columns:
    """A curve's rate in a row's cycle, and what is known of that."""
    return {
        rate: Column(FLOAT, f"max_lr of {curve}", f"{place}.rate"),
        f"{prefix}_inside": Column(MAYBE, "whether it lies in [low, high]", f"{place}.inside"),
        f"{prefix}_verdict": Column(
            TEXT, "inside, outside or unknown: whether it is within the tolerance", f"{place}.loss.verdict"
        ),
        f"{prefix}_within": Column(FLOAT, "chance that it is within the tolerance", f"{place}.loss.within"),
        **_losses(f"{prefix}_", f"{place}.loss."),
    }


def _losses(prefix: str, place: str) -> Columns:
    """An expected loss with its range."""
    return {
        f"{prefix}loss": Column(FLOAT, "{lost} that it loses against the best, expected", f"{place}mean"),
        f"{prefix}loss_low": Column(FLOAT, "lower end of that loss's 90 % range", f"{place}low"),
        f"{prefix}loss_high": Column(FLOAT, "upper end of that loss's 90 % range", f"{place}high"),
    }


ENDS: tuple[Literal["low", "high"], ...] = ("low", "high")
_OF_BELIEF = {
    "likely_optimum",
    *(f"{end}_{bound}" for end in ENDS for bound in ("from", "to")),
    *(f"{name}_{end}" for name in ("surely_inside", "maybe_inside") for end in ENDS),
    "sure",
    "jumped",
    "two_humps",
}

INTERVALS: Columns = {
    "cycle": Column(INT, "m, how often the network has been pruned"),
    "density": Column(FLOAT, f"{DENSITY}, mean over the replicates"),
    "density_all": Column(FLOAT, "the same share of all parameters"),
    "optimum": Column(
        FLOAT,
        "Oracle optimized max_lr, by the means: a point estimate; of a policy that leaves trainings out, by "
        "what all trainings tell",
        "interval.optimum",
    ),
    "low": Column(FLOAT, "lower end of the Oracle optimized interval, likewise", "interval.low"),
    "high": Column(FLOAT, "upper end of the Oracle optimized interval, likewise", "interval.high"),
    "low_cut": Column(
        TRUTH,
        "whether the grid ended at low, so that the interval may reach further down",
        "interval.low_cut",
    ),
    "high_cut": Column(
        TRUTH,
        "whether the grid ended at high, so that the interval may reach further up",
        "interval.high_cut",
    ),
    "detached": Column(
        TEXT, "rates within the tolerance that a worse one separates from the interval; ';' between them"
    ),
    **_scores("selected", "of the chosen rate, "),
    "chosen": Column(FLOAT, "the rate whose networks are pruned next"),
    "likely_optimum": Column(FLOAT, "candidate that is expected to lose least"),
    **{
        f"{end}_{bound}": Column(FLOAT, f"{word} end of the 90 % range of the interval's {name} end")
        for end, name in (("low", "lower"), ("high", "upper"))
        for bound, word in (("from", "lower"), ("to", "upper"))
    },
    **{
        f"{name}_{end}": Column(FLOAT, f"{word} end of the rates that {meaning}; empty if there are none")
        for name, meaning in (
            ("surely_inside", "lie in the interval with a chance of 0.9"),
            ("maybe_inside", "lie in it with a chance of 0.1"),
        )
        for end, word in (("low", "lower"), ("high", "upper"))
    },
    "sure": Column(FLOAT, "chance that both ends of the likeliest interval are right within a candidate"),
    "jumped": Column(FLOAT, "chance that the cycle's curve has nothing to do with the one before"),
    "two_humps": Column(MAYBE, "whether two separate ranges are good: the interval tells of one"),
    **_passed(
        "silo", "silo_predicted", "SILO's curve with the spec's numbers; empty without them", "predicted"
    ),
    **_passed("fitted", "fitted", "the fitted curve", "fitted"),
}


def _interval_rows(results: Results) -> Iterator[Parts]:
    predicted, fitted = (
        [each._replace(loss=each.loss and _lost(results, each.loss)) for each in results.along(curve)]
        for curve in (results.predicted, results.fitted)
    )
    beliefs = results.beliefs or repeat(None)
    for each, belief, one, other in zip(results.decided, beliefs, predicted, fitted, strict=False):
        known = {} if belief is None or belief.silent else _known(belief)
        parts = {"row": each, "selected": each.selected, "predicted": one, "fitted": other}
        yield {**parts, **dict.fromkeys(_OF_BELIEF), **known}


def _lost(results: Results, loss: Loss) -> Loss:
    """A loss as columns have it: in the metric's unit, or as a share of the best."""
    mean, low, high = (results.measure.lost(each) for each in (loss.mean, loss.low, loss.high))
    return Loss(mean=mean, low=low, high=high, within=loss.within)


def _mean_loss(results: Results, rates: Callable[[int], float]) -> Loss | None:
    """What a curve loses on average; None where the trainings tell nothing."""
    judged = results.judged(rates)
    return None if judged is None else _lost(results, judged.mean)


def _known(belief: CycleBelief) -> dict[str, Any]:
    """What is known of a cycle, by its columns."""
    found: dict[str, Any] = {"likely_optimum": float(belief.rates[belief.optimum()])}
    for end in ENDS:
        found[f"{end}_from"], found[f"{end}_to"] = belief.end_range(end)
    for name, run in (("surely_inside", belief.core()), ("maybe_inside", belief.reach())):
        found[f"{name}_low"], found[f"{name}_high"] = run or (None, None)
    return {**found, "sure": belief.sure, "jumped": belief.jumped, "two_humps": belief.two_humps}


Parameter = Literal["q", "beta", "epsilon", "delta"]
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)
"""SILO's four numbers."""

_NUMBERS: dict[Parameter, str] = {
    "q": "cycles before the curve rises",
    "beta": "β, its steepness",
    "epsilon": "ε, the rate it starts from",
    "delta": "δ, how much it rises in all, a learning rate",
}

FITS: Columns = {
    "curve": Column(TEXT, "predicted (the spec's numbers), least squares, and inside all or fewest misses"),
    **{name: Column(INT if name == "q" else FLOAT, meaning) for name, meaning in _NUMBERS.items()},
    "pruning_rate": Column(FLOAT, "p, share of the remaining weights pruned after each cycle"),
    "inside": Column(INT, "cycles in whose interval, as it is stated, the curve lies"),
    "missed_cycles": Column(TEXT, "the other cycles; ';' between them"),
    "rmse": Column(FLOAT, "root of the mean squared distance to the optima, a learning rate"),
    "weighted_rmse": Column(FLOAT, "the same with the weights of the fit; of the least-squares curve alone"),
    **{
        f"{name}_{end}": Column(FLOAT, f"{word} end of {name}'s 90 % range, over fits to what is known")
        for name in _NUMBERS
        for end, word in (("low", "lower"), ("high", "upper"))
    },
    **_losses("", "loss."),
    "everywhere": Column(
        FLOAT, "chance that it is within the tolerance in all cycles that say something", "loss.within"
    ),
}


def _fit_rows(results: Results) -> Iterator[Parts]:
    if results.decided and results.predicted:
        yield _curve(results, "predicted", results.predicted)
    if fit := results.fit:
        ends = {}
        if fit.drawn is not None:
            for name in PARAMETERS:
                ends[f"{name}_low"], ends[f"{name}_high"] = fit.drawn.interval(name)
        yield {**_curve(results, "least squares", fit.curve), "weighted_rmse": fit.weighted_rmse, **ends}
        yield _curve(results, fit.closest, fit.fewest_misses)


def _curve(results: Results, name: str, curve: SiloCurve) -> dict[str, Any]:
    missed = results.missed(curve)
    away = np.array([float(curve.max_lr(each.cycle)) for each in results.decided])
    away -= np.array([interval.optimum for interval in results.intervals_found])
    return {
        "row": curve,
        "loss": _mean_loss(results, curve.max_lr),
        "curve": name,
        "inside": len(results.decided) - len(missed),
        "missed_cycles": missed,
        "rmse": float(np.sqrt(np.mean(away**2))),
    }


RIVALS: Columns = {
    "rival": Column(TEXT, "what kind of curve", "name"),
    "formula": Column(TEXT, "max_lr(m) in its numbers"),
    "values": Column(TEXT, "those numbers by name, as JSON"),
    "parameters": Column(INT, "how many numbers were fitted"),
    "s_shaped": Column(TRUTH, "whether it can rise slowly, fast and slowly again wherever the data do"),
    "weighted_rmse": Column(
        FLOAT, "root of the weighted mean squared distance to the optima, a learning rate"
    ),
    "loo_error": Column(FLOAT, "the same of predictions of left-out cycles; empty with one cycle"),
    "aicc": Column(
        FLOAT, "corrected information criterion, only differences mean anything; empty with few cycles"
    ),
    **_losses("", "loss."),
    "everywhere": Column(
        FLOAT, "chance that it is within the tolerance in all cycles that say something", "loss.within"
    ),
}


def _rival_rows(results: Results) -> Iterator[Parts]:
    for rival in results.rival_curves.rivals if results.rival_curves else ():
        loss = _mean_loss(results, lambda m, rival=rival: float(rival.max_lr([m])[0]))  # type: ignore[misc]
        yield {"row": rival, "values": json.dumps(rival.values), "loss": loss}


RULES: Columns = {
    "rule": Column(TEXT, "what sets the rates, from the one that takes the fewest trainings on", "name"),
    "trainings": Column(
        INT, "how many that takes: those of the cycles it searches, one per replicate in the others"
    ),
    "rates": Column(TEXT, "of the cycles that say something; ';' between them"),
    "inside": Column(TEXT, "those of these cycles where it is within the tolerance"),
    "unknown": Column(TEXT, "those where that can't be told"),
    "outside": Column(TEXT, "those where it is not"),
    **_losses("", "loss."),
    "everywhere": Column(FLOAT, "chance that it is within the tolerance in all of them", "loss.within"),
}


def _rule_rows(results: Results) -> Iterator[Parts]:
    for each in simpler_rates(results):
        verdicts = {name: each.judged.cycles(name) for name in get_args(Verdict)}
        yield {"row": each, **verdicts, "loss": _lost(results, each.judged.mean)}


COSTS: Columns = {
    "policy": Column(TEXT, "what sets the rates"),
    "trainings": Column(INT, "networks trained in all decided cycles and replicates"),
    "worker_hours": Column(FLOAT, "hours of one worker"),
    "measured": Column(TRUTH, "whether it was run; else estimated from the Oracle's trainings"),
    "last_test_{key}": Column(
        FLOAT, "{range}, of the last decided cycle; empty where it is not known", "last"
    ),
    "test_{by_cycle}": Column(
        TEXT, "of every decided cycle, ';' between them; empty where not known", "test_accuracies"
    ),
    "explanation": Column(TEXT, "where the numbers come from"),
}


def _cost_rows(results: Results) -> Iterator[Parts]:
    for cost in results.policy_costs:
        yield {"row": cost, "last": cost.test_accuracies[-1]}


DIAGNOSTICS: Columns = {
    "cycle": Column(INT, "m, how often the network has been pruned"),
    "density": Column(FLOAT, f"{DENSITY}, mean over the replicates"),
    "max_lr": Column(
        FLOAT, "peak learning rate of the selected networks, whose means over the replicates follow"
    ),
    **{
        name: Column(FLOAT, each.meaning, f"means.{name}")
        for name, each in STATISTICS.items()
        if name != "flipped_signs"
    },
    "predicted": Column(
        FLOAT, "max_lr at which updates are as wide as the dense network's: from gradient_std"
    ),
}


def _diagnostic_rows(results: Results) -> Iterator[Parts]:
    for each, rate in zip(results.distributions, results.diagnosed, strict=True):
        yield {"row": each, "predicted": rate}


RUNS: Columns = {
    "started": Column(TIME, "UTC"),
    "ended": Column(TIME, "UTC; empty if it has not ended, or was killed"),
    "state": Column(TEXT, "running, done, failed or interrupted"),
    "driver": Column(TEXT, "what drove it"),
    "host": Column(TEXT, "where"),
    "versions": Column(TEXT, "package to version, as JSON"),
    "error": Column(TEXT, "first traceback of a run that failed"),
}


def _run_rows(results: Results) -> Iterator[Parts]:
    for run in results.recorded_runs:
        yield {"row": run, "versions": json.dumps(run.versions), "error": without_secrets(run.error)}


_Rows = Callable[["Results"], Iterable[Parts]]

_FRAMES: dict[str, tuple[_Rows, Columns]] = {
    "trials": (trial_rows, TRIALS),
    "curves": (_curve_rows, CURVES),
    "candidates": (_candidate_rows, CANDIDATES),
    "intervals": (_interval_rows, INTERVALS),
    "fits": (_fit_rows, FITS),
    "rivals": (_rival_rows, RIVALS),
    "rules": (_rule_rows, RULES),
    "costs": (_cost_rows, COSTS),
    "diagnostics": (_diagnostic_rows, DIAGNOSTICS),
    "runs": (_run_rows, RUNS),
}


def columns_of(measure: Measure) -> dict[str, Columns]:
    """The columns of each frame, those of scores named for the metric."""
    named = measure.named
    found = {
        name: {named(key): replace(each, meaning=named(each.meaning)) for key, each in columns.items()}
        for name, (_, columns) in _FRAMES.items()
    }
    if measure.searched == MAX_LR:
        return found
    return {name: _of_another(measure.searched, columns) for name, columns in found.items()}


def _of_another(searched: str, columns: Columns) -> Columns:
    """Columns of a search for another number than the peak learning rate, of which SILO says nothing."""
    found = {}
    for key, each in columns.items():
        if not key.startswith(("silo_", "fitted")):
            meaning = each.meaning.replace("peak learning rate", searched).replace(MAX_LR, searched)
            place = each.place or key
            found[key.replace(MAX_LR, searched)] = replace(each, meaning=meaning, place=place)
    return found


def meanings(measure: Measure) -> dict[str, dict[str, str]]:
    """The meaning of each column of each frame, with its unit."""
    found = columns_of(measure)
    return {name: {key: each.meaning for key, each in columns.items()} for name, columns in found.items()}


FRAMES: dict[str, tuple[_Rows, Columns]] = {
    name: (_FRAMES[name][0], columns) for name, columns in columns_of(BY_ACCURACY).items()
}
"""Each frame's rows and columns, by name, of a search judged by accuracy."""

COLUMNS = meanings(BY_ACCURACY)
"""The meaning of each column of each frame, with its unit, of such a search."""
