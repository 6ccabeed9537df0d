"""The columns of the trials' frame.

They are stated here until the fields of :class:`trials.tasks.Trial` and ``TrialDiagnostics`` have a meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oracle.results.columns import FLOAT, INT, TEXT, TIME, TRUTH, Column, Columns, Parts
from oracle.results.distributions import STATISTICS

if TYPE_CHECKING:
    from oracle.results.results import Results

DENSITY = "share of the prunable weights that is left, in (0, 1]"

MEANINGS = {
    "gradient_std": "standard deviation of the weights' gradients; empty without diagnostics",
    "update_std": "the same times max_lr",
    "representation_std": "standard deviation of the hidden representations",
    "activation_norm": "average activation norm (Definition 1 of the SILO paper)",
    "gradient_norm": "average gradient norm of the last epoch (Definition 2)",
    "flipped_signs": "share of the weights whose sign changed in the training",
}
"""Meanings of a trial's statistics."""

TRIALS: Columns = {
    "cycle": Column(INT, "m, how often the network has been pruned"),
    "replicate": Column(INT, "index of the independent seed"),
    "max_lr": Column(FLOAT, "peak learning rate"),
    "density": Column(FLOAT, DENSITY),
    "validation_accuracy": Column(
        FLOAT, "in [0, 1], at the best validation; chance level if it diverged", "accuracy"
    ),
    "test_accuracy": Column(FLOAT, "in [0, 1], of the same weights"),
    "best_step": Column(INT, "optimizer steps until the best validation; 0 if there was none"),
    "diverged": Column(TRUTH, "whether a loss, an output or a weight became infinite or NaN"),
    "train_loss": Column(FLOAT, "mean training loss between the last two validations; empty if it diverged"),
    "selected": Column(
        TRUTH, "whether its cycle is decided and its rate the optimum: the network pruned next"
    ),
    **{name: Column(FLOAT, MEANINGS[name], f"diagnostics.{name}") for name in STATISTICS},
    "started": Column(TIME, "when its pack started, UTC"),
    "ended": Column(TIME, "when its pack's training ended, UTC, before its files were written"),
    "pack": Column(INT, "how many trainings ran together, in the same time on the same worker"),
    "worker": Column(TEXT, "host name and process id of the worker"),
    "checkpoint": Column(
        TEXT, "file of the weights, below the search's storage; deleted unless selected", "checkpoint.path"
    ),
    "sha256": Column(TEXT, "its checksum", "checkpoint.sha256"),
}


def trial_rows(results: Results) -> Iterator[Parts]:
    """A trial, the density of its network, and whether it was selected."""
    left = {(pruned.cycle, pruned.replicate): pruned.alive / pruned.prunable for pruned in results.prunings}
    optima = {each.cycle: each.interval.optimum for each in results.decided}
    for trial in results.outcomes:
        density = left.get((trial.cycle, trial.replicate), 1.0 if trial.cycle == 0 else math.nan)
        yield {"row": trial, "density": density, "selected": optima.get(trial.cycle) == trial.max_lr}
