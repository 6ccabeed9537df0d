"""Optimizers over flat rows, and how they keep pruned entries at zero."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

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
    place.
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

    def _read(self, mask: Tensor, dtype: torch.dtype) -> None:
        self._mask, self._integers = mask, _INTEGERS[dtype.itemsize]
        self._alive = mask.ne(0).to(self._integers).neg_()  # -1 has all bits
        self._ones = mask.eq(0).to(dtype).view(self._integers)
