"""How scores are compared: which are better, and which are as good as the best."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from silo._arrays import FloatArray
from silo.errors import InvalidInput
from trials.tasks import ACCURACY, Metric, direction

_UNSAFE = re.compile(r"[^a-z0-9]+")
_SHARE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*%\s*")


MAX_LR = "max_lr"
"""What candidates are values of, unless the spec searches another number."""


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
        searched: The name of what the candidates are values of.
    """

    metric: Metric = ACCURACY
    tolerance: float = 0.005
    relative: bool = False
    searched: str = MAX_LR

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
    def axis(self) -> str:
        """The name of what the candidates are values of, as an axis says it."""
        return f"peak learning rate {MAX_LR}" if self.searched == MAX_LR else self.searched.replace("_", " ")

    @property
    def percent(self) -> bool:
        """Whether scores are shown in per cent: accuracies are."""
        return self.metric.name == "accuracy"

    @property
    def key(self) -> str:
        """The metric's name as a part of a column's name: ``word_error_rate`` of ``Word error rate``."""
        return _UNSAFE.sub("_", self.metric.name.lower()).strip("_")

    @property
    def sign(self) -> str:
        """What an axis says after the metric's name: its unit, or that less is better."""
        return " (%)" if self.percent else " (less is better)" if self.metric.goal == "min" else ""

    @property
    def nothing(self) -> str:
        """What a network that learned nothing is no better than."""
        if self.percent:
            return "chance"
        return "outputs that are all zero" if self.metric.diverged is None else "a training that diverged"

    def label(self, split: str) -> str:
        """A score of a split by its name: ``test accuracy``."""
        return f"{split} {self.metric.name}"

    def heading(self, split: str) -> str:
        """The same as the header of a column, with its unit, in lines."""
        return "\n".join([split, *self.metric.name.split(), *(["(%)"] if self.percent else [])])

    def shown(self, score: float) -> float:
        """A score, or a difference of scores, in the unit in which it is shown."""
        return 100 * score if self.percent else score

    def text(self, score: float, std: float | None = None, *, decimals: int = 2) -> str:
        """A score as it is shown, without a unit, and its deviation if there is one; – where it is missing.

        Args:
            score: The score; NaN where it is missing.
            std: Its deviation.
            decimals: Of accuracies, in per cent. Other scores have four significant digits, their deviations
                two.
        """
        if math.isnan(score):
            return "–"
        words = [f"{100 * score:.{decimals}f}" if self.percent else _digits(score, 4)]
        if std is not None and not math.isnan(std):
            words.append(f"{100 * std:.{decimals}f}" if self.percent else _digits(std, 2))
        return " ± ".join(words)

    def quantity(self, score: float, std: float | None = None, *, decimals: int = 2) -> str:
        """The same with its unit."""
        text = self.text(score, std, decimals=decimals)
        return f"{text} %" if self.percent and not math.isnan(score) else text

    def in_line(self, score: float, std: float | None = None) -> str:
        """The same for a terminal's dense lines: ``97.68% ± 0.43%``."""
        if not self.percent:
            return self.text(score, std)
        return f"{score:.2%}" + ("" if std is None else f" ± {std:.2%}")

    def lost(self, comparable: float) -> float:
        """A distance of comparable scores as what is lost: in the metric's unit, or a share of the best."""
        if not self.relative:
            return comparable
        return math.expm1(comparable) if self.metric.goal == "min" else -math.expm1(-comparable)

    def distance(self, comparable: float) -> str:
        """A distance of comparable scores in words: in per cent of accuracy, or of the score; else in its
        unit."""
        lost = self.lost(comparable)
        return f"{100 * lost:.3g} %" if self.relative or self.percent else f"{lost:.3g}"

    def distances(self, mean: float, low: float, high: float) -> str:
        """A distance of comparable scores with its range: ``0.16 % [0.05, 0.30]``; – where it isn't known."""
        if math.isnan(mean):
            return "–"
        # A rare large loss may lift the mean beyond where 90 % are.
        lost = [self.lost(each) for each in (mean, min(low, mean), max(high, mean))]
        if self.relative or self.percent:
            first, *ends = (f"{100 * each:.2f}" for each in lost)
            return f"{first} % [{', '.join(ends)}]"
        first, *ends = (_digits(each, 2) for each in lost)
        return f"{first} [{', '.join(ends)}]"

    def named(self, text: str) -> str:
        """A text about columns with the metric's words in place of ``{metric}``, ``{key}`` and so on."""
        words = {
            "metric": self.metric.name,
            "key": self.key,
            "scores": "accuracies" if self.percent else "scores",
            "Scores": "Accuracies" if self.percent else "Scores",
            "by_cycle": "accuracies" if self.percent else f"{self.key}_by_cycle",
            "range": "in [0, 1]" if self.percent else "in its own unit",
            "lost": f"share of the best {self.metric.name}" if self.relative else self.metric.name,
            "diverged": "chance level" if self.percent else "a fixed score",
        }
        return text.format(**words)

    def __str__(self) -> str:
        """The tolerance in words."""
        shown = self.relative or self.percent
        return f"{100 * self.tolerance:.3g} %" if shown else f"{self.tolerance:.3g}"


def _digits(value: float, digits: int) -> str:
    """A number with so many significant digits, as a rule without an exponent."""
    text = f"{value:.{digits - 1}e}"
    if not math.isfinite(value) or (value and not 1e-5 <= abs(value) < 1e7):
        return text
    exponent = int(text.partition("e")[2])
    return f"{float(text):.{max(digits - 1 - exponent, 0)}f}" if value else "0"


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
        highest: The same as a comparable score, see :class:`Measure`.
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
