"""The checks before a search starts: does its spec mean something, and can it run here."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from oracle.errors import Refused
from oracle.execution import choose_execution, room
from oracle.identity import differences, identity, settled
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.database import look
from oracle.session import begins_anew
from oracle.spec import Spec, recorded_rule
from oracle.spec_parts import MOST_STEPS
from silo.errors import InvalidInput, SiloOracleError
from trials.paths import unwritable
from trials.secrets import without_secrets
from trials.tasks import Component, Execution, Recipe, WeightsFingerprint, rate_at

if TYPE_CHECKING:
    from trials.datasets import Dataset, LoadDataset
    from trials.pruning.masks import NeverPruned
    from trials.runner import Runner


_WIDE = 0.05
"""Tolerances above are likely to be meant in percent."""

_STEEP = 0.8
"""Pruning rates from here on are likely to be meant as what is kept."""

_LESS_IS_BETTER = ("loss", "error", "errors", "rmse", "mse", "mae", "mape", "perplexity", "nll", "entropy")
"""Ends of the words that name metrics of which less is better."""

_MORE_IS_BETTER = frozenset(
    [
        "accuracy",
        "acc",
        "f1",
        "iou",
        "miou",
        "auc",
        "auroc",
        "dice",
        "bleu",
        "psnr",
        "precision",
        "recall",
        "r2",
    ]
)
"""Words that name metrics of which more is better."""

_NEGATED = frozenset({"neg", "negative", "minus", "inverse", "one"})
"""Words that turn a metric round."""

_FAR = 5.0
"""A curve beyond the grid by such a factor is likely to be given in other units."""


def cautions(spec: Spec) -> tuple[str, ...]:
    """What is allowed, and rarely meant; a sentence each."""
    found = []
    tolerance = spec.tolerance
    if spec.metric.name == "accuracy" and isinstance(tolerance, float) and tolerance > _WIDE:
        found.append(
            f"tolerance: {tolerance:g} is {100 * tolerance:g} % of accuracy, in which nearly every "
            f"rate lies; if {tolerance:g} % was meant, give {tolerance / 100:g}"
        )
    if line := _other_goal(spec):
        found.append(line)
    rate = spec.pruning.share()
    if rate >= _STEEP and spec.cycles > 1:
        found.append(
            f"pruning.rate: {rate:g} removes {100 * rate:g} % of what is left at each pruning; if so much was"
            f" to be kept, give {1 - rate:.2g}"
        )
    rates, curve = spec.policy_of_rates().rates, spec.silo
    if rates and curve is not None:
        low, high = curve.epsilon, curve.epsilon + curve.delta
        if low > _FAR * rates[-1] or 0 < high < rates[0] / _FAR:
            found.append(
                f"silo: the curve's rates, {low:g} to {high:g}, are far from those that are trained, "
                f"{rates[0]:g} to {rates[-1]:g}; papers print them in units such as 1e-2"
            )
    return tuple(found)


def _other_goal(spec: Spec) -> str | None:
    """That a metric by its name is likely to have the other goal; None where it isn't."""
    words = set(re.findall(r"[a-z0-9]+", spec.metric.name.lower()))
    if words & _NEGATED:
        return None
    less = any(word.endswith(_LESS_IS_BETTER) for word in words)
    more = bool(words & _MORE_IS_BETTER)
    likely = "min" if less and not more else "max" if more and not less else spec.metric.goal
    if likely == spec.metric.goal:
        return None
    much = {"min": "less", "max": "more"}
    return (
        f"metric: goal {spec.metric.goal} takes {much[spec.metric.goal]} {spec.metric.name} for better; if "
        f"{much[likely]} of it is, give goal: {likely}"
    )


def missing_places(spec: Spec) -> tuple[str, ...]:
    """What keeps this machine from using a spec's ledger and storage, a sentence each; nothing is made.

    Raises:
        InvalidInput: They can't be used on any machine.
    """
    return tuple(filter(None, (_missing_ledger(spec), _missing_storage(spec))))


def _missing_ledger(spec: Spec) -> str | None:
    try:
        look(spec.ledger)
    except Refused as error:
        return str(error)
    return None


def _missing_storage(spec: Spec) -> str | None:
    from trials.checkpoints import Store  # imports torch

    store = Store(spec.storage_root())
    if store.is_local:
        if reason := unwritable(Path(store.root)):
            return f"storage {store.root}: it can't be written ({reason}); name a folder of yours"
        return None
    try:
        store.check_writable()
    except InvalidInput as error:
        return str(without_secrets(str(error)))
    return None


_TRIED_EXAMPLES = 2
"""Examples per batch when a pruner is tried out: enough to see that it works."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that building a search's parts brings to light.

    Attributes:
        parameters: All parameters of the network.
        prunable: Weights that pruning may remove.
        never_pruned: Weights that no pruning touches, unasked; None where they are next to nothing.
        train: Examples of the training split.
        validation: Examples of the validation split.
        test: Examples of the test split.
        num_classes: Classes.
        input_shape: Shape of one example.
        steps: Optimizer steps of one training; 0 where a loop of the user's own decides on them.
        fingerprint: Checksum of the data set.
        execution: How the trainings are computed.
        execution_reason: Why, in words.
        code: Digests of the user's own modules.
        initial: Fingerprints of the initial weights by replicate.
        checkpoint: Checksum of the file that they come from; empty where they come from none.
        begins: Which of them come from it, in words; empty likewise.
        graphs: What this process has compiled for it.
        notes: What there is to say of where the data came from; a sentence each.
        floor: Validation score of outputs that are all zero, by a metric of the user's own.
        warnings: What may be meant so, but mostly isn't, a line each.
    """

    parameters: int
    prunable: int
    train: int
    validation: int
    test: int
    num_classes: int | None
    input_shape: tuple[int, ...]
    steps: int
    fingerprint: str
    execution: Execution
    execution_reason: str
    code: Mapping[str, str]
    initial: tuple[WeightsFingerprint, ...]
    checkpoint: str = ""
    begins: str = ""
    graphs: tuple[str, ...] = ()
    never_pruned: NeverPruned | None = None
    notes: tuple[str, ...] = ()
    floor: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def steps_text(self) -> str:
        """The length of a training in words."""
        return f"{self.steps:,} steps a training" if self.steps else "a training is as long as its loop says"


def open_runner(spec: Spec, load: LoadDataset | None = None) -> Runner:
    """A worker for this process, on its CPU.

    Args:
        spec: The spec.
        load: What gives the data set, if not :func:`trials.datasets.load_dataset`.
    """
    from trials.datasets import load_dataset
    from trials.runner import Runner

    return Runner(
        spec.recipe(execution=Execution()),
        storage=spec.storage_root(),
        device="cpu",
        load=load or load_dataset,
        share=spec.share_of_memory,
    )


def check_device(spec: Spec) -> None:
    """Makes sure that a worker in this process has the device that the spec asks for.

    Raises:
        Refused: The spec asks for a GPU, and torch finds none.
    """
    import torch

    if spec.resources.gpus > 0 and not torch.cuda.is_available():
        raise Refused(
            f"resources.gpus: a worker needs {spec.resources.gpus:g} GPU, and torch finds no CUDA device on "
            "this machine; set gpus to 0 to train on the CPU, or run where there is a GPU"
        )


def examine(spec: Spec, runner: Runner, *, workers: int | None = None, here: bool = False) -> Facts:
    """Builds everything that the spec names.

    Args:
        spec: The spec.
        runner: A worker for this process.
        workers: Workers at a time; by default as many as this machine has room for.
        here: Whether ways are measured on the workers' device in this process, and not on the runner's.

    Raises:
        InvalidInput: A name or an argument is wrong, the data can't be read or is broken, the batch is larger
            than the training split, or the network doesn't take the data.
    """
    from trials.objectives import make_loss
    from trials.optimizers import build_optimizer
    from trials.pruning import prune
    from trials.pruning.masks import full_masks, never_pruned, prunable_names
    from trials.registry import code_digests

    recipe = runner.recipe
    with naming("training.optimizer", recipe.optimizer):
        build_optimizer(recipe.optimizer)
    with naming("dataset", recipe.dataset):
        data, train = runner.data, len(runner.data.train.labels)
        fingerprint = data.fingerprint()
        leaks = tuple(f"dataset {recipe.dataset.name!r}: {each}" for each in data.leaks())
    with naming("training.loss", recipe.loss):
        loss = make_loss(recipe.loss)
    steps = max(_steps(recipe, value, data) for value in _candidates(spec))
    with naming("network", recipe.network):
        module = runner.network(0)
        initial = _initial_weights(runner, spec.replicates)
        warnings = _compared_with_itself(runner, initial)
        floor = _floor(runner)
    if floor is not None:
        spec.measure().comparable(floor)
    weights = dict(module.named_parameters())
    names = prunable_names(module, keep=recipe.keep, also=recipe.also)
    with naming("pruning.pruner", recipe.pruner):
        prune(
            recipe.pruner.name,
            recipe.pruner.arguments,
            module=module,
            masks=full_masks(module, names),
            data=data,
            batch_size=min(recipe.batch_size, _TRIED_EXAMPLES),
            rate=rate_at(recipe.pruning_rate, 1),
            seed=0,
            also=recipe.also,
            loss=loss,
        )
    prunable = sum(weights[name].numel() for name in names)
    _check_enough_weights(spec, prunable)
    elsewhere = here and runner.device.type != spec.device
    choice = choose_execution(spec, runner.on(spec.device) if elsewhere else runner, workers or room(spec))
    return Facts(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        prunable=prunable,
        train=train,
        validation=len(data.validation.labels),
        test=len(data.test.labels),
        num_classes=data.num_classes,
        input_shape=tuple(data.input_shape),
        steps=steps,
        fingerprint=fingerprint,
        execution=choice.execution,
        execution_reason=choice.reason,
        code=code_digests(component.name for component in recipe.components.values()),
        initial=initial,
        checkpoint=runner.checkpoint.sha256 if runner.checkpoint else "",
        begins=runner.checkpoint.put_into(runner.built(0)) if runner.checkpoint else "",
        graphs=choice.graphs,
        never_pruned=never_pruned(module, names, recipe.keep),
        notes=tuple(without_secrets(list(data.notes))),
        floor=floor,
        warnings=tuple(without_secrets([*leaks, *warnings])),
    )


def prepare(spec: Spec, facts: Facts, ledger: Ledger) -> SearchRecord:
    """The search as the ledger will know it; nothing is written.

    Raises:
        Refused: The ledger holds results of a search of this name that another spec determines.
    """
    known = ledger.search(spec.name)
    if known is not None and "decide" not in spec.model_fields_set:  # a search goes on as it began
        spec = spec.model_copy(update={"decide": recorded_rule(known.spec)})
    record = SearchRecord(
        name=spec.name,
        # Whoever looks at it has another working directory, and other variables.
        spec=without_secrets(spec.model_dump(mode="json") | {"storage": spec.storage_place()}),
        identity=identity(
            spec,
            fingerprint=facts.fingerprint,
            classes=facts.num_classes,
            floor=facts.floor,
            validation=facts.validation,
            code=facts.code,
            initial=facts.initial,
            checkpoint=facts.checkpoint,
        ),
        execution=facts.execution,
        execution_reason=facts.execution_reason,
        created=time.time(),
    )
    if known is None:
        if study := ledger.foreign_study(spec.name):
            raise Refused(
                f"the ledger's database has an Optuna study {study!r} that is no search's; "
                "give the search another name, or use another ledger"
            )
        return record
    record = replace(record, identity=settled(known.identity, record.identity))
    changed = differences(known.identity, record.identity)
    for field in ("cycles", "replicates"):
        before, now = known.spec[field], getattr(spec, field)
        if now < before:
            changed.append(f"{field}: {before} -> {now} (it may grow, not shrink)")
    before, pack = known.spec.get("training", {}).get("pack"), spec.training.pack
    resized, most = before != pack, known.execution.pack_size
    has_results = bool(ledger.outcomes(spec.name) or ledger.prunings(spec.name))
    if resized and has_results and not (pack and pack <= most):
        changed.append(f"training.pack: {before} -> {pack} (it may shrink, from {most}, not grow)")
    if not changed and (has_results or not resized):
        return replace(
            record, execution=known.execution, execution_reason=known.execution_reason, created=known.created
        )
    if has_results:
        raise Refused(
            f"search {spec.name!r} has results under another spec; changed: {'; '.join(changed)}. "
            "Give the new spec a new name, or put the old values back"
        )
    return record


def _candidates(spec: Spec) -> tuple[float, ...]:
    """The values of ``grid.over``, with the next past each edge if they may be extended; else one rate.

    A rate is a number that any optimizer takes; another field need not take all.
    """
    if spec.over is None or spec.grid is None:
        return (1.0,)
    grid = spec.grid.grid()
    past = (grid.below(1), grid.above(1)) if spec.grid.extend else ()
    return (*grid.values, *(value for value in past if value is not None))


def _steps(recipe: Recipe, value: float, data: Dataset) -> int:
    """The steps of a candidate's training, if it can be done.

    Raises:
        InvalidInput: It can't; of another field than the rate the message names the value.
    """
    from trials.objectives import make_loss
    from trials.optimizers import build_optimizer

    if recipe.over is None:
        return _check_training(recipe, data)
    candidate, _ = recipe.of_candidate(value)
    try:
        with naming("training.optimizer", candidate.optimizer):
            build_optimizer(candidate.optimizer)
        with naming("training.loss", candidate.loss):
            make_loss(candidate.loss)
        return _check_training(candidate, data)
    except InvalidInput as error:
        raise InvalidInput(
            f"grid.over: training.{recipe.over} can't be {value:g}, which is in the grid, or past its edge "
            f"with extend: {error}"
        ) from error


def _check_training(recipe: Recipe, data: Dataset) -> int:
    """The steps of a training, if it can be done; 0 for a loop of the user's own.

    Raises:
        InvalidInput: The batch is larger than the training split, the schedule doesn't fit, there is no such
            loop, or no such number as accuracy.
    """
    from trials.loops import check_loop
    from trials.training import rate_multipliers, training_steps

    if recipe.loop is not None:
        check_loop(recipe.loop)
        return 0
    steps, per_epoch, _ = training_steps(recipe, len(data.train))
    if steps > MOST_STEPS:
        raise InvalidInput(
            f"training: its length of {recipe.length:,} {recipe.unit} is {steps:,} steps; take at most "
            f"{MOST_STEPS:,}"
        )
    with naming("training.schedule", recipe.schedule):
        rate_multipliers(recipe, cycle=0, steps=steps, per_epoch=per_epoch)
    if recipe.metric.function is None and not data.is_classified:
        raise InvalidInput(
            "metric: there is no accuracy without one class per example: give a metric of your own, as "
            "metric: {name: rmse, function: 'package.module:rmse', goal: min}"
        )
    return steps


def _floor(runner: Runner) -> float | None:
    """The validation score of outputs that are all zero; None for accuracy, and a loop of the user's own.

    Raises:
        InvalidInput: The metric doesn't take the network's outputs, or gives no number for them.
    """
    from trials.engine import Engine, StackedNetwork, named_tensors
    from trials.objectives import check_floor, tried

    recipe, data = runner.recipe, runner.data
    if recipe.metric.function is None:
        return None
    module = runner.network(0)
    copies = StackedNetwork.of(module, named_tensors(module), 1, data.train.labels.device)
    engine = Engine(module, recipe)
    with engine.computing(data.train.labels.device):
        examples = engine.some_outputs(copies, data)
        first = tried(recipe.metric, *examples)
        floor = engine.scores_of_nothing(copies, data, data.validation)
        again = tried(recipe.metric, *examples)
    if again != first and not math.isnan(again):
        raise InvalidInput(
            f"metric {recipe.metric.name!r} gives another number for the same outputs and targets, so that a "
            "score would depend on those before it: what it keeps belongs into the instance (self), which is "
            "made anew for each score"
        )
    check_floor(recipe.metric, floor)
    return floor if recipe.metric.diverged is None else recipe.metric.diverged


def _initial_weights(runner: Runner, replicates: int) -> tuple[WeightsFingerprint, ...]:
    """Fingerprints of the networks that the replicates begin with.

    Raises:
        InvalidInput: A network is another one each time that it is built.
    """
    from trials.engine.copies import named_tensors
    from trials.weights import InitialWeightsChanged, check_initial, weights_fingerprint

    found = tuple(weights_fingerprint(named_tensors(runner.network(index))) for index in range(replicates))
    try:
        check_initial(named_tensors(runner.network(0)), found, 0)
    except InitialWeightsChanged:
        raise InvalidInput(
            "its initial weights are others each time that it is built; draw them by the global generators "
            "of torch, numpy or random, which are seeded for each replicate, or seed yours in the constructor"
        ) from None
    return found


def _compared_with_itself(runner: Runner, initial: Sequence[WeightsFingerprint]) -> tuple[str, ...]:
    """The warnings that a network deserves; of the user's own see :mod:`trials.self_comparison`."""
    from trials.networks import NETWORKS
    from trials.objectives import LOSSES
    from trials.self_comparison import compare_with_itself

    recipe = runner.recipe
    name, weights = recipe.network.name, recipe.checkpoint
    found: tuple[str, ...] = ()
    if recipe.loop is None and not (name in NETWORKS and recipe.loss.name in LOSSES):
        found = compare_with_itself(runner.network, recipe, runner.data)
    if len({each.sha256 for each in initial}) < len(initial):
        same = (
            "replicates begin with the same initial weights, and differ by the order of their batches alone"
        )
        why = "unless these come from a file, leave out the seed that its code sets"
        if weights is not None and not weights.leave_out:
            why = f"they are those of checkpoint {without_secrets(weights.file)}"
        found = (f"{same}; {why}", *found)
    return tuple(f"network {name!r}: {line}" for line in found)


def clear_failures(record: SearchRecord, ledger: Ledger) -> None:
    """Removes what failed under another spec of a search without results, as :func:`prepare` made sure."""
    if begins_anew(ledger, record):
        ledger.begin_anew(record)


@contextmanager
def naming(field: str, component: Component) -> Iterator[None]:
    """Makes whatever building a component raises one line that names it."""
    try:
        yield
    except InvalidInput as error:
        if component.name in str(error):
            raise
        raise InvalidInput(f"{field} {component.name!r}: {error}") from error
    except SiloOracleError:
        raise
    except Exception as error:
        reason = without_secrets(str(error)).splitlines()[0] if str(error) else "no reason given"
        raise InvalidInput(
            f"{field}: {component.name!r} can't be built with {dict(component.arguments)}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _check_enough_weights(spec: Spec, prunable: int) -> None:
    """Refuses a search whose last cycles would have nothing left to prune."""
    alive = prunable
    for cycle in range(1, spec.cycles):
        rate = rate_at(spec.pruning.rate, cycle)
        removed = round(rate * alive)
        if removed == 0 or removed == alive:
            raise InvalidInput(
                f"cycles: at cycle {cycle} of 0–{spec.cycles - 1} a pruning of {rate:g} would remove "
                f"{removed} of the {alive} weights that are left; take fewer cycles or another pruning.rate"
            )
        alive -= removed
