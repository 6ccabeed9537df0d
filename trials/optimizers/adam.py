"""Adam (Kingma and Ba, 2014) and AdamW (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trials.optimizers import MaskBits, read_betas, read_eps, read_not_negative


class Adam:
    """Adam as ``torch.optim.Adam`` defines it, with its defaults, and masked gradients and moments.

    All copies have taken the same number of steps, so they share the bias corrections.

    Args:
        betas: Decay of the gradient's mean and of its mean square, each in [0, 1).
        eps: Added to the root of the mean square; above 0.
        weight_decay: L2 penalty, added to the gradient of every parameter, even of one that the loss
            doesn't use (which torch leaves alone).
        amsgrad: Whether to divide by the largest mean square so far.
        decoupled_weight_decay: Whether the weights are scaled by 1 - lr · weight_decay instead.

    Raises:
        InvalidInput: An argument is out of its range.
    """

    STATE = ("steps", "mean", "square", "largest_square")

    def __init__(
        self,
        *,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        self.betas, self.eps = read_betas(betas), read_eps(eps)
        self.weight_decay = read_not_negative("weight_decay", weight_decay)
        self.amsgrad = amsgrad
        self.decoupled_weight_decay = decoupled_weight_decay
        self.steps: Tensor | None = None
        self.mean: Tensor | None = None
        self.square: Tensor | None = None
        self.largest_square: Tensor | None = None
        self.pruned = MaskBits()

    def begin(self, weights: Tensor) -> None:
        """See :class:`trials.optimizers.Stateful`."""
        # A tensor, so that one compiled graph serves every step.
        self.steps = torch.zeros((), dtype=torch.float64, device=weights.device)
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.largest_square = torch.zeros_like(weights) if self.amsgrad else None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
        """See :class:`trials.optimizers.Optimizer`."""
        if self.steps is None:
            self.begin(weights)
        assert self.steps is not None and self.mean is not None and self.square is not None
        if self.weight_decay and self.decoupled_weight_decay:
            weights.mul_((1.0 - lr * self.weight_decay).unsqueeze(1))
        elif self.weight_decay:
            gradients.add_(weights, alpha=self.weight_decay)
        self.pruned.zero(gradients, mask)
        self.steps.add_(1.0)
        beta1, beta2 = self.betas
        self.mean.lerp_(gradients, 1.0 - beta1)
        self.square.mul_(beta2).addcmul_(gradients, gradients, value=1.0 - beta2)
        square = self.square
        if self.largest_square is not None:
            square = torch.maximum(self.largest_square, self.square, out=self.largest_square)
        # The gradient is spent: its memory holds the denominator, then the direction.
        denominator = self.pruned.root(square, mask, out=gradients)
        denominator.div_((1.0 - beta2**self.steps).sqrt_()).add_(self.eps)
        direction = torch.div(self.mean, denominator, out=denominator)
        weights.addcmul_((lr / (1.0 - beta1**self.steps)).unsqueeze(1), direction, value=-1.0)
        self.pruned.zero(weights, mask)


def adamw(
    *,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
) -> Adam:
    """Adam with decoupled weight decay, as ``torch.optim.AdamW`` defines it; arguments as of Adam."""
    return Adam(betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, decoupled_weight_decay=True)
