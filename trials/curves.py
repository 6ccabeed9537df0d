"""The curve of a training: what it reached at its validations, small enough to be kept for every trial."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

MOST_POINTS = 200
"""Points of a curve that are kept."""

_DIGITS = 5
_Each = TypeVar("_Each")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A point of a training's curve.

    Attributes:
        step: Optimizer steps so far.
        score: Validation score; infinite or NaN where an output was.
        train_loss: Mean training loss since the validation before.
    """

    step: int
    score: float
    train_loss: float


@dataclass(frozen=True)
class TrainingCurve:
    """A training's validations as a short text: a search of 100,000 trials holds as many curves.

    At most :data:`MOST_POINTS` are kept, evenly, the first and the last among them; numbers have five digits.

    Attributes:
        text: JSON of three lists, of the steps, the scores and the losses, where null is what isn't finite;
            empty where nothing was noted.
    """

    text: str = ""

    @classmethod
    def of(cls, validations: Sequence[Validation]) -> TrainingCurve:
        """The curve of some validations, in their order."""
        if not validations:
            return cls()
        kept = thinned(validations, MOST_POINTS)
        columns = (
            [each.step for each in kept],
            [_short(each.score) for each in kept],
            [_short(each.train_loss) for each in kept],
        )
        return cls(json.dumps(columns, separators=(",", ":")))

    @property
    def validations(self) -> tuple[Validation, ...]:
        """The points; NaN where a number wasn't finite."""
        if not self.text:
            return ()
        return tuple(
            Validation(step=step, score=_number(score), train_loss=_number(loss))
            for step, score, loss in zip(*json.loads(self.text), strict=True)
        )


NO_CURVE = TrainingCurve()
"""Of a training that noted nothing, or was read from a ledger of an earlier version."""


def thinned(points: Sequence[_Each], most: int) -> list[_Each]:
    """At most so many of some points, at least 2, evenly from the first to the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
