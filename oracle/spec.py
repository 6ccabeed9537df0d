"""The spec of a search: one YAML file, checked once, here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from oracle.cycles import Rule
from oracle.measure import MAX_LR, Measure, parse_tolerance
from oracle.policies import Policy, make_policy
from oracle.spec_parts import (
    LARGEST_SEED,
    MOST,
    MOST_PARTS,
    MOST_STEPS,
    ComponentSpec,
    GridSpec,
    MayChange,
    MetricSpec,
    Named,
    NamedMetric,
    NamedNetwork,
    Part,
    PruningSpec,
    ResourcesSpec,
    Share,
    SiloSpec,
    TrainingSpec,
)
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from trials.paths import expanded
from trials.tasks import COUNTED, Execution, Recipe

_HALF_A_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!//)")

SearchName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


def recorded_rule(recorded: Mapping[str, Any]) -> Rule:
    """The rule that chooses a recorded search's networks to prune: ``point``, where its spec has none."""
    return cast(Rule, recorded.get("decide", "point"))


def recipe_path(over: str, training: TrainingSpec) -> str:
    """The recipe's name for a number of the training that is searched.

    Raises:
        ValueError: There is no such number.
    """
    field, *rest = over.split(".")[1:]
    if field == "arguments" and training.loop is not None:  # of the loop, beside it
        field, rest = "loop", ["arguments", *rest]
    component = getattr(training, field, None)
    if isinstance(component, ComponentSpec):
        if len(rest) == 2 and rest[0] == "arguments" and _is_number(component.arguments.get(rest[1], 0.0)):
            return f"{field}.arguments.{rest[1]}"
    elif (
        not rest
        and field in _SEARCHED
        and (component is not None or (field == "clip" and training.loop is None))
    ):
        return _SEARCHED[field]
    numbers = [*_SEARCHED, "optimizer.arguments.…", "schedule.arguments.…", "loss.arguments.…", "arguments.…"]
    raise ValueError(
        f"grid.over {over!r} is no number of the training that the spec gives: it may be "
        f"{', '.join(f'training.{each}' for each in numbers)}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_SEARCHED = {"batch_size": "batch_size", "clip": "clip", "epochs": "length", "iterations": "length"}


class Spec(Part):
    """A search for the best peak learning rate ``max_lr`` at every pruning cycle.

    Raises:
        InvalidInput: Something that is given can't be used; a line for each such thing.
    """

    name: Annotated[SearchName, MayChange]
    """The search's name: letters, digits, dots, dashes and underscores, at most 63."""
    network: NamedNetwork
    """Network: ``fc``, ``alexnet``, ``resnet20``, ``vgg19``, ``densenet40``, ``mobilenetv2``, ``resnet50``,
    ``vit_b_16``, ``vit``, or your own."""
    dataset: Named = ComponentSpec(name="none")
    """Data set: ``digits``, ``mnist``, ``fashion_mnist``, ``cifar10``, ``cifar100``, ``svhn``, ``imagenet``,
    ``image_folder``, ``synthetic``, or your own; a training loop of your own may need none."""
    pruning: PruningSpec = PruningSpec()
    """How the network is pruned between two cycles."""
    cycles: Annotated[int, MayChange] = Field(ge=1, le=MOST)
    """Cycles, the first of which trains the dense network. A search may go on with more."""
    until: Annotated[float | None, MayChange] = Field(default=None, gt=0, lt=1)
    """Instead of cycles: as many as leave at most this share of the prunable weights, by ``pruning.rate``."""
    replicates: int = Field(default=3, ge=1, le=MOST)
    """Independent seeds per candidate. A search may go on with more: they follow what was chosen before."""
    retraining: Literal["weight_rewinding", "lr_rewinding", "fine_tuning"] = "weight_rewinding"
    """Where a pruned network starts from: the initial weights, the trained weights with the schedule begun
    again, or the trained weights at the schedule's last rate."""
    policy: Named = ComponentSpec(name="oracle")
    """The policy that sets ``max_lr`` at each cycle: ``oracle`` (search the grid), ``adaptive`` (train where
    that tells something; argument ``share``, the budget by the whole grid's trainings, or ``trainings``, a
    number a cycle; either may grow, and what was chosen before stays), ``edge`` (follow the rate at which
    trainings collapse, an experiment), ``silo`` (the curve below), ``fixed`` (argument ``max_lr``), or
    ``allr`` (arguments ``max_lr`` and ``minimum``)."""
    rewind_to: int = Field(default=0, ge=0, le=MOST_STEPS)
    """With weight rewinding, the epoch (or iteration, as the training's length counts) of cycle 0's training
    whose weights and place in the schedule a pruned network goes back to; 0 for the initial weights."""
    grid: GridSpec | None = None
    """The candidates of every cycle, for the Oracle."""
    training: TrainingSpec
    """How one training goes."""
    metric: NamedMetric = MetricSpec()
    """The score that trainings are judged by: accuracy, or your own."""
    tolerance: float | str = Field(default=0.005, validate_default=True)
    """How far from the best validation score the optimized interval reaches: in the metric's unit (of
    accuracy an absolute share), or as a share of the best, such as ``1 %``."""
    decide: Rule = "posterior"
    """Which candidate's networks are pruned next: ``posterior``, the one that loses least by all that the
    trainings so far tell of the landscape, or ``point``, the point estimate: the one with the best mean. A
    search goes on as it began."""
    silo: Annotated[SiloSpec | None, MayChange] = None
    """The curve to compare the Oracle with; without it only the fitted curve is shown."""
    resources: Annotated[ResourcesSpec, MayChange] = ResourcesSpec()
    """The share of a machine that one worker gets."""
    storage: Annotated[str, MayChange] = Field(default="oracle-results", min_length=1)
    """Folder (or URI, such as ``s3://bucket/folder`` or ``s3://bucket/folder?endpoint_override=https://host``)
    for the networks; all nodes must see it. ``~`` and ``${NAME}`` are expanded in folders, here and in the
    ledger's. Credentials come from each node's environment."""
    ledger: Annotated[str, MayChange] = Field(default="sqlite:///oracle-results/ledger.db", min_length=1)
    """Database of the results: an SQLAlchemy URL, SQLite or ``postgresql+psycopg://``."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of everything random."""
    observers: Annotated[tuple[Named, ...], MayChange] = Field(default=(), max_length=MOST_PARTS)
    """Who else watches the search: ``tensorboard``, ``mlflow``, or your own, with arguments."""

    @classmethod
    def fixed_fields(cls) -> tuple[str, ...]:
        """The fields that can't change under a search that has results: all that don't say that they may."""
        return tuple(name for name, field in cls.model_fields.items() if MayChange not in field.metadata)

    @model_validator(mode="before")
    @classmethod
    def _cycles_for_until(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("until") is None:
            return given
        if given.get("cycles") is not None:
            raise ValueError("takes cycles or until, not both")
        try:
            pruning = PruningSpec.model_validate(given.get("pruning", {}))
            until = TypeAdapter(Share).validate_python(given["until"])
        except ValidationError:
            return {**given, "cycles": 1}
        # A number of cycles is what is recorded: until stands for it.
        return {**given, "cycles": pruning.cycles_until(until), "until": None}

    @field_validator("storage")
    @classmethod
    def _is_a_place(cls, storage: str) -> str:
        if _HALF_A_URI.match(storage):
            raise ValueError(
                f"{storage!r} is neither a folder nor a URI; give one such as s3://bucket/folder"
            )
        if "\0" in storage:
            raise ValueError(f"{storage!r} can't be a folder's name")
        return storage

    @model_validator(mode="after")
    def _rewinding_makes_sense(self) -> Spec:
        length = self.training.epochs or self.training.iterations or 0
        if self.rewind_to and self.retraining != "weight_rewinding":
            raise ValueError(
                f"rewind_to goes with weight_rewinding, got {self.rewind_to} with {self.retraining}"
            )
        if self.rewind_to and self.training.loop is not None and not self.training.iterations:
            raise ValueError("rewind_to with a training.loop needs training.iterations, as steps are counted")
        if self.rewind_to >= max(length, 1):
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
            policy = self.policy_of_rates()
        except InvalidInput as error:
            raise ValueError(f"policy: {error}") from error
        if policy.selective and not self.measure().tolerance:
            raise ValueError(f"policy {self.policy.name} needs a tolerance above 0, such as 0.005")
        if policy.selective and self.decide == "point":
            raise ValueError(
                f"policy {self.policy.name} leaves trainings out, so that means don't compare: leave decide "
                "out, or take policy oracle"
            )
        return self

    @field_validator("tolerance")
    @classmethod
    def _is_a_tolerance(cls, given: float | str) -> float | str:
        try:
            parse_tolerance(given)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return given

    @model_validator(mode="after")
    def _scores_make_sense(self) -> Spec:
        loop, metric = self.training.loop, self.metric
        amount, relative = parse_tolerance(self.tolerance)
        if metric.name == "accuracy" and amount >= 1:
            raise ValueError(f"tolerance must be below 1 of accuracy, got {self.tolerance}: 0.5 % is 0.005")
        if metric.name != "accuracy" and "tolerance" not in self.model_fields_set:
            raise ValueError(
                f"tolerance is missing: say how far from the best a {metric.name} is as good, in its "
                "unit or as "
                "a share of the best such as 1 %"
            )
        if loop is None and metric.name != "accuracy" and metric.function is None:
            raise ValueError(
                f"metric {metric.name} needs a function ('package.module:name'), or a training.loop that "
                "gives "
                "it"
            )
        if loop is not None and metric.function is not None:
            raise ValueError(
                "metric.function can't go with training.loop, which gives the score: leave it out"
            )
        if loop is not None and metric.name != "accuracy" and metric.diverged is None:
            raise ValueError(
                f"metric.diverged is missing: with a training.loop of your own, say what {metric.name} a "
                "training that diverged gets, as bad as one that knows nothing"
            )
        if relative and metric.diverged is not None and metric.diverged <= 0:
            raise ValueError("metric.diverged must be above 0, as tolerance is a share of the best")
        if loop is None and self.dataset.name == "none":
            raise ValueError("dataset is missing: name one, or a training.loop of your own that needs none")
        return self

    @model_validator(mode="after")
    def _candidates_make_sense(self) -> Spec:
        over = None if self.grid is None else self.grid.over
        if over is None:
            if self.training.max_lr is not None:
                raise ValueError(
                    "training.max_lr goes with grid.over: without it, max_lr is what is searched"
                )
            return self
        if self.training.max_lr is None:
            raise ValueError(
                f"training.max_lr is missing: grid.over searches {over} at one peak learning rate"
            )
        if self.silo is not None or self.policy.name not in ("oracle", "adaptive"):
            raise ValueError(
                "grid.over goes with the policies oracle and adaptive, and without silo: its curve is "
                "one of max_lr"
            )
        path = recipe_path(over, self.training)
        if path in COUNTED and self.grid is not None:
            broken = [value for value in self.grid.grid().values if not value.is_integer()]
            if broken:
                raise ValueError(f"grid: {over} takes whole numbers, got {broken[0]:g}; give values")
            if self.grid.extend:
                raise ValueError(f"grid: {over} takes whole numbers: set extend to false")
        return self

    def measure(self) -> Measure:
        """How scores are compared."""
        amount, relative = parse_tolerance(self.tolerance)
        searched = (self.over or MAX_LR).rpartition(".")[2]
        return Measure(metric=self.metric.metric(), tolerance=amount, relative=relative, searched=searched)

    def recipe(self, *, execution: Execution, checkpoint: str = "") -> Recipe:
        """The recipe that workers are given.

        Args:
            execution: How trainings are computed.
            checkpoint: Checksum of the file that the networks' weights come from, once it is known.
        """
        training, weights = self.training, self.network.checkpoint
        return Recipe(
            network=self.network.component(),
            checkpoint=None if weights is None else weights.checkpoint(checkpoint),
            dataset=self.dataset.component(),
            pruner=self.pruning.pruner.component(),
            pruning_rate=self.pruning.rate,
            keep=self.pruning.keep,
            also=self.pruning.also,
            retraining=self.retraining,
            length=training.epochs or training.iterations or 0,
            unit="epochs" if training.epochs else "iterations",
            batch_size=training.batch_size,
            evaluate_every=training.evaluate_every,
            optimizer=training.optimizer.component(),
            schedule=training.schedule.component(),
            seed=self.seed,
            execution=execution,
            rewind_to=self.rewind_to,
            loop=None if training.loop is None else training.loop.component(),
            loss=training.loss.component(),
            clip=training.clip,
            metric=self.metric.metric(),
            over=self.over,
            max_lr=training.max_lr,
            precision=training.precision,
            diagnostics=training.diagnostics,
            device=self.device,
            threads=max(1, int(self.resources.cpus)),
        )

    def silo_curve(self) -> SiloCurve | None:
        """The curve to compare with."""
        if self.silo is None:
            return None
        listed = not isinstance(self.pruning.rate, float)
        return SiloCurve(
            **self.silo.model_dump(),
            pruning_rate=self.pruning.share(),
            densities=self.pruning.densities(self.cycles) if listed else (),
        )

    def policy_of_rates(self) -> Policy:
        """The policy that sets the rates.

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

    @property
    def over(self) -> str | None:
        """The recipe's field that the candidates are values of; None for the peak learning rate."""
        searched = None if self.grid is None else self.grid.over
        return None if searched is None else recipe_path(searched, self.training)

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The kind of device of a worker."""
        return "cuda" if self.resources.gpus > 0 else "cpu"

    @property
    def share_of_memory(self) -> float:
        """The part of a GPU's memory that a worker may take, in (0, 1]."""
        return self.resources.gpus if 0 < self.resources.gpus < 1 else 1.0

    def storage_root(self) -> str:
        """Where this search's networks lie: an absolute folder or a URI; ``~`` and variables are expanded.

        Raises:
            InvalidInput: There is no such home folder or variable here.
        """
        base, mark, options = self.storage_place().partition("?" if "://" in self.storage else "\0")
        return f"{base.rstrip('/')}/{self.name}{mark}{options}"

    def storage_place(self) -> str:
        """The storage as it means the same in any folder: an absolute folder or a URI.

        Raises:
            InvalidInput: As :meth:`storage_root`.
        """
        if "://" in self.storage:
            return self.storage
        return str(Path(expanded(self.storage, "storage")).absolute())


DEFAULT_LEDGER: str = Spec.model_fields["ledger"].default
"""The ledger of a spec that names none."""
