"""The parts of a spec that have fields of their own."""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from oracle.cycles import Grid, linear_values, log_values, stepped_values
from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.paths import check_references
from trials.secrets import secret_in, without_secrets
from trials.tasks import Checkpoint, Component, Metric, Precision, rate_at

MOST = 10_000
"""Most cycles, replicates, rates, or cores of a worker: what is beyond was mistyped, and would never end."""

MOST_PARTS = 1_000
"""Most variants, observers, or names of weights."""

MOST_STEPS = 20_000_000
"""Most epochs or iterations of a training, for the same reason."""

LARGEST_BATCH = 100_000_000
"""Most examples of a step."""

LONGEST_LIMIT = 1e9
"""Seconds, some 30 years: what waits so long needs no limit."""

LARGEST_SEED = 2**64 - 1
"""Seeds of random generators are no larger."""

LARGEST = 1_048_576
"""Bytes of a spec."""

DEEPEST = 50
"""Lists and mappings inside each other."""

MOST_VALUES = 100_000
"""Values of a spec, those that aliases stand for counted each time."""

LONGEST_NUMBER = 400
"""Digits: more than the largest number that a computer calculates with has."""

_NUMBER = re.compile(r"[-+.]?\d[\w.+-]*")


def check_bounds(text: str) -> None:
    """Looks at a text without building what it says.

    Raises:
        InvalidInput: It is too large, too deep, or stands for too much; the message begins with the line.
        MarkedYAMLError: It is no YAML.
    """
    if len(text) > LARGEST:
        raise InvalidInput(f"has more than {LARGEST:,} characters; a spec has a few hundred lines")
    counted = _Counted()
    events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
    for event in events:
        if problem := counted.problem(event):
            raise InvalidInput(f"line {event.start_mark.line + 1}: {problem}")


def check_size(data: Any) -> None:
    """Looks at lists and mappings that were built elsewhere, such as in Python.

    Raises:
        InvalidInput: As :func:`check_bounds`.
    """
    waiting, values = [(data, 0)], 0
    while waiting:
        each, depth = waiting.pop()
        values += 1
        if depth > DEEPEST:
            raise InvalidInput(f"lists and mappings lie more than {DEEPEST} deep inside each other")
        if values > MOST_VALUES:
            raise InvalidInput(f"has more than {MOST_VALUES:,} values")
        if isinstance(each, int) and abs(each) >= 10**LONGEST_NUMBER:
            raise InvalidInput(f"has a number of more than {LONGEST_NUMBER} digits")
        if isinstance(each, Mapping):
            waiting += [(value, depth + 1) for value in each.values()]
        elif isinstance(each, list | tuple):
            waiting += [(value, depth + 1) for value in each]


class _Counted:
    """What the events so far stand for."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = []  # anchor, values before
        self._anchored: dict[str, int] = {}
        self._values = 0

    def problem(self, event: Any) -> str | None:
        """What is wrong with the next event, if anything is."""
        if isinstance(event, CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._anchored[anchor] = self._values - before
            return None
        if not isinstance(event, NodeEvent):
            return None
        if isinstance(event, AliasEvent):
            if event.anchor in (anchor for anchor, _ in self._open):
                return f"*{event.anchor} stands inside what it stands for"
            self._values += self._anchored.get(event.anchor, 1)
        else:
            self._values += 1
        if self._values > MOST_VALUES:
            return f"it stands for more than {MOST_VALUES:,} values, aliases included: take fewer"
        if isinstance(event, ScalarEvent):
            if event.anchor is not None:
                self._anchored[event.anchor] = 1
            if event.style is None and len(event.value) > LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
                return f"a number of {len(event.value):,} digits; at most {LONGEST_NUMBER} are taken"
        if isinstance(event, CollectionStartEvent):
            self._open.append((event.anchor, self._values - 1))
            if len(self._open) > DEEPEST:
                return f"lists and mappings lie more than {DEEPEST} deep inside each other"
        return None


RECORDED = "recorded"
"""Context of the validation of a spec that was taken already: what it holds is hidden where it is shown."""


def _checked(arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    try:
        check_size(arguments)
        check_references(arguments)
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    if info.context != RECORDED and (found := secret_in(arguments)):
        raise ValueError(
            f"a secret seems to stand in {found}, and would stand in the ledger and in reports; give "
            "${env:NAME} or ${file:/PATH} in its place, which workers look up"
        )
    return arguments


Arguments = Annotated[dict[str, Any], AfterValidator(_checked)]
"""Keyword arguments. ``${env:NAME}`` and ``${file:/PATH}`` stand for what a worker has,
such as a password, which is then recorded nowhere, and plays no part in a search's identity."""


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
#: How pydantic names the two kinds of a field that takes one value or a list; no user's name of anything.
TAGS = ("one value", "a list")
Rates = Annotated[
    Annotated[Share, Tag(TAGS[0])]
    | Annotated[tuple[Share, ...], Field(min_length=1, max_length=MOST), Tag(TAGS[1])],
    Discriminator(lambda value: TAGS[isinstance(value, list | tuple)]),
]
# Of a number of prunings, or as a share of a density: 0.512 is three prunings of 0.2.
_SAME = 1e-9


class MayChange:
    """Marks a field that may change under a search that has results, as no outcome depends on it."""


class Part(BaseModel):
    """A part of a spec: fixed, complete, without fields that nobody knows."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a secret
    )

    if not TYPE_CHECKING:  # which knows the fields

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise InvalidInput("\n".join(problems(error, type(self)))) from None

        __init__.__pydantic_base_init__ = True  # what a model is read from goes past it

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        given = value if isinstance(value, list | tuple) else [value]
        flag = bool in (field.annotation, *get_args(field.annotation))
        if any(isinstance(each, bool) for each in given) and not flag:
            about = " ".join((field.description or "").split())
            raise ValueError(f"can't be true or false, got {json.dumps(value, default=str)}; {about}")
        return value


def problems(error: ValidationError, model: type[BaseModel], more: Sequence[str] = ()) -> Iterator[str]:
    """A line for everything that is wrong with what was given.

    Args:
        error: What pydantic says.
        model: What was to be made of it.
        more: Fields that may stand beside the model's own.
    """
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"] if part not in TAGS)
        given = problem["input"]
        if problem["type"] == "too_short" and len(given) >= problem["ctx"]["min_length"]:
            continue  # counted without its wrong entries, which are named
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, problem["loc"][:-1])
            known += more if len(problem["loc"]) == 1 else ()
            near = did_you_mean(problem["loc"][-1], known)
            yield f"{field}: unknown field{near}; known: {', '.join(known)}"
        elif problem["type"] == "missing":
            yield f"{field}: is missing; {_description(model, problem['loc'])}"
        elif problem["type"] == "value_error":
            yield f"{field}: {problem['ctx']['error']}" if field else str(problem["ctx"]["error"])
        elif problem["type"] == "string_pattern_mismatch":
            ((others, length),) = _NAME.findall(problem["ctx"]["pattern"])
            yield (
                f"{field}: must be 1 to {int(length) + 1} of A-Z, a-z, 0-9 and {others!r}, the first a "
                f"letter or a digit, got {shown(given)}"
            )
        elif problem["type"] in _FORMS:
            names = [] if problem["type"] == "tuple_type" else _fields_at(model, problem["loc"])
            fields = f" of the fields {', '.join(names)}" if names else ""
            bare = "a name, or " if names[:1] == ["name"] else ""
            yield f"{field}: must be {bare}{_FORMS[problem['type']]}{fields}, got {shown(given)}"
        else:
            yield f"{field}: {problem['msg']}, got {shown(given)}"


_NAME = re.compile(r"\[A-Za-z0-9([^]]+)\]\{0,(\d+)\}\$")
"""How a name goes on: the characters beside letters and digits, and how many at most."""

_FORMS = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "a text",
}
"""What YAML calls what a field must be."""


def shown(value: Any) -> str:
    """A value as a line says it: short, and without secrets."""
    text = repr(without_secrets(value))
    return text if len(text) <= 80 else text[:77] + "..."


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    found = _model_at(model, location)
    return list(found.model_fields) if found else []


def _description(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    found, name = _model_at(model, location[:-1]), str(location[-1])
    text = (found.model_fields[name].description or "") if found and name in found.model_fields else ""
    return " ".join(text.split()) or "give a value"


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    for part in location:
        if isinstance(part, int):  # of a list, whose entries are alike
            continue
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None


class ComponentSpec(Part):
    """A thing by name with its arguments; a bare string stands for a name without arguments."""

    name: str = Field(min_length=1)
    """A known name, or ``package.module:name`` for one of your own."""
    arguments: Arguments = Field(default_factory=dict)
    """Keyword arguments. ``${env:NAME}`` and ``${file:/PATH}`` stand for what a worker's environment or a
    file has, such as a password, which is then recorded nowhere, and plays no part in a search's identity."""

    def component(self) -> Component:
        """The component as the workers know it."""
        return Component(name=self.name, arguments=self.arguments)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Named = Annotated[ComponentSpec, BeforeValidator(_named, json_schema_input_type=str | ComponentSpec)]


def _file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(max_length=MOST_PARTS),
    BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]),
]
"""Names or patterns; a bare string stands for a list of one."""


class CheckpointSpec(Part):
    """Weights from a file; a bare string stands for the file alone."""

    file: str = Field(min_length=1)
    """A path that every node sees, or a URI (``s3://bucket/file``): safetensors, or torch's of a state_dict,
    alone or beside what else training keeps."""
    leave_out: Patterns = ()
    """Tensors that are drawn for each replicate instead: names, or patterns such as ``head.*``."""

    def checkpoint(self, sha256: str) -> Checkpoint:
        """The checkpoint as the workers know it."""
        return Checkpoint(file=self.file, leave_out=self.leave_out, sha256=sha256)


class NetworkSpec(ComponentSpec):
    """A network by name with its arguments, and the weights that it begins with."""

    checkpoint: Annotated[
        CheckpointSpec | None, BeforeValidator(_file, json_schema_input_type=str | CheckpointSpec | None)
    ] = None
    """A file of weights to begin with, instead of those that its code draws: a path or a URI, or
    ``{file: …, leave_out: [head.*]}``."""


NamedNetwork = Annotated[NetworkSpec, BeforeValidator(_named, json_schema_input_type=str | NetworkSpec)]


class PruningSpec(Part):
    """How the network is pruned between two cycles."""

    pruner: Named = ComponentSpec(name="global_magnitude")
    """Criterion: ``global_magnitude``, ``layer_magnitude``, ``global_gradient``, ``lamp``, ``lap``,
    ``l1_filter`` (whole filters), ``random``, or your own."""
    rate: Rates = 0.2
    """Share of the remaining weights that each pruning removes; or a list, one per pruning: before cycles 1,
    2, …, the last for all later ones."""
    keep: Patterns = ()
    """Weights that are never pruned: parameter names, or patterns such as ``classifier.*``."""
    also: Patterns = ()
    """Weights that are pruned beside those of convolutions, linear, bilinear, recurrent and attention layers:
    names or patterns, such as ``embedding.*``, or of parameters of modules of your own."""

    def share(self) -> float:
        """The one rate that SILO's curve has for p: of several, that which leaves as much in the end."""
        if isinstance(self.rate, float):
            return self.rate
        return 1 - math.prod(1 - rate for rate in self.rate) ** (1 / len(self.rate))

    def densities(self, cycles: int, known: tuple[float, ...] = (1.0,)) -> tuple[float, ...]:
        """The shares of the weights that are left at so many cycles, of which the first are known."""
        found = list(known)
        while len(found) < cycles:
            found.append(found[-1] * (1 - rate_at(self.rate, len(found))))
        return tuple(found)

    def cycles_until(self, density: float) -> int:
        """The number of cycles of which the last is the first with no more than such a share of weights."""
        cycles, left = 1, 1.0
        listed = () if isinstance(self.rate, float) else self.rate
        for rate in listed:
            if left <= density * (1 + _SAME):
                return cycles
            cycles, left = cycles + 1, left * (1 - rate)
        more = (math.log(density) - math.log(left)) / math.log1p(-rate_at(self.rate, cycles))
        return cycles + max(math.ceil(more - _SAME), 0)


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


class GridSpec(Part):
    """The candidates of every cycle: low and high with points or step, or values."""

    low: Rate | None = None
    """Smallest peak learning rate."""
    high: Rate | None = None
    """Largest peak learning rate."""
    points: int | None = Field(default=None, ge=2, le=MOST)
    """Number of values from low to high."""
    step: Rate | None = None
    """Distance of neighbours on a linear grid, instead of points."""
    scale: Literal["linear", "log"] = "log"
    """``linear``: constant difference; ``log``: constant ratio. Also how the grid extends."""
    values: Annotated[tuple[Rate, ...], Field(max_length=MOST)] | None = None
    """The values themselves, ascending, instead of low and high."""
    over: str | None = None
    """Instead of ``max_lr``, the number of the training that the candidates are values of, such as
    ``training.optimizer.arguments.weight_decay`` or ``training.batch_size``; ``training.max_lr`` is fixed
    then."""
    extend: bool = True
    """Whether a cycle's grid grows past an edge that its optimized interval touches."""
    limit: int = Field(default=8, ge=1, le=MOST)
    """Most values that are added past each edge in one cycle."""

    @field_validator("over")
    @classmethod
    def _is_of_training(cls, over: str | None) -> str | None:
        if over is not None and not re.fullmatch(r"training(\.[A-Za-z_]\w*){1,3}", over):
            raise ValueError(
                "must name a number of the training, such as training.optimizer.arguments.weight_decay or "
                f"training.batch_size, got {over!r}"
            )
        return over

    @field_validator("values", mode="before")
    @classmethod
    def _are_above_zero(cls, values: Any) -> Any:
        if isinstance(values, list | tuple) and any(_is_zero(value) for value in values):
            raise ValueError(
                "must be above 0, as neighbours are compared by their ratio; for none of it take a small "
                f"value, such as 1e-6, got {list(values)}"
            )
        return values

    @model_validator(mode="after")
    def _complete(self) -> GridSpec:
        if self.values is not None:
            if any(v is not None for v in (self.low, self.high, self.points, self.step)):
                raise ValueError("takes either values, or low and high with points or step, not both")
            if len(self.values) < 2:
                raise ValueError(f"needs at least two values to choose from, got {list(self.values)}")
            if list(self.values) != sorted(set(self.values)):
                raise ValueError(f"values must ascend without repeats, got {list(self.values)}")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high (with points or step), or values")
        if self.low >= self.high:
            raise ValueError(f"low must be smaller than high, got low {self.low} and high {self.high}")
        if (self.points is None) == (self.step is None):
            raise ValueError("needs exactly one of points and step")
        if self.step is not None and self.scale == "log":
            raise ValueError("step goes with scale: linear; a log grid takes points")
        if self.step is not None and self.low + self.step > self.high * (1 + 1e-9):
            raise ValueError(
                f"step {self.step} leaves a single value between {self.low} and {self.high}; "
                "take a smaller one"
            )
        if self.step is not None and (self.high - self.low) / self.step > MOST:
            raise ValueError(
                f"step {self.step} makes more than {MOST:,} values from {self.low} to {self.high}; "
                "take a larger one"
            )
        values = self._values()
        if list(values) != sorted(set(values)):
            raise ValueError(
                f"{len(values)} values between {self.low} and {self.high} are too close to tell apart; "
                "take fewer"
            )
        return self

    def grid(self) -> Grid:
        """The grid itself."""
        return Grid(values=self._values(), scale=self.scale, limit=self.limit if self.extend else 0)

    def _values(self) -> tuple[float, ...]:
        if self.values is not None:
            return self.values
        assert self.low is not None and self.high is not None
        if self.step is not None:
            return stepped_values(self.low, self.high, self.step)
        assert self.points is not None
        space = linear_values if self.scale == "linear" else log_values
        return space(self.low, self.high, self.points)


class TrainingSpec(Part):
    """One training. Its length is counted in epochs or in iterations, and so are the schedule's lengths."""

    epochs: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    """Length in passes over the training split."""
    iterations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    """Length in optimizer steps, instead of epochs."""
    max_lr: Rate | None = None
    """Peak learning rate, where ``grid.over`` searches another number."""
    batch_size: int = Field(default=128, ge=1, le=LARGEST_BATCH)
    """Examples per step."""
    loss: Named = ComponentSpec(name="cross_entropy")
    """Loss of a batch: ``cross_entropy`` (arguments ``label_smoothing``, ``weight``, ``ignore_index``), or
    your own function of (outputs, targets), such as ``torch.nn.functional:mse_loss``."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of a step's gradient, to which longer ones are scaled; by default any."""
    loop: Named | None = None
    """Your own training loop, in place of the built-in one: a function ``(network, training, **arguments)``
    that trains the network and gives its validation score; see the README. Its arguments may stand beside it,
    as ``training: {loop: …, arguments: {…}}``."""
    optimizer: Named = ComponentSpec(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4})
    """Optimizer and its parameters, without the learning rate: ``sgd``, ``adam``, ``adamw``, ``rmsprop``, or
    your own."""
    schedule: Named = ComponentSpec(name="constant")
    """Learning rate over a training: ``warmup_drops``, ``constant``, ``linear_decay``, ``cyclical``,
    ``cosine``, ``one_cycle``, or your own."""
    evaluate_every: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    """Distance between two validations, in epochs or iterations; an epoch by default."""
    pack: int | None = Field(default=None, ge=1, le=MOST)
    """Candidates that one worker trains together; by default what is fastest for the network and machine.
    Under a search with results it may shrink; a worker whose memory is too short halves its packs, too."""
    compile: bool | None = None
    """Whether a whole step is compiled to one graph; it takes a C++ compiler on each node, on CUDA Triton. By
    default it is tried and measured, where a search is long enough to repay it."""
    cuda_graph: Literal["off", "pack", "streams"] | None = None
    """On CUDA, whether steps are recorded and replayed: one graph for a ``pack``, or one for each of its
    candidates, side by side on ``streams``. By default what was measured as fastest; with ``compile: true``
    nothing is measured, and nothing recorded unless it says so here."""
    channels_last: bool | None = None
    """Whether images lie in memory with their channels innermost; by default what was measured as faster."""
    precision: Precision = "fp32"
    """``fp32``: float32, the same numbers every time; ``tf32``: CUDA's fast products; ``bf16``: autocast."""
    diagnostics: bool = False
    """Whether statistics of gradients, activations and weight changes are measured after each training."""

    @model_validator(mode="before")
    @classmethod
    def _arguments_of_the_loop(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "arguments" not in given:
            return given
        loop = given.get("loop")
        if not isinstance(loop, str):
            raise ValueError("arguments are those of loop: give loop as well, as 'package.module:function'")
        rest = {name: value for name, value in given.items() if name != "arguments"}
        return {**rest, "loop": {"name": loop, "arguments": given["arguments"]}}

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        lengths = (self.epochs is not None) + (self.iterations is not None)
        if self.loop is None and lengths != 1:
            raise ValueError("needs exactly one of epochs and iterations")
        if lengths > 1:
            raise ValueError("takes epochs or iterations, not both")
        return self

    @model_validator(mode="after")
    def _loop_trains_alone(self) -> TrainingSpec:
        if self.loop is None:
            return self
        # By value, as a recorded spec names every field. Of loss, pruners that need gradients make use.
        ours = {"optimizer", "clip", "compile", "cuda_graph", "channels_last", "evaluate_every", "precision"}
        fields = type(self).model_fields
        given = [name for name in sorted(ours) if getattr(self, name) != fields[name].default]
        given += ["diagnostics"] * self.diagnostics + ["pack"] * (self.pack not in (None, 1))
        if given:
            raise ValueError(
                f"{', '.join(given)} can't go with loop: that is the built-in loop's; do it in yours, or "
                "leave "
                "it out"
            )
        return self


class MetricSpec(Part):
    """The score that trainings are judged by."""

    name: str = Field(default="accuracy", pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.@/-]{0,39}$")
    """Its name, for words and axes: ``accuracy``, or what yours is called."""
    function: str | None = Field(default=None, min_length=1)
    """``package.module:name``: a function of all outputs and targets of a split that gives a number, or a
    class with ``update(outputs, targets)`` and ``compute()``, as those of torchmetrics are."""
    arguments: Arguments = Field(default_factory=dict)
    """Its keyword arguments."""
    goal: Literal["max", "min"] = "max"
    """Whether more is better, or less."""
    diverged: float | None = None
    """Score of a training that diverged; by default that of a network which knows nothing: chance level, or
    the score of outputs that are all zero."""

    @model_validator(mode="after")
    def _makes_sense(self) -> MetricSpec:
        if self.name == "accuracy" and (self.function is not None or self.goal == "min"):
            raise ValueError(
                "accuracy has no function of its own, and more of it is better: name yours otherwise"
            )
        if self.function is None and self.arguments:
            raise ValueError("arguments are those of function: give it, too")
        return self

    def metric(self) -> Metric:
        """The metric as the workers know it."""
        function = None
        if self.function is not None:
            function = Component(name=self.function, arguments=self.arguments)
        return Metric(name=self.name, function=function, goal=self.goal, diverged=self.diverged)


NamedMetric = Annotated[MetricSpec, BeforeValidator(_named, json_schema_input_type=str | MetricSpec)]


class SiloSpec(Part):
    """SILO's four numbers, to compare the Oracle with."""

    q: int = Field(default=1, ge=0, le=MOST)
    """Cycles before the curve rises."""
    beta: float = Field(default=5.0, gt=0)
    """How late and how steeply it rises."""
    epsilon: float = Field(ge=0)
    """Peak learning rate before the rise."""
    delta: float = Field(ge=0)
    """Height of the rise."""


class ResourcesSpec(Part):
    """The share of a machine that one worker gets."""

    workers: int | None = Field(default=None, ge=1, le=MOST)
    """Workers at a time; by default as many as the cluster has room for."""
    cpus: float = Field(default=1.0, gt=0, le=MOST)
    """CPU cores of one worker; torch uses as many threads."""
    gpus: float = Field(default=0.0, ge=0, le=MOST)
    """GPUs of one worker, at most 1; fractions share a GPU, each held to its part of the memory."""
    time_limit: float | None = Field(default=None, gt=0, le=LONGEST_LIMIT)
    """Seconds that a worker on Ray may take for one pack of trainings or one pruning, after which it is
    replaced and the task tried again; by default it may take for ever."""

    @field_validator("gpus")
    @classmethod
    def _at_most_one_gpu(cls, gpus: float, info: ValidationInfo) -> float:
        if gpus > 1 and info.context != RECORDED:
            raise ValueError(
                f"a worker trains on one GPU, and {gpus:g} would leave others idle: take 1 and more workers"
            )
        return gpus
