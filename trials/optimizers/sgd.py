"""Stochastic gradient descent."""

from __future__ import annotations

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.optimizers import MaskBits, read_not_negative, read_share


class SGD:
    """Stochastic gradient descent as ``torch.optim.SGD`` defines it, with masked gradients and momentum.

    Args:
        momentum: Momentum in [0, 1).
        weight_decay: L2 penalty, added to the gradient of every parameter, even of one that the loss
            doesn't use (which torch leaves alone).
        nesterov: Whether the momentum is Nesterov's.

    Raises:
        InvalidInput: An argument is out of its range.
    """

    STATE = ("velocity",)

    def __init__(self, *, momentum: float = 0.9, weight_decay: float = 1e-4, nesterov: bool = False) -> None:
        self.momentum = read_share("momentum", momentum)
        self.weight_decay = read_not_negative("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and momentum == 0.0:
            raise InvalidInput("optimizer.nesterov needs a momentum above 0, got momentum 0")
        self.velocity: Tensor | None = None
        self.pruned = MaskBits()

    def begin(self, weights: Tensor) -> None:
        """See :class:`trials.optimizers.Stateful`."""
        self.velocity = torch.zeros_like(weights) if self.momentum else None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
        """See :class:`trials.optimizers.Optimizer`."""
        if self.weight_decay:
            gradients.add_(weights, alpha=self.weight_decay)
        self.pruned.zero(gradients, mask)
        direction = gradients
        if self.momentum and self.velocity is None:
            self.begin(weights)
        if self.velocity is not None:
            self.velocity.mul_(self.momentum).add_(gradients)
            direction = gradients.add_(self.velocity, alpha=self.momentum) if self.nesterov else self.velocity
        weights.addcmul_(lr.unsqueeze(1), direction, value=-1.0)
        self.pruned.zero(weights, mask)
