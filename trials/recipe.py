"""Everything that determines a trial's outcome, as plain data that travels to a worker and into a hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

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
