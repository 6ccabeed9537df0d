"""Fingerprints of a network's weights: are these the weights that a search began with?

The same code and seed draw weights that differ in their last digits from one kind of processor to another, as
torch's random kernels are compiled for each. Bytes alone would take another machine for another network, so a
fingerprint holds a few numbers, too, in which roundings vanish and a changed weight doesn't.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from silo.errors import SiloOracleError
from trials.tasks import WeightsFingerprint

_FREQUENCIES = (1.0, 0.5 * (5**0.5 - 1))
"""Radians from one weight to the next of the waves that the weights are projected on."""

_ROUNDING = 1e-5
"""Share of the norm by which roundings can move a projection, with room: float32 rounds by 6e-8, and a single
weight of 10⁸ alike is still 1e-4 of their norm."""

_LARGEST = 1e4
"""Size from which on a number is no weight, but a mask's or a table's: kept by its bytes alone, as beside it
all weights would vanish."""

_PORTION = 1 << 22
"""Weights that are looked at together."""


class InitialWeightsChanged(SiloOracleError):
    """A network doesn't begin with the weights that its search began with."""


def alike(one: WeightsFingerprint, other: WeightsFingerprint) -> bool:
    """Whether two fingerprints are of the same weights, but for roundings."""
    if one.sha256 == other.sha256:
        return True
    room = _ROUNDING * max(one.norm, other.norm)
    pairs = [(one.norm, other.norm), *zip(one.projections, other.projections, strict=True)]
    return one.shapes == other.shapes and all(abs(mine - theirs) <= room for mine, theirs in pairs)


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> WeightsFingerprint:
    """The fingerprint of parameters and buffers by name; their order plays no part."""
    shapes = hashlib.sha256()
    squares, projections, place = 0.0, [0.0] * len(_FREQUENCIES), 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        shapes.update(_heading(name, tensor))
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
        for begin in range(0, len(flat), _PORTION):
            portion = flat[begin : begin + _PORTION]
            values = portion.double()
            values = torch.where(values.abs() < _LARGEST, values, 0.0)  # neither NaN nor infinities
            at = torch.arange(place, place + len(values), dtype=torch.float64)
            squares += float(values.square().sum())
            for index, frequency in enumerate(_FREQUENCIES):
                projections[index] += float(values @ torch.cos(frequency * at))
            place += len(values)
    return WeightsFingerprint(
        sha256=weights_sha256(tensors),
        shapes=shapes.hexdigest(),
        norm=math.sqrt(squares),
        projections=tuple(projections),
    )


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Checksum of parameters and buffers by name: of their names, types, shapes and bytes."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(_heading(name, tensor))
        if tensor.numel():
            content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def _heading(name: str, tensor: Tensor) -> bytes:
    return f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()


def check_initial(
    tensors: Mapping[str, Tensor], begun_with: Sequence[WeightsFingerprint], index: int
) -> None:
    """Makes sure that a replicate's network begins as it did when its search began.

    Args:
        tensors: Its parameters and buffers by name.
        begun_with: The fingerprints by replicate; none for one that has none.
        index: The replicate.

    Raises:
        InitialWeightsChanged: It begins with other weights.
    """
    if index >= len(begun_with) or weights_sha256(tensors) == begun_with[index].sha256:
        return
    if not alike(weights_fingerprint(tensors), begun_with[index]):
        raise InitialWeightsChanged(
            f"the initial weights of replicate {index} are not those that the search began with: the "
            "network's code, or a file that it loads, was changed; put it back, or give the search a new name"
        )
