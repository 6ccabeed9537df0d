"""The recipe of a search, the tasks of a worker and its answers: plain data that crosses process borders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

from silo.errors import InvalidInput
from trials.paths import inside

Retraining = Literal["weight_rewinding", "lr_rewinding", "fine_tuning"]
Unit = Literal["epochs", "iterations"]
Device = Literal["cpu", "cuda"]
Precision = Literal["fp32", "tf32", "bf16"]
"""``fp32``: float32 throughout, and on CUDA those of cuDNN's kernels that give the same numbers every time.
``tf32``: CUDA's products and convolutions round their inputs to 10 bits of mantissa; as ``fp32`` on a CPU.
``bf16``: torch's autocast computes products and convolutions in bfloat16; weights, gradients and updates stay
float32."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A thing by name, from one of the registries or as ``package.module:name``, with its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The file of the weights that the networks begin with.

    Attributes:
        file: A path or a URI, as it was given: every node reads it there.
        leave_out: Names and patterns of tensors that are drawn for each replicate instead.
        sha256: Checksum of the file that the search began with; empty while that is not known.
    """

    file: str
    leave_out: tuple[str, ...] = ()
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The score that trainings are judged by, on the validation and the test split.

    Attributes:
        name: Its name, for words and axes.
        function: What computes it of outputs and targets; None for accuracy, and where a loop of the user's
            own gives the score.
        goal: Whether more of it is better, or less.
        diverged: The score that a training which diverged gets; None for that of a network which knows
            nothing: chance level for accuracy, else that of outputs that are all zero.
    """

    name: str = "accuracy"
    function: Component | None = None
    goal: Literal["max", "min"] = "max"
    diverged: float | None = None


ACCURACY = Metric()
"""The share of right answers, the more the better."""


def direction(metric: Metric) -> float:
    """1 if more is better, else -1: scores times it can be compared."""
    return 1.0 if metric.goal == "max" else -1.0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """A way to compute the trainings of a pack: all give the same numbers but for rounding.

    Attributes:
        pack_size: Most candidates that are trained together; 1 trains each alone.
        compiled: Whether a whole step (forward, backward, mask, update) is one compiled graph.
        channels_last: Whether images lie in memory with their channels innermost.
        captured: Whether the kernels of a step are recorded as a CUDA graph, and replayed.
        streams: Whether each candidate of a pack has a CUDA graph and a stream of its own, in place of one
            vectorised step for all; only with ``captured``.
    """

    pack_size: int = 1
    compiled: bool = False
    channels_last: bool = False
    captured: bool = False
    streams: bool = False

    def __str__(self) -> str:
        count = self.pack_size
        words = [f"up to {count} candidates together" if count > 1 else "each candidate alone"]
        words += ["compiled"] * self.compiled + ["channels last"] * self.channels_last
        graphs = "a CUDA graph each, on streams" if self.streams else "as a CUDA graph"
        return ", ".join(words + [graphs] * self.captured)

    @property
    def vectorised(self) -> bool:
        """Whether one call computes all candidates of a pack."""
        return self.pack_size > 1 and not self.streams

    @property
    def traced(self) -> bool:
        """Whether a step is a graph, and not one operation after another."""
        return self.compiled or self.captured


COUNTED = ("batch_size", "length")
"""Fields of a recipe that hold whole numbers, of those that candidates may be values of."""


def rate_at(rates: float | tuple[float, ...], cycle: int) -> float:
    """The share that the pruning before a cycle of at least 1 removes: see :class:`Recipe`."""
    return rates if isinstance(rates, float) else rates[min(cycle, len(rates)) - 1]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a worker is told of how a search trains and prunes.

    Whatever changes a trial's outcome is a field here, as a trial's key is a digest of all of them: see
    :class:`oracle.identity.Keys`.

    Attributes:
        network: The network and its arguments.
        checkpoint: The weights that it begins with; None for those that its code draws.
        dataset: The data set and its arguments; ``none`` where a loop of the user's own needs none.
        pruner: The pruning criterion and its arguments.
        pruning_rate: Share of the remaining weights that one pruning removes, in (0, 1); or one per pruning,
            the last of which holds for all later ones.
        keep: Names or patterns of weights that are never pruned.
        also: Names or patterns of weights that are pruned beside those of layers that pruning knows.
        retraining: Where a pruned network starts from.
        rewind_to: With weight rewinding, the point of cycle 0's training, in ``unit``, whose weights and
            place in the schedule a pruned network goes back to; 0 for the initial weights.
        loop: The user's own training loop and its arguments; None for the built-in one.
        loss: The built-in loop's loss and its arguments.
        clip: The largest Euclidean norm of a step's gradient, to which longer ones are scaled; None for any.
        metric: The score that trainings are judged by.
        over: The field that the candidates are values of, as a dotted path such as
            ``optimizer.arguments.weight_decay``; None for the peak learning rate.
        max_lr: The peak learning rate, where the candidates are values of another field.
        length: Length of one training, in ``unit``; 0 where a loop of the user's own decides on it.
        unit: The unit of ``length``, of ``evaluate_every`` and of the schedule's arguments.
        batch_size: Examples per step; the incomplete last batch of an epoch is left out.
        evaluate_every: Distance between two validations in ``unit``; None means one epoch.
        optimizer: The optimizer and its arguments, without the learning rate.
        schedule: The schedule and its arguments.
        seed: Seed of the whole search; all else that is random derives from it.
        execution: How the trainings of a pack are computed.
        precision: How exactly it computes.
        diagnostics: Whether statistics of gradients and activations are measured after each training.
        device: The kind of device that trains: others round differently.
        threads: Threads that torch has on a CPU: another number adds in another order.
    """

    network: Component
    checkpoint: Checkpoint | None = None
    dataset: Component
    pruner: Component
    pruning_rate: float | tuple[float, ...]
    keep: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    retraining: Retraining = "weight_rewinding"
    rewind_to: int = 0
    loop: Component | None = None
    loss: Component = Component(name="cross_entropy")
    clip: float | None = None
    metric: Metric = Metric()
    over: str | None = None
    max_lr: float | None = None
    length: int
    unit: Unit = "epochs"
    batch_size: int
    evaluate_every: int | None = None
    optimizer: Component
    schedule: Component
    seed: int = 0
    execution: Execution = Execution()
    precision: Precision = "fp32"
    diagnostics: bool = False
    device: Device = "cpu"
    threads: int = 1

    @property
    def components(self) -> dict[str, Component]:
        """Field to component of everything that is chosen by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["metric"] = self.metric.function
        return {name: value for name, value in found.items() if isinstance(value, Component)}

    def of_candidate(self, value: float) -> tuple[Recipe, float]:
        """How a candidate is trained, and with what peak learning rate.

        Args:
            value: The peak learning rate itself, or of the field ``over``; a whole one for what counts.
        """
        if self.over is None:
            return self, value
        assert self.max_lr is not None, "it goes with over"
        field, *rest = self.over.split(".")
        given: Any = int(value) if value.is_integer() and field in COUNTED else value
        if rest:
            component: Component = getattr(self, field)
            _, name = rest
            given = replace(component, arguments={**component.arguments, name: value})
        return replace(self, **{field: given, "over": None}), self.max_lr

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON-able data, every default included."""
        return asdict(self)


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
