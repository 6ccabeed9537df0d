"""What a training is judged by: right answers on the validation split, and the weights that gave the most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trials.copies import Copies
from trials.datasets import Dataset, Examples
from trials.diagnostics import Statistics
from trials.gradients import lone_outputs, packed_outputs

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
    module: nn.Module, copies: Copies, data: Dataset, split: Examples, together: bool
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


class BestWeights:
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
