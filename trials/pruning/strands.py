"""What a tensor of a forward pass carries: the units of the layers before it, and where they came along."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from silo.errors import InvalidInput


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Strand:
    """The units of one source in a tensor.

    Attributes: as those of :class:`trials.pruning.graph.Edge`, but ``units`` and the channels of the norms
    have the tensor's shape.
    """

    source: int | None
    units: Tensor
    norms: tuple[tuple[str, Tensor], ...] = ()
    gain: float = 1.0
    summed: bool = False
    keeps_zero: bool = True

    def moved(self, move: Callable[[Tensor], Tensor]) -> Strand:
        """The strand with its units and channels moved."""
        norms = tuple((name, move(channels)) for name, channels in self.norms)
        return dataclasses.replace(self, units=move(self.units), norms=norms)

    def indices(self) -> list[Tensor]:
        """The units and the channels of each norm; -1 where no unit is."""
        carried = self.units >= 0
        return [self.units, *[channels.where(carried, -1) for _, channels in self.norms]]


Flow = tuple[Strand, ...]
"""What a tensor carries; nothing if it doesn't depend on the input."""


def along(dim: int, size: int, shape: torch.Size) -> Tensor:
    """0 to size - 1 along one dimension of a shape."""
    own = [1] * len(shape)
    own[dim] = size
    return torch.arange(size).view(own).expand(shape)


def merged(strands: list[Strand]) -> Flow:
    """The strands; those that are the same but for their gain become one, of the sum of their gains."""
    found: list[Strand] = []
    for new in strands:
        twins = (i for i, old in enumerate(found) if _same_way(old, new))
        i = next(twins, None)
        if i is None:
            found.append(new)
        else:
            gain, zero = found[i].gain + new.gain, found[i].keeps_zero and new.keeps_zero
            found[i] = dataclasses.replace(found[i], gain=gain, keeps_zero=zero)
    return tuple(found)


def _same_way(one: Strand, other: Strand) -> bool:
    if one.source != other.source or [name for name, _ in one.norms] != [name for name, _ in other.norms]:
        return False
    return all(torch.equal(a, b) for a, b in zip(one.indices(), other.indices(), strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One operation of a forward pass, run on real tensors.

    Attributes:
        node: The operation in the trace.
        result: What it gave.
        operation: The module, the function, or the name of the tensor's method.
        flows: What each earlier node carries: a Flow, or a list of them where its result is a tuple.
        values: What each earlier node gave.
        again: Runs the operation with other arguments: (args, kwargs) -> result.
    """

    node: fx.Node
    result: Any
    operation: nn.Module | Callable[..., Any] | str
    flows: Mapping[fx.Node, Any]
    values: Mapping[fx.Node, Any]
    again: Callable[[Any, Any], Any]

    @property
    def name(self) -> str:
        """The function's or method's name."""
        return self.operation if isinstance(self.operation, str) else getattr(self.operation, "__name__", "")

    def arguments(self) -> list[Any]:
        """The arguments as they are in the trace, positional ones first."""
        return [*self.node.args, *self.node.kwargs.values()]

    def value(self, argument: Any) -> Any:
        """An argument's value."""
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def flowing(self) -> list[fx.Node]:
        """The arguments that carry something."""
        return [node for node in self.node.all_input_nodes if self.flows[node]]

    def only(self) -> Flow:
        """What the one argument that carries something carries; refused if there are several."""
        nodes = self.flowing()
        if len(nodes) > 1 or any(isinstance(self.flows[node], list) for node in nodes):
            raise self.unknown()
        return self.flows[nodes[0]] if nodes else ()

    def on(self, index: Tensor) -> Any:
        """The operation's result with an index in place of the one argument that carries something."""
        moving = self.flowing()[0]

        def value(node: fx.Node) -> Any:
            # Contiguous: a view of the real tensor may be none of an expanded index.
            return index.contiguous() if node is moving else self.values[node]

        return self.again(fx.node.map_arg(self.node.args, value), fx.node.map_arg(self.node.kwargs, value))

    def features(self, strand: Strand, dim: int) -> Strand | None:
        """The strand along one dimension alone, None if it is empty; refused if units vary along another."""
        if not (strand.units >= 0).any():
            return None
        found = []
        for index in strand.indices():
            places = index.movedim(dim, 0).flatten(1)
            most = places.amax(1)
            if ((places != most[:, None]) & (places >= 0)).any():
                raise self.mixes()
            found.append(most)
        norms = tuple((name, channels) for (name, _), channels in zip(strand.norms, found[1:], strict=True))
        return dataclasses.replace(strand, units=found[0], norms=norms)

    def unknown(self) -> InvalidInput:
        """That the operation is none of those that can be followed."""
        return self._refusal("can't follow the network's units through {}")

    def mixes(self) -> InvalidInput:
        """That the operation mixes units and is no layer."""
        return self._refusal("can't follow the network's units: {} mixes different ones and is no layer")

    def _refusal(self, problem: str) -> InvalidInput:
        what = f"the operation {self.name!r}"
        if isinstance(self.operation, nn.Module):
            what = f"module {self.node.target!r} ({type(self.operation).__name__})"
        stack = list(self.node.meta.get("nn_module_stack", {}).values())
        if stack and stack[-1][0] and self.node.op != "call_module":
            what += f" in module {stack[-1][0]!r}"
        return InvalidInput(
            f"this pruner {problem.format(what)}; 'global_magnitude', 'layer_magnitude', 'global_gradient' "
            "and 'lamp' need not follow them"
        )
