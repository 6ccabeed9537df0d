"""K copies of one network's parameters and buffers, stacked, so that they can be trained together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Copies:
    """K copies of a network, each parameter a view into one flat tensor.

    Attributes:
        flat: [K, P], all parameters of each copy, one after another.
        parameters: Name to [K, *shape], views into ``flat``.
        buffers: Name to [K, *shape].
    """

    flat: Tensor
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module, state: Mapping[str, Tensor], count: int, device: torch.device) -> Copies:
        """``count`` equal copies that start from ``state`` (parameters and buffers by name)."""
        names = [name for name, _ in module.named_parameters()]
        row = torch.cat([state[name].reshape(-1) for name in names]).to(device)
        flat = row.expand(count, -1).clone()
        buffers = {
            name: state[name].to(device).expand(count, *state[name].shape).clone()
            for name, _ in module.named_buffers()
        }
        return cls(flat=flat, parameters=_views(module, flat), buffers=buffers)

    def clone(self, module: nn.Module) -> Copies:
        """A copy of the copies that shares no memory."""
        flat = self.flat.clone()
        return Copies(
            flat=flat,
            parameters=_views(module, flat),
            buffers={name: buffer.clone() for name, buffer in self.buffers.items()},
        )

    def take(self, other: Copies, chosen: Tensor) -> None:
        """Overwrites the copies that ``chosen`` ([K], bool) marks with those of ``other``."""
        self.flat[chosen] = other.flat[chosen]
        for name, buffer in self.buffers.items():
            buffer[chosen] = other.buffers[name][chosen]

    def state(self, index: int) -> dict[str, Tensor]:
        """Parameters and buffers of one copy on the CPU, as ``Module.load_state_dict`` takes them."""
        stacked = {**self.parameters, **self.buffers}
        return {name: tensor[index].detach().to("cpu", copy=True) for name, tensor in stacked.items()}


def flat_mask(module: nn.Module, masks: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The masks as one row [P] of ones and zeros, in the order of :attr:`Copies.flat`."""
    parts = [
        masks[name].reshape(-1).to(parameter.dtype) if name in masks else torch.ones(parameter.numel())
        for name, parameter in module.named_parameters()
    ]
    return torch.cat(parts).to(device=device, dtype=next(module.parameters()).dtype)


def _views(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    views, offset = {}, 0
    for name, parameter in module.named_parameters():
        views[name] = flat[:, offset : offset + parameter.numel()].view(flat.shape[0], *parameter.shape)
        offset += parameter.numel()
    return views
