"""Training loops of the user's own: what they are given, what they give back, and what holds of both.

A loop is a function ``(network, training, **arguments)`` that trains the network, however it likes, and gives
its score, or an :class:`Outcome`. Everything else about a trial is done around it: the weights that it starts
from, its seeds, the masks, the files, the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from silo.errors import InvalidInput
from trials.datasets import Dataset
from trials.engine import named_tensors
from trials.objectives import bound, item, number
from trials.process import derive_seed, global_draws_kept, seed_global
from trials.schedules import multipliers
from trials.tasks import Component, Metric, Recipe, Unit, Validation
from trials.training import TrainedCopy, first_step


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a loop of the user's own gives back, where a validation score alone is not all.

    Attributes:
        score: The validation score, in the metric's unit. It decides.
        test_score: The test score of the same weights; NaN where there is none.
        network: The trained network, if it is another module than the one that was given: with parameters
            and buffers of the same names and shapes.
        diverged: Whether the training came to nothing: its scores are then those of ``metric.diverged``. One
            whose score and weights aren't finite has, whatever is said here.
        best_step: Optimizer steps until the weights that are kept; None for all that were taken.
        train_loss: The last training loss; NaN where it isn't known.
    """

    score: float
    test_score: float = math.nan
    network: nn.Module | None = None
    diverged: bool = False
    best_step: int | None = None
    train_loss: float = math.nan


@dataclass(kw_only=True, eq=False)
class Training:
    """One training, as a loop of the user's own is told of it.

    Attributes:
        max_lr: The candidate: the peak learning rate.
        cycle: Times that the network has been pruned.
        replicate: Index of the independent seed.
        seed: A seed for this cycle and replicate, the same for all candidates; the global generators of
            torch, numpy and Python are seeded with it.
        device: Where the network lies.
        masks: Name of each prunable parameter to its mask (bool, True where a weight is left).
        data: The data set; None where the spec names none.
        batch_size: Of the spec.
        length: The spec's length of a training in ``unit``; 0 where it names none.
        unit: ``epochs`` or ``iterations``.
        first_step: With weight rewinding to a later point, the step of the schedule that the training begins
            with: so many steps fewer are to be taken.
    """

    max_lr: float
    cycle: int
    replicate: int
    seed: int
    device: torch.device
    masks: Mapping[str, Tensor]
    data: Dataset | None
    batch_size: int
    length: int
    unit: Unit
    first_step: int
    _recipe: Recipe
    _curve: list[Validation] = field(default_factory=list)

    def schedule(self, steps: int, *, steps_per_epoch: int = 1) -> Callable[[int], float]:
        """The spec's schedule: a function from a step, from 0, to the multiplier of ``max_lr`` there.

        It is made for ``torch.optim.lr_scheduler.LambdaLR``, stepped after each optimizer step. With
        fine-tuning it is the schedule's last value from cycle 1 on; with weight rewinding to a later point
        its step 0 is ``first_step`` of the schedule.

        Args:
            steps: Optimizer steps of a whole training.
            steps_per_epoch: Optimizer steps of an epoch, if the schedule's lengths are epochs.

        Raises:
            InvalidInput: The schedule doesn't fit into so many steps.
        """
        held = self._recipe.retraining == "fine_tuning"
        per_unit = steps_per_epoch if self.unit == "epochs" else 1
        values = multipliers(self._recipe.schedule, steps=steps, steps_per_unit=per_unit, fine_tuning=held)
        if held and self.cycle > 0:
            values = values[-1:]
        begin, last = self.first_step, len(values) - 1
        return lambda step: values[min(begin + step, last)]

    def report(self, step: int, score: float, *, train_loss: float = math.nan) -> None:
        """Notes a validation on the way: a point of the training's curve, which decides nothing.

        Args:
            step: Optimizer steps so far.
            score: Validation score.
            train_loss: Mean training loss since the validation before.

        Raises:
            InvalidInput: The step is no whole number or before the last one, or the others are no numbers.
        """
        steps = number("training.report: step", step)
        last = self._curve[-1].step if self._curve else 0
        if not steps.is_integer() or steps < last:
            raise InvalidInput(
                f"training.report: step is {step!r}: it must be the number of optimizer steps so far, {last} "
                "or more"
            )
        reached = number("training.report: score", score)
        loss = number("training.report: train_loss", train_loss)
        self._curve.append(Validation(step=int(steps), score=reached, train_loss=loss))

    def apply_masks(self, network: nn.Module) -> None:
        """Sets the pruned weights of a network to 0.

        After each step of an optimizer of ``torch.optim`` this is done for the network that the loop was
        given; what holds copies of its weights, or steps them by hand, calls it.
        """
        set_to_zero(network, self.masks)


def run_loop(
    recipe: Recipe,
    *,
    module: nn.Module,
    start: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    data: Dataset,
    cycle: int,
    replicate: int,
    max_lr: float,
    device: torch.device,
) -> TrainedCopy:
    """Trains one candidate by the loop that the recipe names.

    Args:
        recipe: How to train.
        module: A network of this training's own; it is trained in place.
        start: Parameters and buffers by name that it starts from.
        masks: Name of each prunable weight to its mask (bool, True where alive).
        data: The data set, on the device; that of no examples where there is none.
        cycle: Times that the network has been pruned.
        replicate: Index of the independent seed.
        max_lr: The peak learning rate.
        device: Where to train.

    Raises:
        InvalidInput: The loop gives no score, or a network whose tensors are others or whose pruned weights
            aren't 0.
    """
    assert recipe.loop is not None
    loop = bound("training.loop", recipe.loop, {}, "network", "training")
    module.to(device)
    fill(module, start)
    on_device = {name: mask.to(device) for name, mask in masks.items()}
    set_to_zero(module, on_device)
    seed = derive_seed(recipe.seed, replicate, cycle, "loop")
    training = Training(
        max_lr=max_lr,
        cycle=cycle,
        replicate=replicate,
        seed=seed % 2**32,
        device=device,
        masks=on_device,
        data=None if data.is_empty else data,
        batch_size=recipe.batch_size,
        length=recipe.length,
        unit=recipe.unit,
        first_step=first_step(recipe, cycle=cycle, per_epoch=_per_epoch(recipe, data)),
        _recipe=recipe,
    )
    rewind_step = 0 if cycle else first_step(recipe, cycle=1, per_epoch=_per_epoch(recipe, data))
    with global_draws_kept(device), held(module, on_device, rewind_step) as watch:
        seed_global(seed, device)
        module.train()
        try:
            given = loop(module, training)
        except SystemExit as end:
            if hasattr(end, "ray_terminate_msg"):  # the worker is told to end
                raise
            raise InvalidInput(
                f"training.loop {recipe.loop.name!r} called sys.exit({end.code!r}): it must give its "
                "validation score"
            ) from end
        outcome = _outcome(recipe, given)
    trained = outcome.network if outcome.network is not None else module
    if _is_lost(outcome.score, trained):
        outcome = replace(outcome, diverged=True)
    state = _checked_state(recipe, trained, module, on_device, diverged=outcome.diverged)
    rewind = None
    if rewind_step:
        if watch.rewound is None:
            raise InvalidInput(
                f"training.loop {recipe.loop.name!r} took {watch.steps} optimizer steps, and later cycles "
                f"rewind to step {rewind_step}: take a smaller rewind_to, or an optimizer of torch.optim"
            )
        rewind = watch.rewound
    score, test_score = _scores(recipe, outcome, data)
    return TrainedCopy(
        score=score,
        test_score=test_score,
        best_step=watch.steps if outcome.best_step is None else outcome.best_step,
        diverged=outcome.diverged,
        train_loss=math.nan if outcome.diverged else outcome.train_loss,
        state=state,
        rewind=rewind,
        curve=tuple(training._curve),
    )


def chance_score(metric: Metric, data: Dataset) -> float:
    """The score that a training gets which diverged: that of the metric, or chance level of the classes."""
    if metric.diverged is not None:
        return metric.diverged
    return 1.0 / data.num_classes if data.is_classified and data.num_classes else 0.0


def check_loop(component: Component) -> None:
    """Makes sure that there is such a loop, and that it takes its arguments.

    Raises:
        InvalidInput: There is none, or it doesn't.
    """
    bound("training.loop", component, {}, "network", "training")


class _Watch:
    """What the optimizers' steps of one training come to."""

    def __init__(self) -> None:
        self.steps = 0
        self.rewound: dict[str, Tensor] | None = None


@contextmanager
def held(module: nn.Module, masks: Mapping[str, Tensor], rewind_step: int = 0) -> Iterator[_Watch]:
    """Holds a network's pruned weights at 0 after each step of any optimizer of torch's.

    Args:
        module: The network.
        masks: Name of parameters to their masks, on the network's device.
        rewind_step: The step after which its tensors are kept; 0 for none.
    """
    watch, parameters = _Watch(), dict(module.named_parameters())
    masked = {id(parameters[name]): ~mask for name, mask in masks.items()}
    own = {id(parameter) for parameter in parameters.values()}

    def stepped(optimizer: Optimizer, *_: Any) -> None:
        stepping = [each for group in optimizer.param_groups for each in group["params"]]
        with torch.no_grad():
            for parameter in stepping:
                if (pruned := masked.get(id(parameter))) is not None:
                    parameter.masked_fill_(pruned.to(parameter.device), 0)
        if any(id(parameter) in own for parameter in stepping):
            watch.steps += 1
            if watch.steps == rewind_step:
                watch.rewound = _on_cpu(module)

    handle = register_optimizer_step_post_hook(stepped)
    try:
        yield watch
    finally:
        handle.remove()


@torch.no_grad()
def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts parameters and buffers by name into a network; what isn't given stays."""
    for name, tensor in named_tensors(module).items():
        if name in tensors:
            tensor.copy_(tensors[name])


@torch.no_grad()
def set_to_zero(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Sets the pruned weights of a network to 0."""
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask.to(parameters[name].device), 0)


def _per_epoch(recipe: Recipe, data: Dataset) -> int:
    return len(data.train) // recipe.batch_size


def _outcome(recipe: Recipe, given: Any) -> Outcome:
    assert recipe.loop is not None
    name = f"training.loop {recipe.loop.name!r}"
    if isinstance(given, Outcome):
        outcome = given
    else:
        try:
            outcome = Outcome(score=number(name, given))
        except InvalidInput:
            raise InvalidInput(
                f"{name} gave {'nothing' if given is None else type(given).__name__}: it must give its "
                "validation score, a number, or trials.loops.Outcome(score=..., test_score=...)"
            ) from None
    if outcome.network is not None and not isinstance(outcome.network, nn.Module):
        raise InvalidInput(
            f"{name} gave a network of type {type(outcome.network).__name__}: it must be a torch.nn.Module"
        )
    diverged, best_step = item(outcome.diverged), item(outcome.best_step)
    if not isinstance(diverged, bool):
        raise InvalidInput(f"{name} gave diverged={outcome.diverged!r}: it must be True or False")
    if best_step is not None and (type(best_step) is not int or best_step < 0):
        raise InvalidInput(
            f"{name} gave best_step={outcome.best_step!r}: it must be a number of optimizer steps, or None"
        )
    train_loss = number(f"{name}: train_loss", outcome.train_loss)
    return replace(outcome, diverged=diverged, best_step=best_step, train_loss=train_loss)


def _is_lost(score: Any, trained: nn.Module) -> bool:
    """Whether a training left neither a score nor weights: a score alone may be a mistake of the loop's."""
    given = item(score)
    if not isinstance(given, float) or math.isfinite(given):
        return False
    return not all(bool(one.isfinite().all()) for one in trained.parameters())


def _scores(recipe: Recipe, outcome: Outcome, data: Dataset) -> tuple[float, float]:
    assert recipe.loop is not None
    if outcome.diverged:
        chance = chance_score(recipe.metric, data)
        return chance, chance
    name, metric = f"training.loop {recipe.loop.name!r}", recipe.metric.name
    score, test_score = number(name, outcome.score), number(name, outcome.test_score)
    if not math.isfinite(score):
        raise InvalidInput(
            f"{name} gave the score {score}: of a training that came to nothing, it gives "
            "trials.loops.Outcome(score=0.0, diverged=True): the score is then that of metric.diverged"
        )
    for which, value in (("validation", score), ("test", test_score)):
        if metric == "accuracy" and not math.isnan(value) and not 0 <= value <= 1:
            raise InvalidInput(
                f"{name} gave a {which} accuracy of {value:g}: give a share in [0, 1], or name another "
                "metric in the spec"
            )
    return score, test_score


def _checked_state(
    recipe: Recipe,
    trained: nn.Module,
    given: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    diverged: bool,
) -> dict[str, Tensor]:
    """The trained network's tensors, if they are those of the network that was given, and sparse."""
    assert recipe.loop is not None
    name = f"training.loop {recipe.loop.name!r}"
    tensors, expected = named_tensors(trained), named_tensors(given)
    others = [each for each in expected if each not in tensors or tensors[each].shape != expected[each].shape]
    if others:
        raise InvalidInput(
            f"{name} gave a network of other tensors ({', '.join(others[:3])}): it must have the names and "
            "shapes of the one that it was given; of a wrapper, give what it wraps"
        )
    for each, mask in masks.items():
        wrong = int((tensors[each].to(mask.device)[~mask] != 0).sum())
        if wrong and not diverged:
            raise InvalidInput(
                f"{name} gave a network in which {wrong} pruned weights of {each!r} aren't 0: step the "
                "network that it was given by an optimizer of torch.optim, or call "
                "training.apply_masks(network) after each step, and on what averages its weights"
            )
    kept = given.state_dict().keys()
    return {key: tensor for key, tensor in _on_cpu(trained).items() if key in kept}


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """A network's state as files keep it: a tensor that two layers share is in it twice, as torch has it."""
    return {
        key: value.detach().to("cpu", copy=True)
        for key, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }
