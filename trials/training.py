"""The training of one pack: candidates that start from the same weights, see the same batches, and differ by
their peak learning rate alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.copies import Copies, flat_mask
from trials.datasets import Dataset, Split
from trials.datasets.augment import pad_crop_flip
from trials.gradients import lone_gradients, lone_outputs, packed_gradients, packed_outputs
from trials.optimizers import build_optimizer
from trials.pruning.masks import apply_masks
from trials.recipe import Recipe
from trials.schedules import multipliers
from trials.seeding import derive_seed, generator

EVALUATION_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class TrainedCopy:
    """One candidate's training.

    Attributes:
        accuracy: Validation accuracy in [0, 1] at the best validation; chance level if it diverged.
        test_accuracy: Test accuracy in [0, 1] of the same weights; chance level if it diverged.
        best_step: Optimizer steps until the best validation; 0 if there was none.
        diverged: Whether a loss, an output or a weight became infinite or NaN.
        train_loss: Mean training loss between the last two validations; NaN if it diverged.
        state: Parameters and buffers at the best validation (the starting ones if there was none).
    """

    accuracy: float
    test_accuracy: float
    best_step: int
    diverged: bool
    train_loss: float
    state: dict[str, Tensor]


def training_steps(recipe: Recipe, train_count: int) -> tuple[int, int, int]:
    """Steps of a training, per epoch, and between validations.

    Raises:
        InvalidInput: The training split has no full batch.
    """
    per_epoch = train_count // recipe.batch_size
    if not per_epoch:
        raise InvalidInput(
            f"batch_size {recipe.batch_size} is larger than the training split ({train_count} examples): "
            "take a smaller batch"
        )
    per_unit = per_epoch if recipe.unit == "epochs" else 1
    every = recipe.evaluate_every * per_unit if recipe.evaluate_every else per_epoch
    return recipe.length * per_unit, per_epoch, every


def rate_multipliers(recipe: Recipe, *, cycle: int, steps: int, per_epoch: int) -> list[float]:
    """The multiplier of ``max_lr`` at each step; fine-tuning holds the last one from cycle 1 on."""
    values = multipliers(
        recipe.schedule, steps=steps, steps_per_unit=per_epoch if recipe.unit == "epochs" else 1
    )
    return [values[-1]] * steps if recipe.retraining == "fine_tuning" and cycle > 0 else values


def batches(
    data: Dataset, recipe: Recipe, *, cycle: int, replicate: int, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a cycle's training: the same for each of its candidates.

    Yields:
        Normalised inputs [B, …] and labels [B], on the data set's device.
    """
    order = generator(recipe.seed, replicate, cycle, "order")
    noise = generator(recipe.seed, replicate, cycle, "augment")
    split, size = data.train, recipe.batch_size
    count = len(split.labels)
    per_epoch, done = count // size, 0
    while done < steps:
        permutation = torch.randperm(count, generator=order).to(split.labels.device)
        for index in range(min(per_epoch, steps - done)):
            chosen = permutation[index * size : (index + 1) * size]
            inputs = split.inputs[chosen]
            if data.augment:
                inputs = pad_crop_flip(inputs, noise)
            yield data.normalise(inputs), split.labels[chosen]
        done += per_epoch


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

    Returns:
        One outcome per candidate, in their order.
    """
    together = recipe.pack_size > 1
    groups = [list(max_lrs)] if together else [[max_lr] for max_lr in max_lrs]
    device = data.train.labels.device
    # Only the generator of this device: fork_rng's default makes a context on every GPU that it sees.
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        return [
            copy
            for group in groups
            for copy in _train_group(module, start, masks, data, recipe, cycle, replicate, group, together)
        ]


def _train_group(
    module: nn.Module,
    start: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    data: Dataset,
    recipe: Recipe,
    cycle: int,
    replicate: int,
    max_lrs: list[float],
    together: bool,
) -> list[TrainedCopy]:
    device = data.train.labels.device
    steps, per_epoch, every = training_steps(recipe, len(data.train.labels))
    schedule = rate_multipliers(recipe, cycle=cycle, steps=steps, per_epoch=per_epoch)
    gradients = packed_gradients(module) if together else lone_gradients(module)
    copies = Copies.of(module, apply_masks(start, masks), len(max_lrs), device)
    mask = flat_mask(module, masks, device)
    best = _Best(module, copies)
    rates = torch.tensor(max_lrs, device=device, dtype=copies.flat.dtype)
    optimizer = build_optimizer(recipe.optimizer)
    loss_sum, since = torch.zeros_like(rates), 0
    _seed_forward(derive_seed(recipe.seed, replicate, cycle, "forward"), device)
    module.train()
    for step, (inputs, labels) in enumerate(
        batches(data, recipe, cycle=cycle, replicate=replicate, steps=steps)
    ):
        gradient, losses = gradients(copies, inputs, labels)
        optimizer.step(copies.flat, gradient, mask, rates * schedule[step])
        loss_sum, since = loss_sum + losses, since + 1
        if (step + 1) % every == 0 or step + 1 == steps:
            correct, finite = count_correct(module, copies, data, data.validation, together)
            finite &= loss_sum.isfinite() & copies.flat.isfinite().all(dim=1)
            best.update(copies, step + 1, correct, finite, loss_sum / since)
            if bool(best.diverged.all()):
                break
            loss_sum, since = torch.zeros_like(rates), 0
            module.train()
    return best.outcomes(module, data, together)


def _seed_forward(seed: int, device: torch.device) -> None:
    """Seeds what dropout draws from; torch.manual_seed would seed the GPUs under a training on the CPU."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@torch.no_grad()
def count_correct(
    module: nn.Module, copies: Copies, data: Dataset, split: Split, together: bool
) -> tuple[Tensor, Tensor]:
    """Right answers of each copy on a split, and whether all its outputs were finite: both [K]."""
    module.eval()
    forward = packed_outputs(module) if together else lone_outputs(module)
    count = copies.flat.shape[0]
    correct = torch.zeros(count, dtype=torch.long, device=copies.flat.device)
    finite = torch.ones(count, dtype=torch.bool, device=copies.flat.device)
    for begin in range(0, len(split.labels), EVALUATION_BATCH):
        chosen = slice(begin, begin + EVALUATION_BATCH)
        outputs = forward(copies, data.normalise(split.inputs[chosen]))
        correct += (outputs.argmax(dim=-1) == split.labels[chosen]).sum(dim=-1)
        finite &= outputs.isfinite().all(dim=-1).all(dim=-1)
    return correct, finite


class _Best:
    """Keeps, of each copy, the weights of its best validation (early stopping), the first among equals."""

    def __init__(self, module: nn.Module, copies: Copies) -> None:
        count, device = copies.flat.shape[0], copies.flat.device
        self.copies = copies.clone(module)
        self.correct = torch.full((count,), -1, dtype=torch.long, device=device)
        self.step = torch.zeros(count, dtype=torch.long, device=device)
        self.diverged = torch.zeros(count, dtype=torch.bool, device=device)
        self.loss = torch.full((count,), float("nan"), device=device)

    def update(self, copies: Copies, step: int, correct: Tensor, finite: Tensor, loss: Tensor) -> None:
        self.diverged |= ~finite
        self.loss = torch.where(self.diverged, float("nan"), loss)
        improved = (correct > self.correct) & ~self.diverged
        self.correct = torch.where(improved, correct, self.correct)
        self.step = torch.where(improved, step, self.step)
        self.copies.take(copies, improved)

    def outcomes(self, module: nn.Module, data: Dataset, together: bool) -> list[TrainedCopy]:
        tested, _ = count_correct(module, self.copies, data, data.test, together)
        chance = 1.0 / data.num_classes
        validated, total = len(data.validation.labels), len(data.test.labels)
        return [
            TrainedCopy(
                accuracy=chance if diverged else correct / validated,
                test_accuracy=chance if diverged else test / total,
                best_step=step,
                diverged=diverged,
                train_loss=loss,
                state=self.copies.state(index),
            )
            for index, (correct, test, step, diverged, loss) in enumerate(
                zip(
                    self.correct.tolist(),
                    tested.tolist(),
                    self.step.tolist(),
                    self.diverged.tolist(),
                    self.loss.tolist(),
                    strict=True,
                )
            )
        ]
