"""The tasks of a worker and its answers: plain data that crosses process borders."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar, get_origin, get_type_hints

from silo.errors import InvalidInput
from trials.paths import inside
from trials.recipe import Recipe

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


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a search: its path below the search's storage and the SHA-256 of its bytes.

    Raises:
        InvalidInput: The path leads out of the storage: whoever named it is not to be followed.
    """

    path: str
    sha256: str

    def __post_init__(self) -> None:
        if not inside(self.path):
            raise InvalidInput(
                f"file {self.path!r} does not lie below the search's storage: nothing else is read or deleted"
            )


@dataclass(frozen=True, kw_only=True)
class TrainPack:
    """Train one replicate of a cycle's network once for each of several candidates.

    Attributes:
        cycle: Times that the network has been pruned.
        replicate: Index of the independent seed.
        max_lrs: The candidates: peak learning rates, ascending.
        start: The pruned network that training starts from; None at cycle 0, where it is the initial one.
        together: Most of them that are trained at a time, as more have run out of memory; None for all. It is
            the same task, however many these are.
    """

    cycle: int
    replicate: int
    max_lrs: tuple[float, ...]
    start: StoredFile | None
    together: int | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class PruneNetwork:
    """Prune the network that was selected at the previous cycle.

    Attributes:
        cycle: The cycle that the pruned network is for, at least 1.
        replicate: Index of the independent seed.
        parent: The selected, trained network of ``cycle - 1``.
        parent_start: What the parent's training started from (its masks); None if it was never pruned.
    """

    cycle: int
    replicate: int
    parent: StoredFile
    parent_start: StoredFile | None


Task = TrainPack | PruneNetwork


@dataclass(frozen=True)
class Meaning:
    """The meaning of a result's number, with its range or unit: ledger, frames and exports take it from here.

    Attributes:
        text: In a few words.
        time: Whether it is a point in time, in seconds since 1970.
    """

    text: str
    time: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialDiagnostics:
    """The numbers of a trial's statistics, and where the rest is; see ``trials.diagnostics.Statistics``.

    The file is JSON with all of it: the norms of every epoch, the histograms.
    """

    gradient_std: Annotated[
        float, Meaning("standard deviation of the weights' gradients; empty without diagnostics")
    ]
    update_std: Annotated[float, Meaning("the same times max_lr")]
    representation_std: Annotated[float, Meaning("standard deviation of the hidden representations")]
    activation_norm: Annotated[float, Meaning("average activation norm (Definition 1 of the SILO paper)")]
    gradient_norm: Annotated[float, Meaning("average gradient norm of the last epoch (Definition 2)")]
    flipped_signs: Annotated[float, Meaning("share of the weights whose sign changed in the training")]
    file: StoredFile


def numbers_of(result: type) -> dict[str, tuple[type, Meaning]]:
    """Name to type and meaning of each field of a result's class that states one, in their order."""
    hints = get_type_hints(result, include_extras=True).items()
    return {
        name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints if get_origin(hint) is Annotated
    }


STATISTICS: tuple[str, ...] = tuple(numbers_of(TrialDiagnostics))
"""The numbers of :class:`TrialDiagnostics`."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The outcome of one trial. Each field says what it is; a new one is in ledger and exports, too."""

    cycle: Annotated[int, Meaning("m, how often the network has been pruned")]
    replicate: Annotated[int, Meaning("index of the independent seed")]
    max_lr: Annotated[float, Meaning("peak learning rate")]
    score: Annotated[float, Meaning("in [0, 1], at the best validation; chance level if it diverged")]
    test_score: Annotated[float, Meaning("in [0, 1], of the same weights")]
    best_step: Annotated[int, Meaning("optimizer steps until the best validation; 0 if there was none")]
    diverged: Annotated[bool, Meaning("whether a loss, an output or a weight became infinite or NaN")]
    train_loss: Annotated[
        float, Meaning("mean training loss between the last two validations; empty if it diverged")
    ]
    started: Annotated[float, Meaning("when its pack started, UTC", time=True)]
    ended: Annotated[
        float, Meaning("when its pack's training ended, UTC, before its files were written", time=True)
    ]
    wall_seconds: Annotated[
        float, Meaning("how long its pack trained, whatever the clock was set to meanwhile; 0: unknown")
    ] = 0.0
    pack: Annotated[int, Meaning("how many trainings ran together, in the same time on the same worker")]
    halved: Annotated[
        bool, Meaning("whether these were fewer than the search began with, for want of memory")
    ] = False
    worker: Annotated[str, Meaning("host name and process id of the worker")]
    gpu: Annotated[str, Meaning("model of the GPU that trained it; empty on a CPU, and where unknown")] = ""
    peak_memory: Annotated[
        int, Meaning("most bytes that its worker has held until then, on CUDA in tensors there; 0: unknown")
    ] = 0
    checkpoint: StoredFile
    diagnostics: TrialDiagnostics | None = None
    curve: TrainingCurve = NO_CURVE

    @property
    def lasted(self) -> float:
        """Seconds that its pack trained; of older rows by the clock, and 0 where that was set back."""
        return self.wall_seconds or max(self.ended - self.started, 0.0)


@dataclass(frozen=True, kw_only=True)
class PrunedNetwork:
    """The outcome of one pruning.

    Attributes:
        cycle: The cycle that the pruned network is for.
        replicate: Index of the independent seed.
        start: What that cycle's trainings start from: weights and masks.
        alive: Prunable weights that are left.
        prunable: All prunable weights.
        parameters: All parameters of the network, prunable or not.
        norm_drop: Share of the prunable weights' Euclidean norm that this pruning took, √(1 − ‖after‖² /
            ‖before‖²), in [0, 1].
        parent: SHA-256 of the trained network that was pruned; None if it is not known.
    """

    cycle: int
    replicate: int
    start: StoredFile
    alive: int
    prunable: int
    parameters: int
    norm_drop: float = 0.0
    parent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file that the task needs is missing or is not what was written."""

    file: StoredFile


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The task ended with an error.

    Attributes:
        error: The traceback, or a line that says it all.
        lasting: Whether every task would end so until somebody sees to it: the storage is full or read-only.
        final: Whether this task would end so again: what it takes is not there, or can't be what it is.
        memory: Whether it ran out of memory, so that fewer candidates together may go well.
    """

    error: str
    lasting: bool = False
    final: bool = False
    memory: bool = False


Result = tuple[Trial, ...] | PrunedNetwork | Damaged | Failed


@dataclass(frozen=True, kw_only=True)
class WeightsFingerprint:
    """Tells a network's parameters and buffers from others; see :mod:`trials.weights`.

    Attributes:
        sha256: Of their names, types, shapes and bytes.
        shapes: Of their names, types and shapes.
        norm: Euclidean norm of all of them.
        projections: Their scalar products with fixed waves.
    """

    sha256: str
    shapes: str
    norm: float
    projections: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a worker must know of a search.

    Attributes:
        recipe: How it trains and prunes.
        storage: Folder or URI below which its files lie.
        graphs: Names of the graphs that its driver has compiled: see :class:`trials.engine.engine.Engine`.
        initial: Fingerprints of the initial weights by replicate; workers refuse a network with others.
        share: The part of a GPU's memory that a worker may take, in (0, 1].
    """

    recipe: Recipe
    storage: str
    share: float = 1.0
    graphs: tuple[str, ...] = ()
    initial: tuple[WeightsFingerprint, ...] = ()
