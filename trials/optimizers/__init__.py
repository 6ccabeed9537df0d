"""Optimizers by name, over flat parameters: one row per copy, so that an update is a few operations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.registry import call, resolve
from trials.tasks import Component

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of a float to the integer that is as wide."""


class Optimizer(Protocol):
    """Updates K copies in place. Entries whose mask is zero keep a weight and a state of zero."""

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
        """One update. No row depends on another, so that a copy that diverges leaves the others alone.

        Args:
            weights: [K, P], changed in place.
            gradients: [K, P], may be changed; may be infinite or NaN, also where the mask is zero.
            mask: [P], 1 where a weight is alive, else 0; the same in every step.
            lr: [K], the learning rate of each copy.
        """


@runtime_checkable
class Stateful(Optimizer, Protocol):
    """An optimizer that a compiled step can hold: all that it changes are tensors, known by name, and each
    entry's update depends on that entry alone."""

    STATE: tuple[str, ...]
    """Names of the attributes that hold the state: tensors, or None."""

    def begin(self, weights: Tensor) -> None:
        """Sets the state before the first step: zeros. Without this call the first step does it.

        Args:
            weights: [K, P]; its shape, dtype and device count.
        """


class MaskBits:
    """The zeros of a mask, applied to the bits of the floats, and so whatever the floats are.

    A product with the mask would turn 0 · inf into NaN, and ``masked_fill_`` takes ten to fifty times as long
    as the product on a CPU; this takes as long. The bits are made once per mask, which mustn't be changed in
    place. An optimizer that has its own in the attribute ``pruned`` is lent those of the whole training in a
    step that is recorded: see :meth:`take`.
    """

    def __init__(self) -> None:
        self._mask: Tensor | None = None
        self._integers = torch.int32
        self._alive = self._ones = torch.empty(0)

    def zero(self, rows: Tensor, mask: Tensor) -> None:
        """Zeroes, in place, what is pruned.

        Args:
            rows: [K, P], floating.
            mask: [P], zero where pruned.
        """
        if mask is not self._mask:
            self._read(mask, rows.dtype)
        rows.view(self._integers).bitwise_and_(self._alive)

    def root(self, rows: Tensor, mask: Tensor, *, out: Tensor) -> Tensor:
        """The square root where alive, and 1 where pruned.

        The root itself would be right too, but with many zeros among the rows it takes ten times as long.

        Args:
            rows: [K, P], zero where pruned.
            mask: [P], zero where pruned.
            out: [K, P], where to write it; may be ``rows``.
        """
        if mask is not self._mask:
            self._read(mask, rows.dtype)
        torch.bitwise_or(rows.view(self._integers), self._ones, out=out.view(self._integers))
        return out.sqrt_()

    @staticmethod
    def of(mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Integers, both [P], as wide as ``dtype``: all bits where alive, and those of a 1 where pruned."""
        integers = _INTEGERS[dtype.itemsize]
        return mask.ne(0).to(integers).neg_(), mask.eq(0).to(dtype).view(integers)  # -1 has all bits

    def take(self, mask: Tensor, alive: Tensor, ones: Tensor) -> None:
        """Lends the bits of a mask, as :meth:`of` made them."""
        self._mask, self._integers = mask, alive.dtype
        self._alive, self._ones = alive, ones

    def _read(self, mask: Tensor, dtype: torch.dtype) -> None:
        self.take(mask, *self.of(mask, dtype))


LEAST_EPS = 1e-30
"""Far below every eps in use, and far above what float32 rounds to zero."""


def read_share(name: str, value: object) -> float:
    """A number in [0, 1), such as a momentum."""
    if not _is_number(value) or not 0.0 <= value < 1.0:
        raise InvalidInput(f"optimizer.{name} must lie in [0, 1), got {value!r}")
    return float(value)


def read_not_negative(name: str, value: object) -> float:
    """A finite number of at least 0."""
    if not _is_number(value) or not 0.0 <= value <= sys.float_info.max:
        raise InvalidInput(f"optimizer.{name} must be at least 0 and finite, got {value!r}")
    return float(value)


def read_eps(value: object) -> float:
    """A term to add to a denominator. Unlike torch's it can't be 0: a pruned entry's gradient and its mean
    square are both 0, and so may those of an alive one be."""
    if not _is_number(value) or not LEAST_EPS <= value <= sys.float_info.max:
        raise InvalidInput(
            f"optimizer.eps must be at least {LEAST_EPS:g} and finite, so that a gradient of zero isn't "
            f"divided by zero, got {value!r}"
        )
    return float(value)


def read_betas(value: object) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise InvalidInput(f"optimizer.betas must be two numbers, such as [0.9, 0.999], got {value!r}")
    return read_share("betas[0]", value[0]), read_share("betas[1]", value[1])


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
        self.velocity = torch.zeros_like(weights) if self.momentum else None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
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
        # A tensor, so that one compiled graph serves every step.
        self.steps = torch.zeros((), dtype=torch.float64, device=weights.device)
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.largest_square = torch.zeros_like(weights) if self.amsgrad else None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
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
        self.square, self._denominator = torch.zeros_like(weights), torch.empty_like(weights)
        self.mean = torch.zeros_like(weights) if self.centered else None
        self.velocity = torch.zeros_like(weights) if self.momentum else None

    def step(self, weights: Tensor, gradients: Tensor, mask: Tensor, lr: Tensor) -> None:
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


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": adamw,
    "rmsprop": RMSprop,
}


def build_optimizer(optimizer: Component) -> Optimizer:
    """A fresh optimizer without state.

    Raises:
        InvalidInput: The optimizer is unknown or an argument is wrong.
    """
    kind = resolve("optimizer", optimizer.name, OPTIMIZERS)
    return call("optimizer", optimizer.name, kind, optimizer.arguments)
