"""The training of one pack: candidates that start from the same weights, see the same batches, and differ by
their peak learning rate alone. Each keeps the weights of its best validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.datasets import Dataset
from trials.diagnostics import Statistics, Watch, active_weights, statistics_of_copy
from trials.engine import Engine, StackedNetwork, flat_mask
from trials.process import derive_seed, generator, seed_global
from trials.pruning.masks import apply_masks
from trials.schedules import multipliers
from trials.tasks import Recipe, Validation, direction

_SCORES = ("score", "test_score", "best_step", "diverged", "train_loss")


@dataclass(frozen=True, kw_only=True)
class TrainedCopy:
    """One candidate's training: the numbers that its :class:`trials.tasks.Trial` has, and its tensors.

    Attributes:
        score: Validation score at the best validation; chance level if it diverged.
        test_score: Test score of the same weights; chance level if it diverged.
        best_step: Optimizer steps until the best validation; 0 if there was none.
        diverged: Whether a loss, an output or a weight became infinite or NaN.
        train_loss: Mean training loss between the last two validations; NaN if it diverged.
        state: Parameters and buffers at the best validation (the starting ones if there was none).
        rewind: Parameters and buffers at the point that later cycles go back to; None where they don't, and
            after cycle 0.
        diagnostics: Statistics of the weights at the best validation; None where none were wanted.
        curve: The validations, in their order.
    """

    score: float
    test_score: float
    best_step: int
    diverged: bool
    train_loss: float
    state: dict[str, Tensor]
    rewind: dict[str, Tensor] | None = None
    diagnostics: Statistics | None = None
    curve: tuple[Validation, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """The numbers of the trial, by name."""
        return {name: getattr(self, name) for name in _SCORES}


class BestWeights:
    """Keeps, of each copy, the weights of its best validation (early stopping), the first among equals."""

    def __init__(self, module: nn.Module, copies: StackedNetwork, goal: float) -> None:
        count, device = copies.flat.shape[0], copies.flat.device
        self.copies = copies.clone(module)
        self.score = torch.full((count,), float("nan"), device=device, dtype=torch.float64)
        self.step = torch.zeros(count, dtype=torch.long, device=device)
        self.diverged = torch.zeros(count, dtype=torch.bool, device=device)
        self.loss = torch.full((count,), float("nan"), device=device)
        self.curve: list[tuple[int, Tensor, Tensor]] = []
        self._goal = goal
        self._best = torch.full_like(self.score, -math.inf)

    def update(self, copies: StackedNetwork, step: int, score: Tensor, finite: Tensor, loss: Tensor) -> None:
        """Takes a validation after ``step`` steps into account.

        Args:
            copies: The copies as they were validated.
            step: Optimizer steps so far.
            score: [K], float64.
            finite: [K], whether all that was seen since the last validation was finite.
            loss: [K], mean training loss since then.
        """
        self.diverged |= ~finite
        self.curve.append((step, score, loss))
        self.loss = torch.where(self.diverged, float("nan"), loss)
        improved = (self._goal * score > self._best) & ~self.diverged
        self._best = torch.where(improved, self._goal * score, self._best)
        self.score = torch.where(improved, score, self.score)
        self.step = torch.where(improved, step, self.step)
        self.copies.take(copies, improved)

    def outcomes(self, engine: Engine, data: Dataset) -> list[TrainedCopy]:
        """The trainings as they ended, with the test scores of the weights that were kept."""
        tested, _ = engine.scores(self.copies, data, data.test)
        columns = (self.score, tested, self.step, self.diverged, self.loss)
        chance = self._chance(engine, data) if bool(self.diverged.any()) else (math.nan, math.nan)
        steps = [step for step, _, _ in self.curve]
        scores = torch.stack([score for _, score, _ in self.curve], dim=1).tolist()
        losses = torch.stack([loss for _, _, loss in self.curve], dim=1).tolist()
        return [
            TrainedCopy(
                score=chance[0] if diverged else score,
                test_score=chance[1] if diverged else test,
                best_step=step,
                diverged=diverged,
                train_loss=loss,
                state=self.copies.state(index),
                curve=tuple(
                    Validation(step=at, score=score, train_loss=loss)
                    for at, score, loss in zip(steps, scores[index], losses[index], strict=True)
                ),
            )
            for index, (score, test, step, diverged, loss) in enumerate(
                zip(*(each.tolist() for each in columns), strict=True)
            )
        ]

    def _chance(self, engine: Engine, data: Dataset) -> tuple[float, float]:
        """Scores of a network that knows nothing, on the validation and on the test split."""
        metric = engine.recipe.metric
        if metric.diverged is not None:
            return metric.diverged, metric.diverged
        if metric.function is None:
            assert data.num_classes is not None, "accuracy needs classes"
            return 1.0 / data.num_classes, 1.0 / data.num_classes
        nothing = partial(engine.scores_of_nothing, self.copies, data)
        return nothing(data.validation), nothing(data.test)


def training_steps(recipe: Recipe, train_count: int) -> tuple[int, int, int]:
    """Steps of a training, per epoch, and between validations.

    Raises:
        InvalidInput: The training split has no full batch.
    """
    per_epoch = train_count // recipe.batch_size
    if not per_epoch:
        raise InvalidInput(
            f"training.batch_size {recipe.batch_size} is larger than the training split ({train_count} "
            "examples): take a smaller batch"
        )
    per_unit = per_epoch if recipe.unit == "epochs" else 1
    every = recipe.evaluate_every * per_unit if recipe.evaluate_every else per_epoch
    return recipe.length * per_unit, per_epoch, every


def count_validations(recipe: Recipe, train_count: int) -> int:
    """Validations of a training; see :func:`training_steps`."""
    steps, _, every = training_steps(recipe, train_count)
    return -(-steps // every)


def first_step(recipe: Recipe, *, cycle: int, per_epoch: int) -> int:
    """The step of the schedule at which a cycle's training begins: after cycle 0 the one it is rewound to."""
    rewound = cycle > 0 and recipe.retraining == "weight_rewinding"
    return recipe.rewind_to * (per_epoch if recipe.unit == "epochs" else 1) if rewound else 0


def rate_multipliers(recipe: Recipe, *, cycle: int, steps: int, per_epoch: int) -> list[float]:
    """The multiplier of ``max_lr`` at each step; fine-tuning holds the last one from cycle 1 on.

    Raises:
        InvalidInput: See :func:`trials.schedules.multipliers`.
    """
    held = recipe.retraining == "fine_tuning"
    values = multipliers(
        recipe.schedule,
        steps=steps,
        steps_per_unit=per_epoch if recipe.unit == "epochs" else 1,
        fine_tuning=held,
    )
    return [values[-1]] * steps if held and cycle > 0 else values


def batches(
    data: Dataset, recipe: Recipe, *, cycle: int, replicate: int, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a cycle's training: the same for each of its candidates.

    Yields:
        Normalised inputs [B, …] and labels [B], on the data set's device.
    """
    order = generator(recipe.seed, replicate, cycle, "order")
    noise = generator(recipe.seed, replicate, cycle, "augment")
    size, count = recipe.batch_size, len(data.train)
    per_epoch = count // size
    orders = (
        torch.randperm(count, generator=order)[: min(per_epoch, steps - done) * size]
        for done in range(0, steps, per_epoch)
    )
    # Augmented here and not by who reads ahead: the draws follow the batches, however those come.
    changes = data.augmentations(size, noise)
    for (inputs, labels), change in zip(data.train.batches(orders, size), changes, strict=False):
        yield data.normalise(change(inputs)), labels


@dataclass(frozen=True, kw_only=True)
class _Pack:
    """All that the candidates of a pack share; see :func:`train_pack`."""

    module: nn.Module
    start: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    data: Dataset
    recipe: Recipe
    cycle: int
    replicate: int
    engine: Engine


def train_pack(
    *,
    module: nn.Module,
    start: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    data: Dataset,
    recipe: Recipe,
    cycle: int,
    replicate: int,
    max_lrs: Sequence[float],
    engine: Engine | None = None,
) -> list[TrainedCopy]:
    """Trains one copy per candidate, each from ``start`` under ``masks``.

    Args:
        module: The network; it gives the forward pass only, its own weights are not used.
        start: Parameters and buffers by name.
        masks: Name of each prunable weight to its mask (bool, True where alive).
        data: The data set, on the device to train on.
        recipe: How to train.
        cycle: Times that the network has been pruned.
        replicate: Index of the independent seed.
        max_lrs: The candidates, each the peak of the schedule.
        engine: The engine of this module and recipe, if there is one already.

    Returns:
        One outcome per candidate, in their order.
    """
    pack = _Pack(
        module=module,
        start=start,
        masks=masks,
        data=replace(data, channels_last=recipe.execution.channels_last),
        recipe=recipe,
        cycle=cycle,
        replicate=replicate,
        engine=engine or Engine(module, recipe),
    )
    together = recipe.execution.pack_size > 1
    groups = [list(max_lrs)] if together else [[max_lr] for max_lr in max_lrs]
    with pack.engine.computing(data.train.labels.device):
        return [copy for group in groups for copy in _train_group(pack, group)]


def _train_group(pack: _Pack, max_lrs: list[float]) -> list[TrainedCopy]:
    module, data, recipe, cycle = pack.module, pack.data, pack.recipe, pack.cycle
    device = data.train.labels.device
    steps, per_epoch, every = training_steps(recipe, len(data.train.labels))
    schedule = rate_multipliers(recipe, cycle=cycle, steps=steps, per_epoch=per_epoch)
    begin = first_step(recipe, cycle=cycle, per_epoch=per_epoch)
    copies = StackedNetwork.of(module, apply_masks(pack.start, pack.masks), len(max_lrs), device)
    mask = flat_mask(module, pack.masks, device)
    best = BestWeights(module, copies, direction(recipe.metric))
    notes = _Notes(pack, copies, device)
    rates = torch.tensor(max_lrs, device=device, dtype=copies.flat.dtype)
    step = pack.engine.begin(copies, mask, data)
    loss_sum, since = torch.zeros_like(rates), 0
    seed_global(derive_seed(recipe.seed, pack.replicate, cycle, "forward"), device)
    module.train()
    found = batches(data, recipe, cycle=cycle, replicate=pack.replicate, steps=steps - begin)
    for done, (inputs, labels) in enumerate(found, start=begin + 1):
        losses = step(inputs, labels, rates * schedule[done - 1])
        loss_sum, since = loss_sum + losses, since + 1
        validates = done % every == 0 or done == steps
        if validates or notes.wants(done):
            step.settle()
        notes.step(copies, done)
        if validates:
            score, finite = pack.engine.scores(copies, data, data.validation)
            finite &= loss_sum.isfinite() & copies.flat.isfinite().all(dim=1)
            best.update(copies, done, score, finite, loss_sum / since)
            diverged = best.diverged.nonzero().flatten().tolist()
            if len(diverged) == len(max_lrs):
                break
            step.leave(diverged)
            loss_sum, since = torch.zeros_like(rates), 0
            module.train()
    return notes.added(best.outcomes(pack.engine, data), best.copies, max_lrs)


class _Notes:
    """Notes of a training besides its best weights: the point to rewind to, and statistics."""

    def __init__(self, pack: _Pack, copies: StackedNetwork, device: torch.device) -> None:
        self._pack = pack
        recipe, per_epoch = pack.recipe, len(pack.data.train.labels) // pack.recipe.batch_size
        target = first_step(recipe, cycle=1, per_epoch=per_epoch)
        self._rewind_step = target if pack.cycle == 0 else 0
        self._rewind: StackedNetwork | None = None
        self._watch: Watch | None = None
        if recipe.diagnostics:
            self._watch = Watch(
                copies, active_weights(pack.module, pack.masks, device, recipe.also), per_epoch
            )

    def wants(self, done: int) -> bool:
        """Whether the copies after so many steps are looked at."""
        return done == self._rewind_step or (self._watch is not None and self._watch.wants(done))

    def step(self, copies: StackedNetwork, done: int) -> None:
        if done == self._rewind_step:
            self._rewind = copies.clone(self._pack.module)
        if self._watch is not None:
            self._watch.step(copies, done)

    def added(
        self, outcomes: list[TrainedCopy], best: StackedNetwork, max_lrs: list[float]
    ) -> list[TrainedCopy]:
        """The outcomes with the notes. A pack that diverged before its point to rewind to takes its best."""
        found = []
        for index, (outcome, max_lr) in enumerate(zip(outcomes, max_lrs, strict=True)):
            rewind = (self._rewind or best).state(index) if self._rewind_step else None
            found.append(replace(outcome, rewind=rewind, diagnostics=self._statistics(best, index, max_lr)))
        return found

    def _statistics(self, best: StackedNetwork, index: int, max_lr: float) -> Statistics | None:
        if self._watch is None:
            return None
        pack = self._pack
        seed = derive_seed(pack.recipe.seed, pack.replicate, pack.cycle)
        return statistics_of_copy(
            pack.module,
            best,
            index,
            pack.data,
            self._watch,
            pack.engine.loss_of,
            max_lr=max_lr,
            seed=seed,
            also=pack.recipe.also,
        )
