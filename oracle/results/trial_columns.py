"""The columns of the trials' frame: those of :class:`trials.tasks.Trial`, by its own names and meanings.

A column is named for the search's metric: see :meth:`oracle.measure.Measure.named`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oracle.results.columns import FLOAT, INT, TEXT, TIME, TRUTH, Column, Columns, Parts
from trials.tasks import Meaning, Trial, TrialDiagnostics, numbers_of

if TYPE_CHECKING:
    from oracle.results.results import Results

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
