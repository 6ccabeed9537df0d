"""Early stopping: the weights of each copy's best validation, and the numbers that a trial is known by."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from trials.datasets import Dataset
from trials.diagnostics import Statistics
from trials.engine import CountCorrect, StackedNetwork


@dataclass(frozen=True, kw_only=True)
class TrainingScores:
    """The numbers of one candidate's training, of which a :class:`trials.tasks.Trial` has a field each.

    Attributes:
        accuracy: Validation accuracy in [0, 1] at the best validation; chance level if it diverged.
        test_accuracy: Test accuracy in [0, 1] of the same weights; chance level if it diverged.
        best_step: Optimizer steps until the best validation; 0 if there was none.
        diverged: Whether a loss, an output or a weight became infinite or NaN.
        train_loss: Mean training loss between the last two validations; NaN if it diverged.
    """

    accuracy: float
    test_accuracy: float
    best_step: int
    diverged: bool
    train_loss: float

    def numbers(self) -> dict[str, Any]:
        """The numbers by name, without a subclass's tensors."""
        return {field.name: getattr(self, field.name) for field in fields(TrainingScores)}


@dataclass(frozen=True, kw_only=True)
class TrainedCopy(TrainingScores):
    """One candidate's training: its numbers, and the tensors that stay on its worker.

    Attributes:
        state: Parameters and buffers at the best validation (the starting ones if there was none).
        rewind: Parameters and buffers at the point that later cycles go back to; None where they don't, and
            after cycle 0.
        diagnostics: Statistics of the weights at the best validation; None where none were wanted.
    """

    state: dict[str, Tensor]
    rewind: dict[str, Tensor] | None = None
    diagnostics: Statistics | None = None


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
        """Takes a validation after ``step`` steps into account.

        Args:
            copies: The copies as they were validated.
            step: Optimizer steps so far.
            correct: [K], right answers.
            finite: [K], whether all that was seen since the last validation was finite.
            loss: [K], mean training loss since then.
        """
        self.diverged |= ~finite
        self.loss = torch.where(self.diverged, float("nan"), loss)
        improved = (correct > self.correct) & ~self.diverged
        self.correct = torch.where(improved, correct, self.correct)
        self.step = torch.where(improved, step, self.step)
        self.copies.take(copies, improved)

    def outcomes(self, count_correct: CountCorrect, data: Dataset) -> list[TrainedCopy]:
        """The trainings as they ended, with the test accuracies of the weights that were kept."""
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
