"""What a training is judged by: right answers on the validation split, and the weights that gave the most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from trials.datasets import Dataset, Examples
from trials.diagnostics import Statistics
from trials.engine.gradients import lone_outputs, packed_outputs
from trials.engine.graphs import Program, Traced, trace
from trials.engine.stacked import StackedNetwork

EVALUATION_BATCH = 1024

CountCorrect = Callable[[StackedNetwork, Dataset, Examples], tuple[Tensor, Tensor]]
"""Copies, data set and split to right answers of each copy on it, and whether all its outputs were finite:
both [K]."""


def evaluation_batch(count: int) -> int:
    """Examples of a batch that splits ``count`` examples evenly: a graph is made for one size."""
    return -(-count // -(-count // EVALUATION_BATCH))


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
        rewind: Parameters and buffers at the point that later cycles go back to; None where they don't, and
            after cycle 0.
        diagnostics: Statistics of the weights at the best validation; None where none were wanted.
    """

    accuracy: float
    test_accuracy: float
    best_step: int
    diverged: bool
    train_loss: float
    state: dict[str, Tensor]
    rewind: dict[str, Tensor] | None = None
    diagnostics: Statistics | None = None


@torch.no_grad()
def count_correct(
    module: nn.Module, copies: StackedNetwork, data: Dataset, split: Examples, together: bool
) -> tuple[Tensor, Tensor]:
    """Right answers of each copy on a split, and whether all its outputs were finite: both [K]."""
    module.eval()
    forward = packed_outputs(module) if together else lone_outputs(module)
    count = copies.flat.shape[0]
    correct = torch.zeros(count, dtype=torch.long, device=copies.flat.device)
    finite = torch.ones(count, dtype=torch.bool, device=copies.flat.device)
    for inputs, labels in split.batches([torch.arange(len(split))], EVALUATION_BATCH):
        outputs = forward(copies, data.normalise(inputs))
        correct += (outputs.argmax(dim=-1) == labels).sum(dim=-1)
        finite &= outputs.isfinite().all(dim=-1).all(dim=-1)
    return correct, finite


class GraphEvaluation:
    """The forward pass and the count of right answers as one graph, for batches of one size.

    Smaller batches are filled up with their first example, which no copy's outputs for the others depend on.

    Args:
        module: The network.
        count: Copies; fewer are filled up too.
        size: Examples of a batch.
        vectorised: Whether the copies are computed in one call; else ``count`` is 1.
    """

    program: Program
    """What the graph has become: to be set before the first count."""

    def __init__(self, module: nn.Module, count: int, size: int, *, vectorised: bool) -> None:
        self._module, self._count, self._size, self._vectorised = module, count, size, vectorised

    def arguments(self, copies: StackedNetwork, data: Dataset) -> list[Tensor]:
        """What the graph is called with, on the first batch of the validation split."""
        inputs, labels = data.validation.first(self._size)
        return self._arguments(copies, data.normalise(inputs), labels)

    @torch.no_grad()
    def traced(self, copies: StackedNetwork, data: Dataset) -> Traced:
        """The graph, for copies and data like these."""
        was_training = self._module.training
        self._module.eval()
        try:
            return trace(self._flat, self.arguments(copies, data))
        finally:
            self._module.train(was_training)

    @torch.no_grad()
    def count_correct(self, copies: StackedNetwork, data: Dataset, split: Examples) -> tuple[Tensor, Tensor]:
        """See :data:`CountCorrect`."""
        count = copies.flat.shape[0]
        correct = torch.zeros(count, dtype=torch.long, device=copies.flat.device)
        finite = torch.ones(count, dtype=torch.bool, device=copies.flat.device)
        for inputs, labels in split.batches([torch.arange(len(split))], self._size):
            with torch.autocast(inputs.device.type, enabled=False):  # the casts are in the graph
                right, sound = self.program(*self._arguments(copies, data.normalise(inputs), labels))
            correct += right[:count]
            finite &= sound[:count]
        return correct, finite

    def _arguments(self, copies: StackedNetwork, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        missing = self._size - len(labels)
        if missing:
            inputs = torch.cat([inputs, inputs[:1].expand(missing, *inputs.shape[1:])])
            labels = torch.cat([labels, labels.new_full((missing,), -1)])
        # Contiguous, as the graph was traced: copies are rows of a larger tensor.
        state = {name: each.contiguous() for name, each in {**copies.parameters, **copies.buffers}.items()}
        empty = self._count - copies.flat.shape[0]
        if empty:
            state = {
                name: torch.cat([tensor, tensor[:1].expand(empty, *tensor.shape[1:])])
                for name, tensor in state.items()
            }
        tensors, self._structure = pytree.tree_flatten(state)
        return [*tensors, inputs, labels]

    def _flat(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        inputs, labels = arguments[-2:]
        state = pytree.tree_unflatten(list(arguments[:-2]), self._structure)

        def forward(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(self._module, state, (inputs,))

        if self._vectorised:
            outputs = vmap(forward, in_dims=(0, None), randomness="error")(state, inputs)
        else:
            outputs = forward({name: tensor[0] for name, tensor in state.items()}, inputs).unsqueeze(0)
        right = (outputs.argmax(dim=-1) == labels).sum(dim=-1)
        return right, outputs.isfinite().flatten(1).all(dim=-1)


class BestWeights:
    """Keeps, of each copy, the weights of its best validation (early stopping), the first among equals."""

    def __init__(self, module: nn.Module, copies: StackedNetwork) -> None:
        count, device = copies.flat.shape[0], copies.flat.device
        self.copies = copies.clone(module)
        self.correct = torch.full((count,), -1, dtype=torch.long, device=device)
        self.step = torch.zeros(count, dtype=torch.long, device=device)
        self.diverged = torch.zeros(count, dtype=torch.bool, device=device)
        self.loss = torch.full((count,), float("nan"), device=device)

    def update(
        self, copies: StackedNetwork, step: int, correct: Tensor, finite: Tensor, loss: Tensor
    ) -> None:
        self.diverged |= ~finite
        self.loss = torch.where(self.diverged, float("nan"), loss)
        improved = (correct > self.correct) & ~self.diverged
        self.correct = torch.where(improved, correct, self.correct)
        self.step = torch.where(improved, step, self.step)
        self.copies.take(copies, improved)

    def outcomes(self, count_correct: CountCorrect, data: Dataset) -> list[TrainedCopy]:
        tested, _ = count_correct(self.copies, data, data.test)
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
