"""Optimizers over flat parameters: one row per copy, so that an update is a handful of operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.recipe import Component
from trials.registry import call, resolve


class Optimizer(Protocol):
    """Updates K copies in place. Entries whose mask is zero keep a state of zero."""

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
        """One update.

        Args:
            weights: [K, P], changed in place.
            gradients: [K, P], may be changed.
            mask: [P], 1 where a weight is alive, else 0.
            lr: [K], the learning rate of each copy.
        """


class SGD:
    """Stochastic gradient descent as ``torch.optim.SGD`` defines it, with masked gradients and momentum.

    Args:
        momentum: Momentum in [0, 1).
        weight_decay: L2 penalty, added to the gradient of every parameter, even of one that the loss
            doesn't use (which torch leaves alone).
        nesterov: Whether the momentum is Nesterov's.
    """

    def __init__(self, *, momentum: float = 0.9, weight_decay: float = 1e-4, nesterov: bool = False) -> None:
        if not isinstance(momentum, int | float) or not 0.0 <= momentum < 1.0:
            raise InvalidInput(f"optimizer.momentum must lie in [0, 1), got {momentum!r}")
        if not isinstance(weight_decay, int | float) or not 0.0 <= weight_decay < math.inf:
            raise InvalidInput(f"optimizer.weight_decay must be at least 0 and finite, got {weight_decay!r}")
        if nesterov and momentum == 0.0:
            raise InvalidInput("optimizer.nesterov needs a momentum above 0, got momentum 0")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.velocity: Tensor | None = None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
        """See :class:`Optimizer`."""
        if self.weight_decay:
            gradients.add_(weights, alpha=self.weight_decay)
        gradients.mul_(mask)
        direction = gradients
        if self.momentum:
            if self.velocity is None:
                self.velocity = torch.zeros_like(weights)
            self.velocity.mul_(self.momentum).add_(gradients)
            direction = gradients.add_(self.velocity, alpha=self.momentum) if self.nesterov else self.velocity
        weights.addcmul_(lr[:, None], direction, value=-1.0)
        weights.mul_(mask)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD}


def build_optimizer(optimizer: Component) -> Optimizer:
    """A fresh optimizer without state.

    Raises:
        InvalidInput: The optimizer is unknown or an argument is wrong.
    """
    return call(
        "optimizer",
        optimizer.name,
        resolve("optimizer", optimizer.name, OPTIMIZERS),
        optimizer.arguments,
    )
