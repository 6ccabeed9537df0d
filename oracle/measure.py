"""How scores are compared: which are better, and which are as good as the best."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from silo._arrays import FloatArray
from silo.errors import InvalidInput
from trials.metrics import ACCURACY, direction
from trials.recipe import Metric

_SHARE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*%\s*")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How the scores of a search are compared.

    Scores are kept, and shown, in the metric's own unit. They are compared as :meth:`comparable` numbers, of
    which the larger is the better, and of which those within :attr:`within` of the best are as good: with a
    relative tolerance these are logarithms, so that a share of the best is a distance.

    Attributes:
        metric: The metric.
        tolerance: How far from the best a score may be: in the metric's unit, or as a share of the best.
        relative: Whether it is a share.
    """

    metric: Metric = ACCURACY
    tolerance: float = 0.005
    relative: bool = False

    @property
    def within(self) -> float:
        """The tolerance, as a distance of comparable scores."""
        if not self.relative:
            return self.tolerance
        return math.log1p(self.tolerance) if self.metric.goal == "min" else -math.log1p(-self.tolerance)

    def comparable(self, score: float) -> float:
        """A score as it is compared: the larger, the better.

        Raises:
            InvalidInput: The tolerance is a share, and the score not above 0.
        """
        if self.relative:
            if score <= 0:
                raise InvalidInput(
                    f"tolerance: a share of the best {self.metric.name} needs scores above 0, got {score:g}: "
                    "give the tolerance in the metric's unit"
                )
            score = math.log(score)
        return direction(self.metric) * score

    def all_comparable(self, scores: Iterable[float]) -> FloatArray:
        """Scores as :meth:`comparable` has them."""
        return np.array([self.comparable(score) for score in scores], dtype=np.float64)

    def score(self, comparable: float) -> float:
        """The score that a comparable number stands for."""
        value = direction(self.metric) * comparable
        return math.exp(value) if self.relative else value

    @property
    def percent(self) -> bool:
        """Whether scores are shown in per cent: accuracies are."""
        return self.metric.name == "accuracy"

    def distance(self, comparable: float) -> str:
        """A distance of comparable scores in words: in per cent of accuracy, or of the score; else in its
        unit."""
        if self.relative:
            return f"{100 * math.expm1(comparable):.3g} %"
        return f"{100 * comparable:.3g} %" if self.percent else f"{comparable:.3g}"

    def __str__(self) -> str:
        """The tolerance in words."""
        shown = self.relative or self.percent
        return f"{100 * self.tolerance:.3g} %" if shown else f"{self.tolerance:.3g}"


BY_ACCURACY = Measure()


def parse_tolerance(given: float | str) -> tuple[float, bool]:
    """A tolerance and whether it is a share of the best: ``0.005``, or ``"1 %"``.

    Raises:
        InvalidInput: It is neither, or out of its range.
    """
    if isinstance(given, str):
        found = _SHARE.fullmatch(given)
        if found is None:
            raise InvalidInput(
                f"tolerance must be a number in the metric's unit, or a share of the best such as '1 %', got "
                f"{given!r}"
            )
        share = float(found.group(1)) / 100
        if not 0 < share < 1:
            raise InvalidInput(f"tolerance must be above 0 % and below 100 %, got {given!r}")
        return share, True
    if not 0 <= given < math.inf:
        raise InvalidInput(f"tolerance must be at least 0, got {given!r}")
    return given, False
