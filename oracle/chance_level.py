"""Chance-level accuracy, and the bound below which a cycle decided nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    def accuracy(self) -> float:
        """Expected accuracy of a guess, in (0, 1]."""
        return 1.0 / self.classes

    @property
    def highest(self) -> float:
        """Validation accuracy up to which a network may well be guessing."""
        variance = self.accuracy * (1.0 - self.accuracy) / self.validation
        return self.accuracy + _DEVIATIONS * math.sqrt(variance)


def chance_of(identity: Mapping[str, Any]) -> Chance | None:
    """The chance level of a search's data set; None if its identity doesn't tell."""
    if "classes" not in identity or "validation" not in identity:
        return None
    return Chance(classes=identity["classes"], validation=identity["validation"])
