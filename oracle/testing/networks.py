"""A network that fails when it is told to."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from torch import nn


class Failing(nn.Module):
    """A hidden layer of 16 units, whose training raises RuntimeError while there is a file.

    Args:
        input_shape: Shape of one input.
        num_classes: How many classes there are.
        flag: The file.
        once: Whether the first failure takes the file away.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, flag: str, once: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(torch.Size(input_shape).numel(), 16)
        self.head = nn.Linear(16, num_classes)
        self.flag, self.once = Path(flag), once

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Gives the logits, or raises."""
        if self.training and self.flag.exists():
            with contextlib.suppress(FileNotFoundError):  # another worker was first
                if self.once:
                    self.flag.unlink()
                raise RuntimeError("this training fails, as it was told to")
        outputs: torch.Tensor = self.head(self.hidden(inputs.flatten(1)).relu())
        return outputs
