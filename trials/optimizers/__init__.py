"""Optimizers by name, over flat parameters: one row per copy, so that an update is a few operations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.recipe import Component
from trials.registry import call, resolve

OPTIMIZERS = {
    "sgd": "trials.optimizers.sgd:SGD",
    "adam": "trials.optimizers.adam:Adam",
    "adamw": "trials.optimizers.adam:adamw",
    "rmsprop": "trials.optimizers.rmsprop:RMSprop",
}


def build_optimizer(optimizer: Component) -> Optimizer:
    """A fresh optimizer without state.

    Raises:
        InvalidInput: The optimizer is unknown or an argument is wrong.
    """
    kind: Callable[..., Optimizer] = resolve("optimizer", optimizer.name, OPTIMIZERS)
    return call("optimizer", optimizer.name, kind, optimizer.arguments)


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
