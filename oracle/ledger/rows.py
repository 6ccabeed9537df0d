"""One outcome as one row of an Optuna study, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from trials.tasks import STATISTICS, StoredFile, Trial, TrialDiagnostics, numbers_of

_ELSEWHERE = ("cycle", "max_lr", "accuracy")
"""Fields of a trial that its row tells by its study, its parameter and its value."""

_PLAIN = tuple(name for name in numbers_of(Trial) if name not in _ELSEWHERE)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The ``max_lr`` axis of a study: the grid's ends, and whether it is logarithmic."""

    low: float
    high: float
    log: bool

    def distribution(self, max_lr: float) -> FloatDistribution:
        """The grid's range, widened to a value past its edge: a study takes ranges that differ."""
        return FloatDistribution(min(self.low, max_lr), max(self.high, max_lr), log=self.log)


def to_row(outcome: Trial, *, key: str, axis: Axis) -> FrozenTrial:
    """The finished row of an outcome: parameter ``max_lr``, value the validation accuracy."""
    row = create_trial(
        state=TrialState.COMPLETE,
        value=outcome.accuracy,
        params={"max_lr": outcome.max_lr},
        distributions={"max_lr": axis.distribution(outcome.max_lr)},
        user_attrs=_attributes(outcome, key),
    )
    row.datetime_start = datetime.fromtimestamp(outcome.started)
    row.datetime_complete = datetime.fromtimestamp(outcome.ended)
    return row


def failed_row(*, replicate: int, max_lr: float, error: str, axis: Axis) -> FrozenTrial:
    """The row of a trial that failed for good in one run; another run tries it again."""
    return create_trial(
        state=TrialState.FAIL,
        params={"max_lr": max_lr},
        distributions={"max_lr": axis.distribution(max_lr)},
        user_attrs={"replicate": replicate, "error": error[-2000:]},
    )


def from_row(
    attributes: Mapping[str, Any], *, cycle: int, max_lr: float, accuracy: float
) -> tuple[str, Trial]:
    """Key and outcome of a finished row."""
    return attributes["key"], Trial(
        cycle=cycle,
        max_lr=max_lr,
        accuracy=accuracy,
        checkpoint=StoredFile(path=attributes["checkpoint"], sha256=attributes["sha256"]),
        diagnostics=_diagnostics(attributes),
        **{name: _read(attributes[name]) for name in _PLAIN if name in attributes},
    )


def _attributes(outcome: Trial, key: str) -> dict[str, Any]:
    """In the order in which dashboards show them: what is read first, what programs need last."""
    return {
        **{name: _written(getattr(outcome, name)) for name in _PLAIN},
        **_diagnostics_attributes(outcome.diagnostics),
        "checkpoint": outcome.checkpoint.path,
        "sha256": outcome.checkpoint.sha256,
        "key": key,
    }


def _diagnostics_attributes(diagnostics: TrialDiagnostics | None) -> dict[str, Any]:
    if diagnostics is None:
        return {}
    return {
        **{name: _written(getattr(diagnostics, name)) for name in STATISTICS},
        "diagnostics": diagnostics.file.path,
        "diagnostics_sha256": diagnostics.file.sha256,
    }


def _diagnostics(attributes: Mapping[str, Any]) -> TrialDiagnostics | None:
    if "diagnostics" not in attributes:
        return None
    return TrialDiagnostics(
        file=StoredFile(path=attributes["diagnostics"], sha256=attributes["diagnostics_sha256"]),
        **{name: _read(attributes[name]) for name in STATISTICS},
    )


def _written(value: Any) -> Any:
    """A number as JSON has it, which knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(value: Any) -> Any:
    return math.nan if value is None else value
