"""K copies of one network's parameters and buffers, stacked, so that they can be trained together.

Names are those of ``named_parameters`` and ``named_buffers``: a tensor that two layers share has one. A
parameter that needs no gradient (``requires_grad=False``) counts as a buffer: no step changes it. A complex
parameter is trained as pairs of real numbers, as torch's optimizers do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StackedNetwork:
    """K copies of a network, each parameter a view into one flat tensor.

    Attributes:
        flat: [K, P], all parameters of each copy, one after another.
        parameters: Name to [K, *shape], views into ``flat``; [K, *shape, 2] of a complex one.
        buffers: Name to [K, *shape].
        keys: Each key of ``Module.state_dict`` to the name of its tensor.
        types: Name to type of each parameter that has another one than ``flat``, which has the widest of all.
    """

    flat: Tensor
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    keys: dict[str, str]
    types: dict[str, torch.dtype]

    @classmethod
    def of(
        cls, module: nn.Module, state: Mapping[str, Tensor], count: int, device: torch.device
    ) -> StackedNetwork:
        """``count`` equal copies that start from ``state``: parameters and buffers by name.

        Buffers that ``state`` lacks, as those that aren't persistent may be, are the module's own.
        """
        trained = _trained(module)
        row = torch.cat([as_real(state[name]).reshape(-1) for name in trained]).to(device)
        flat = row.expand(count, -1).clone()
        others = {name: tensor for name, tensor in named_tensors(module).items() if name not in trained}
        starts = {name: state.get(name, tensor).to(device) for name, tensor in others.items()}
        buffers = {name: tensor.expand(count, *tensor.shape).clone() for name, tensor in starts.items()}
        types = {name: state[name].dtype for name in trained if state[name].dtype != flat.dtype}
        return cls(
            flat=flat, parameters=_views(module, flat), buffers=buffers, keys=_keys(module), types=types
        )

    def clone(self, module: nn.Module) -> StackedNetwork:
        """A copy of the copies that shares no memory."""
        flat = self.flat.clone()
        return StackedNetwork(
            flat=flat,
            parameters=_views(module, flat),
            buffers={name: buffer.clone() for name, buffer in self.buffers.items()},
            keys=self.keys,
            types=self.types,
        )

    def row(self, index: int) -> StackedNetwork:
        """One of the copies: a view."""
        chosen = slice(index, index + 1)
        return StackedNetwork(
            flat=self.flat[chosen],
            parameters={name: tensor[chosen] for name, tensor in self.parameters.items()},
            buffers={name: tensor[chosen] for name, tensor in self.buffers.items()},
            keys=self.keys,
            types=self.types,
        )

    def rows(self, flat: Tensor, module: nn.Module) -> dict[str, Tensor]:
        """Another tensor like ``flat``, such as its gradients, by parameter: views of [K, *shape]."""
        return _views(module, flat)

    def take(self, other: StackedNetwork, chosen: Tensor) -> None:
        """Overwrites the copies that ``chosen`` ([K], bool) marks with those of ``other``."""
        pairs = [(self.flat, other.flat)]
        pairs += [(buffer, other.buffers[name]) for name, buffer in self.buffers.items()]
        for own, given in pairs:  # without asking how many are chosen, which an accelerator would wait for
            torch.where(chosen.view(-1, *[1] * (own.dim() - 1)), given, own, out=own)

    def state(self, index: int) -> dict[str, Tensor]:
        """Parameters and buffers of one copy on the CPU, as ``Module.load_state_dict`` takes them."""
        stacked = {**self.parameters, **self.buffers}
        return {
            key: self._typed(name, stacked[name][index].detach()).to("cpu", copy=True)
            for key, name in self.keys.items()
        }

    @contextmanager
    def opened(self, index: int) -> Iterator[dict[str, Tensor]]:
        """Parameters and buffers of one copy by name, each of its own type; what is written there stays."""
        rows = {name: each[index].detach() for name, each in {**self.parameters, **self.buffers}.items()}
        typed = {name: self._typed(name, rows[name]) for name in self.types}
        yield {**rows, **typed}
        for name, tensor in typed.items():  # rounded, too: as narrow as the network has it
            rows[name].copy_(as_real(tensor))

    def _typed(self, name: str, row: Tensor) -> Tensor:
        kind = self.types.get(name, row.dtype)
        # Cloned, as a complex number can't begin at an odd place.
        return (torch.view_as_complex(row.clone()) if kind.is_complex and name in self.types else row).to(
            kind
        )


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of real numbers, [*shape, 2]; any other as it is."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name: those that ``state_dict`` leaves out too, shared ones once."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def flat_mask(module: nn.Module, masks: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The masks as one row [P] of ones and zeros, in the order of :attr:`StackedNetwork.flat`."""
    return flat_rows(module, masks, 1.0, device)


def flat_rows(module: nn.Module, values: Mapping[str, Tensor], other: float, device: torch.device) -> Tensor:
    """Values by parameter as one row [P], in the order of :attr:`StackedNetwork.flat`, else ``other``."""
    parts = []
    for name, parameter in _trained(module).items():
        real = as_real(parameter.detach())
        shape, row = real.shape, torch.full(real.shape, other, dtype=real.dtype)
        if name in values:
            given = values[name].to(row.dtype)
            row = (given.unsqueeze(-1) if parameter.is_complex() else given).expand(shape)
        parts.append(row.reshape(-1))
    return torch.cat(parts).to(device)


def _keys(module: nn.Module) -> dict[str, str]:
    names = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    kept = module.state_dict(keep_vars=True)
    return {key: names[id(tensor)] for key, tensor in kept.items() if id(tensor) in names}


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _views(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    views, offset = {}, 0
    for name, parameter in _trained(module).items():
        shape = as_real(parameter.detach()).shape
        views[name] = flat[:, offset : offset + shape.numel()].view(flat.shape[0], *shape)
        offset += shape.numel()
    return views
