"""The tensors in a search's files: a network that a cycle starts from, and the state to rewind to."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Tensors = dict[str, Tensor]

_WEIGHTS, _MASKS, _REWIND = "weights/", "masks/", "rewind/"


def pack_start(
    state: Mapping[str, Tensor], masks: Mapping[str, Tensor], rewind: Mapping[str, Tensor]
) -> Tensors:
    """The file of a pruned network: its masked state, its masks, and the state to rewind to."""
    return {**_under(_WEIGHTS, state), **_under(_MASKS, masks), **_under(_REWIND, rewind)}


def unpack_start(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """State and masks of :func:`pack_start`'s file."""
    return _below(_WEIGHTS, tensors), _below(_MASKS, tensors)


def with_rewind(state: Mapping[str, Tensor], rewind: Mapping[str, Tensor] | None) -> Tensors:
    """The file of a trained network: its state, and of cycle 0 the state to rewind to."""
    return {**state, **_under(_REWIND, rewind or {})}


def rewind_of(tensors: Mapping[str, Tensor]) -> Tensors:
    """The state to rewind to, which every file since cycle 0 hands on; empty where there is none."""
    return _below(_REWIND, tensors)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
