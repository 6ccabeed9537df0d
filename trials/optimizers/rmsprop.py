"""RMSprop (Tieleman and Hinton, 2012)."""

from __future__ import annotations

import torch
from torch import Tensor

from trials.optimizers import MaskBits, read_eps, read_not_negative, read_share


class RMSprop:
    """RMSprop as ``torch.optim.RMSprop`` defines it, with its defaults, and masked gradients and state.

    Args:
        alpha: Decay of the gradient's mean square, in [0, 1).
        eps: Added to the root of the mean square; above 0.
        weight_decay: L2 penalty, added to the gradient of every parameter, even of one that the loss
            doesn't use (which torch leaves alone).
        momentum: Momentum in [0, 1).
        centered: Whether to divide by the estimated standard deviation instead of the root of the mean
            square.

    Raises:
        InvalidInput: An argument is out of its range.
    """

    STATE = ("square", "mean", "velocity")

    def __init__(
        self,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        self.alpha, self.eps = read_share("alpha", alpha), read_eps(eps)
        self.weight_decay = read_not_negative("weight_decay", weight_decay)
        self.momentum = read_share("momentum", momentum)
        self.centered = centered
        self.square: Tensor | None = None
        self.mean: Tensor | None = None
        self.velocity: Tensor | None = None
        self._denominator = torch.empty(0)
        self.pruned = MaskBits()

    def begin(self, weights: Tensor) -> None:
        """See :class:`trials.optimizers.Stateful`."""
        self.square, self._denominator = torch.zeros_like(weights), torch.empty_like(weights)
        self.mean = torch.zeros_like(weights) if self.centered else None
        self.velocity = torch.zeros_like(weights) if self.momentum else None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
        """See :class:`trials.optimizers.Optimizer`."""
        if self.square is None:
            self.begin(weights)
        assert self.square is not None
        if self.weight_decay:
            gradients.add_(weights, alpha=self.weight_decay)
        self.pruned.zero(gradients, mask)
        self.square.mul_(self.alpha).addcmul_(gradients, gradients, value=1.0 - self.alpha)
        square = self.square
        if self.mean is not None:
            self.mean.lerp_(gradients, 1.0 - self.alpha)
            square = torch.addcmul(square, self.mean, self.mean, value=-1.0, out=self._denominator)
        denominator = self.pruned.root(square, mask, out=self._denominator).add_(self.eps)
        if self.velocity is not None:
            direction = self.velocity.mul_(self.momentum).addcdiv_(gradients, denominator)
        else:
            direction = gradients.div_(denominator)
        weights.addcmul_(lr.unsqueeze(1), direction, value=-1.0)
        self.pruned.zero(weights, mask)
