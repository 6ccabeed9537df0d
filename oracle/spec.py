"""The spec of a search: one YAML file, checked once, here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from oracle.grid import Grid, linear_values, log_values, stepped_values
from oracle.policies import OraclePolicy, Policy, make_policy
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from trials.recipe import Component, Precision, Recipe, Way

SearchName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ComponentSpec(_Model):
    """A thing by name with its arguments; a bare string stands for a name without arguments."""

    name: str = Field(min_length=1)
    """A known name, or ``package.module:name`` for one of your own."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments."""

    def component(self) -> Component:
        """The component as the workers know it."""
        return Component(name=self.name, arguments=self.arguments)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Named = Annotated[ComponentSpec, BeforeValidator(_named)]


class PruningSpec(_Model):
    """How the network is pruned between two cycles."""

    pruner: Named = ComponentSpec(name="global_magnitude")
    """Criterion: ``global_magnitude``, ``layer_magnitude``, ``global_gradient``, ``lamp``, ``lap``,
    ``l1_filter`` (whole filters), ``random``, or your own."""
    rate: float = Field(default=0.2, gt=0, lt=1)
    """Share of the remaining weights that each pruning removes."""
    keep: tuple[str, ...] = ()
    """Weights that are never pruned: parameter names, or patterns such as ``classifier.*``."""


class GridSpec(_Model):
    """The candidates of every cycle: low and high with points or step, or values."""

    low: Rate | None = None
    """Smallest peak learning rate."""
    high: Rate | None = None
    """Largest peak learning rate."""
    points: int | None = Field(default=None, ge=2)
    """Number of values from low to high."""
    step: Rate | None = None
    """Distance of neighbours on a linear grid, instead of points."""
    scale: Literal["linear", "log"] = "log"
    """``linear``: constant difference; ``log``: constant ratio. Also how the grid extends."""
    values: tuple[Rate, ...] | None = None
    """The values themselves, ascending, instead of low and high."""
    extend: bool = True
    """Whether a cycle's grid grows past an edge that its optimized interval touches."""
    limit: int = Field(default=8, ge=1)
    """Most values that are added past each edge in one cycle."""

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


class TrainingSpec(_Model):
    """One training. Its length is counted in epochs or in iterations, and so are the schedule's lengths."""

    epochs: int | None = Field(default=None, ge=1)
    """Length in passes over the training split."""
    iterations: int | None = Field(default=None, ge=1)
    """Length in optimizer steps, instead of epochs."""
    batch_size: int = Field(default=128, ge=1)
    """Examples per step."""
    optimizer: Named = ComponentSpec(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4})
    """Optimizer and its parameters, without the learning rate: ``sgd``, ``adam``, ``adamw``, ``rmsprop``, or
    your own."""
    schedule: Named = ComponentSpec(name="constant")
    """Learning rate over a training: ``warmup_drops``, ``constant``, ``linear_decay``, ``cyclical``,
    ``cosine``, ``one_cycle``, or your own."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Distance between two validations, in epochs or iterations; an epoch by default."""
    pack: int | None = Field(default=None, ge=1)
    """Candidates that one worker trains together; by default what is fastest for the network and machine."""
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

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("needs exactly one of epochs and iterations")
        return self


class SiloSpec(_Model):
    """SILO's four numbers, to compare the Oracle with."""

    q: int = Field(default=1, ge=0)
    """Cycles before the curve rises."""
    beta: float = Field(default=5.0, gt=0)
    """How late and how steeply it rises."""
    epsilon: float = Field(ge=0)
    """Peak learning rate before the rise."""
    delta: float = Field(ge=0)
    """Height of the rise."""


class ResourcesSpec(_Model):
    """What one worker gets."""

    workers: int | None = Field(default=None, ge=1)
    """Workers at a time; by default as many as the cluster has room for."""
    cpus: float = Field(default=1.0, gt=0)
    """CPU cores of one worker; torch uses as many threads."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of one worker; fractions share a GPU (they don't divide its memory)."""
    time_limit: float | None = Field(default=None, gt=0)
    """Seconds that a worker on Ray may take for one pack of trainings or one pruning, after which it is
    replaced and the task tried again; by default it may take for ever."""


class Spec(_Model):
    """A search for the best peak learning rate ``max_lr`` at every pruning cycle."""

    name: SearchName
    """The search's name: letters, digits, dots, dashes and underscores, at most 63."""
    network: Named
    """Network: ``fc``, ``alexnet``, ``resnet20``, ``vgg19``, ``densenet40``, ``mobilenetv2``, ``resnet50``,
    ``vit_b_16``, ``vit``, or your own."""
    dataset: Named
    """Data set: ``digits``, ``mnist``, ``fashion_mnist``, ``cifar10``, ``cifar100``, ``svhn``, ``imagenet``,
    ``image_folder``, ``synthetic``, or your own."""
    pruning: PruningSpec = PruningSpec()
    """How the network is pruned between two cycles."""
    cycles: int = Field(ge=1)
    """Cycles, the first of which trains the dense network."""
    replicates: int = Field(default=3, ge=1)
    """Independent seeds per candidate; decisions are made on their mean."""
    retraining: Literal["weight_rewinding", "lr_rewinding", "fine_tuning"] = "weight_rewinding"
    """What a pruned network starts from: the initial weights, the trained weights with the schedule begun
    again, or the trained weights at the schedule's last rate."""
    policy: Named = ComponentSpec(name="oracle")
    """What sets ``max_lr`` at each cycle: ``oracle`` (search the grid), ``silo`` (the curve below), ``fixed``
    (argument ``max_lr``), or ``allr`` (arguments ``max_lr`` and ``minimum``)."""
    rewind_to: int = Field(default=0, ge=0)
    """With weight rewinding, the epoch (or iteration, as the training's length counts) of cycle 0's training
    whose weights and place in the schedule a pruned network goes back to; 0 for the initial weights."""
    grid: GridSpec | None = None
    """The candidates of every cycle, for the Oracle."""
    training: TrainingSpec
    """How one training goes."""
    tolerance: float = Field(default=0.005, ge=0, lt=1)
    """How far below the best validation accuracy the optimized interval reaches, as an absolute share."""
    silo: SiloSpec | None = None
    """The curve to compare the Oracle with; without it only the fitted curve is shown."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one worker gets."""
    storage: str = Field(default="oracle-results", min_length=1)
    """Folder (or URI, such as ``s3://bucket/folder`` or ``s3://bucket/folder?endpoint_override=https://host``)
    for the networks; all nodes must see it. Credentials come from each node's environment."""
    ledger: str = Field(default="sqlite:///oracle-results/ledger.db", min_length=1)
    """Database of the results: an SQLAlchemy URL, SQLite or ``postgresql+psycopg://``."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""

    @field_validator("storage")
    @classmethod
    def _home_exists(cls, storage: str) -> str:
        try:
            Path(storage).expanduser()
        except RuntimeError:
            raise ValueError(f"no home folder for {storage!r}; give a path without ~") from None
        return storage

    @model_validator(mode="after")
    def _rewinding_makes_sense(self) -> Spec:
        length = self.training.epochs or self.training.iterations or 0
        if self.rewind_to and self.retraining != "weight_rewinding":
            raise ValueError(
                f"rewind_to goes with weight_rewinding, got {self.rewind_to} with {self.retraining}"
            )
        if self.rewind_to >= length:
            raise ValueError(f"rewind_to must lie inside the training of {length}, got {self.rewind_to}")
        return self

    @model_validator(mode="after")
    def _curve_makes_sense(self) -> Spec:
        try:
            self.silo_curve()
        except InvalidInput as error:
            raise ValueError(f"silo: {error}") from error
        return self

    @model_validator(mode="after")
    def _policy_makes_sense(self) -> Spec:
        try:
            self.policy_of_rates()
        except InvalidInput as error:
            raise ValueError(f"policy: {error}") from error
        return self

    def recipe(self, *, way: Way) -> Recipe:
        """What determines each trial's outcome."""
        training = self.training
        return Recipe(
            network=self.network.component(),
            dataset=self.dataset.component(),
            pruner=self.pruning.pruner.component(),
            pruning_rate=self.pruning.rate,
            keep=self.pruning.keep,
            retraining=self.retraining,
            length=training.epochs or training.iterations or 0,
            unit="epochs" if training.epochs else "iterations",
            batch_size=training.batch_size,
            evaluate_every=training.evaluate_every,
            optimizer=training.optimizer.component(),
            schedule=training.schedule.component(),
            seed=self.seed,
            way=way,
            rewind_to=self.rewind_to,
            precision=training.precision,
            diagnostics=training.diagnostics,
        )

    def silo_curve(self) -> SiloCurve | None:
        """The curve to compare with."""
        if self.silo is None:
            return None
        return SiloCurve(**self.silo.model_dump(), pruning_rate=self.pruning.rate)

    @property
    def searched(self) -> bool:
        """Whether the policy is the Oracle: cycles have several candidates."""
        return self.policy.name == "oracle"

    def policy_of_rates(self) -> Policy:
        """What sets the rates.

        Raises:
            InvalidInput: There is no such policy, or it lacks what it needs.
        """
        return make_policy(
            self.policy.name,
            self.policy.arguments,
            grid=None if self.grid is None else self.grid.grid(),
            curve=self.silo_curve(),
            pruning_rate=self.pruning.rate,
        )

    def rate_grid(self) -> Grid:
        """The Oracle's grid; of another policy the range of its rates, which doesn't extend."""
        policy = self.policy_of_rates()
        if isinstance(policy, OraclePolicy):
            return policy.grid
        rates = [value for cycle in range(self.cycles) for value in policy.values(cycle, (), 1) or ()]
        return Grid(values=tuple(sorted(set(rates))), scale="linear", limit=0)

    def storage_root(self) -> str:
        """Where this search's networks lie: an absolute folder or a URI."""
        if "://" not in self.storage:
            return f"{str(Path(self.storage).expanduser().absolute()).rstrip('/')}/{self.name}"
        base, mark, options = self.storage.partition("?")
        return f"{base.rstrip('/')}/{self.name}{mark}{options}"

    @property
    def device(self) -> str:
        """The device of a worker."""
        return "cuda" if self.resources.gpus > 0 else "cpu"

    @property
    def threads(self) -> int:
        """Threads of a worker."""
        return max(1, int(self.resources.cpus))
