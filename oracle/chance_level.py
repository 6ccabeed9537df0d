"""Chance level, and the bound below which a cycle decided nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oracle.measure import BY_ACCURACY, Measure

_DEVIATIONS = 3.0
"""Standard deviations of a guess's accuracy that the best of several guesses may lie above chance."""


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Chance level of a data set whose classes are equally frequent.

    Attributes:
        classes: Number of classes.
        validation: Examples of the validation split.
    """

    classes: int
    validation: int

    @property
    def score(self) -> float:
        """Expected accuracy of a guess, in (0, 1]."""
        return 1.0 / self.classes

    @property
    def highest(self) -> float:
        """Validation accuracy up to which a network may well be guessing."""
        variance = self.score * (1.0 - self.score) / self.validation
        return self.score + _DEVIATIONS * math.sqrt(variance)


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What a network that knows nothing reaches by a metric of the user's own: the score of zeros.

    Attributes:
        score: The score.
        highest: The same as a comparable score, see :class:`oracle.measure.Measure`.
    """

    score: float
    highest: float


def chance_of(identity: Mapping[str, Any], measure: Measure = BY_ACCURACY) -> Chance | Floor | None:
    """What a network of a search reaches by guessing; None if its identity doesn't tell."""
    if (floor := identity.get("floor")) is not None:
        return Floor(score=floor, highest=measure.comparable(floor))
    if measure.metric.name != "accuracy" or not (identity.get("classes") and identity.get("validation")):
        return None
    chance = Chance(classes=identity["classes"], validation=identity["validation"])
    return Floor(score=chance.score, highest=math.log(chance.highest)) if measure.relative else chance
