"""What a module keeps beside parameters and buffers: attributes that may change from call to call."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_INTERNAL = vars(nn.Module()).keys()

_MOST_ITEMS = 1000
"""Items of a container that are looked at: longer ones are known by their length."""


def kept_attributes(module: nn.Module) -> dict[str, Any]:
    """Name to a picture of its value, for each attribute of a module and its parts that holds plain data."""
    found = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in _INTERNAL and (picture := _picture(value)) is not None:
                found[f"{path}.{name}" if path else name] = picture
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, bool]:
    """Names of the attributes that changed, and whether each is a number or a generator of random ones."""
    return {
        name: picture[0] in ("number", "generator")
        for name, picture in after.items()
        if picture != before.get(name)
    }


def _picture(value: Any) -> tuple[str, Any] | None:
    """Kind and content of a value; None for what isn't plain data, or follows from other tensors."""
    if isinstance(value, bool | int | float | complex | np.number):
        return "number", repr(value)
    if value is None or isinstance(value, str | bytes):
        return "text", value
    if isinstance(value, torch.Generator):
        return "generator", bytes(value.get_state().numpy())
    if isinstance(value, random.Random):
        return "generator", repr(value.getstate())
    if isinstance(value, np.random.Generator):
        return "generator", repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return "generator", repr(value.get_state())
    if isinstance(value, Tensor):
        plain = value.grad_fn is None and not isinstance(value, nn.Parameter)
        return ("tensor", repr(value.detach().cpu().double().sum().item())) if plain else None
    if isinstance(value, np.ndarray):
        return "array", value.tobytes()
    if isinstance(value, Mapping):
        return "container", [len(value), *map(_picture, [*value.values()][:_MOST_ITEMS])]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return "container", [len(value), *map(_picture, [*value][:_MOST_ITEMS])]
    return None
