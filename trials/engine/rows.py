"""Where parameters lie in a row of numbers, so that one operation changes all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_ALIGNED = 16
"""Bytes that a parameter's place is a multiple of: wide reads of an accelerator need that many."""

_WIDE = 16
"""Numbers from one copy's rate to the next: as many bytes at least."""


@dataclass(frozen=True)
class Place:
    """The place of one parameter in rows [K, P].

    Attributes:
        begin: Its first column.
        shape: A copy's parameter.
        filled: Columns up to the next parameter, at least as many as it has numbers.
        last: Whether its second dimension lies innermost, as the channels of a convolution's kernel may.
    """

    begin: int
    shape: torch.Size
    filled: int
    last: bool

    def view(self, rows: Tensor) -> Tensor:
        """The parameter [K, *shape], or what belongs to it in other rows like these."""
        part, count = rows[:, self.begin : self.begin + self.shape.numel()], rows.shape[0]
        if not self.last:
            return part.view(count, *self.shape)
        outer, inner, *others = self.shape
        return part.view(count, outer, *others, inner).movedim(-1, 2)

    def row(self, tensor: Tensor) -> Tensor:
        """A tensor [K, *shape] as it lies in rows: [K, numbers]."""
        return (tensor.movedim(2, -1) if self.last else tensor).reshape(tensor.shape[0], -1)


@dataclass(frozen=True)
class Places:
    """The places of some parameters in rows, one after another.

    Attributes:
        each: By the parameters' names.
        width: Columns of the rows.
    """

    each: dict[str, Place]
    width: int

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], *, channels_last: bool) -> Places:
        """Places for parameters [K, *shape] by name."""
        found, width = {}, 0
        for name, tensor in parameters.items():
            shape, unit = tensor.shape[1:], max(1, _ALIGNED // tensor.itemsize)
            filled = -(-shape.numel() // unit) * unit if len(parameters) > 1 else shape.numel()
            found[name] = Place(width, shape, filled, channels_last and len(shape) == 4)
            width += filled
        return cls(found, width)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows by parameter."""
        return {name: place.view(rows) for name, place in self.each.items()}

    def joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Tensors [K, *shape] by parameter as rows; numbers of no meaning lie between them."""
        found = []
        for name, place in self.each.items():
            found.append(row := place.row(parts[name]))
            if missing := place.filled - place.shape.numel():
                found.append(row[:, :1].expand(-1, missing))
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


class Rows(NamedTuple):
    """Parameters in rows, and all that changes them.

    Attributes:
        weights: [K, P].
        mask: [P], 1 where a weight is alive, else 0.
        state: The optimizer's, by attribute.
        bits: Those of the mask, as :meth:`trials.optimizers.MaskBits.of` makes them, if the optimizer takes
            them.
    """

    weights: Tensor
    mask: Tensor
    state: dict[str, Tensor]
    bits: list[Tensor]


class Shared(NamedTuple):
    """Where the rates of several steps lie, and their losses: both [K], of which each step has a part."""

    rates: Tensor
    losses: Tensor

    @classmethod
    def of(cls, like: Tensor, count: int) -> Shared:
        """For ``count`` copies like [K, P], each number at a place that any kernel can read widely."""
        return cls(*like.new_zeros((2, count, _WIDE))[..., 0])

    def row(self, index: int) -> Shared:
        """The part of one copy."""
        return Shared(self.rates[index : index + 1], self.losses[index : index + 1])
