"""The units of earlier layers that a tensor of a forward pass carries, and the ways that they came."""

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

    Attributes: as those of :class:`trials.pruning.tracing.graph.Edge`, but ``units`` and the channels of the
    norms have the tensor's shape.
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
"""All that a tensor carries; nothing if it doesn't depend on the input."""


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
class Operation:
    """One operation of a forward pass, run on real tensors.

    Attributes:
        node: The operation in the trace.
        target: The module, the function, or the name of the tensor's method.
        result: The real result: a tensor, or a tuple of some.
        flows: The flow of each earlier node, or a list of them where its result is a tuple.
        values: The real result of each earlier node.
        again: Runs the operation with other arguments: (args, kwargs) -> result.
    """

    node: fx.Node
    target: nn.Module | Callable[..., Any] | str
    result: Any
    flows: Mapping[fx.Node, Flow | list[Flow]]
    values: Mapping[fx.Node, Any]
    again: Callable[[Any, Any], Any]

    @property
    def name(self) -> str:
        """The function's or method's name."""
        return self.target if isinstance(self.target, str) else getattr(self.target, "__name__", "")

    @property
    def path(self) -> str:
        """The module's path in the network."""
        return str(self.node.target)

    def arguments(self) -> list[Any]:
        """The arguments as they are in the trace, positional ones first."""
        return [*self.node.args, *self.node.kwargs.values()]

    def given(self, *names: str) -> dict[str, Any]:
        """The arguments as they are in the trace by name: the positional ones by these."""
        return {**dict(zip(names, self.node.args, strict=False)), **self.node.kwargs}

    def value(self, argument: object) -> object:
        """An argument's value."""
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def flow(self, node: fx.Node) -> Flow:
        """The flow of a tensor among the arguments; refused if it is a tuple of tensors."""
        flow = self.flows[node]
        if isinstance(flow, list):
            raise self.unknown()
        return flow

    def flowing(self) -> list[fx.Node]:
        """The arguments that carry something."""
        return [node for node in self.node.all_input_nodes if self.flows[node]]

    def moving(self) -> fx.Node:
        """The first of them."""
        return self.flowing()[0]

    def only_flow(self) -> Flow:
        """The flow of the one argument that carries something; refused if there are several."""
        nodes = self.flowing()
        if len(nodes) > 1:
            raise self.unknown()
        return self.flow(nodes[0]) if nodes else ()

    def on(self, index: Tensor) -> Any:
        """The operation's result with an index in place of the one argument that carries something."""
        moving = self.moving()

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
        """The refusal of an operation that is none of those that can be followed."""
        return self._refusal("can't follow the network's units through {}")

    def mixes(self) -> InvalidInput:
        """The refusal of an operation that mixes units and is no layer."""
        return self._refusal("can't follow the network's units: {} mixes different ones and is no layer")

    def _refusal(self, problem: str) -> InvalidInput:
        what = f"the operation {self.name!r}"
        if isinstance(self.target, nn.Module):
            what = f"module {self.path!r} ({type(self.target).__name__})"
        stack = list(self.node.meta.get("nn_module_stack", {}).values())
        if stack and stack[-1][0] and self.node.op != "call_module":
            what += f" in module {stack[-1][0]!r}"
        return InvalidInput(
            f"this pruner {problem.format(what)}; 'global_magnitude', 'layer_magnitude', 'global_gradient' "
            "and 'lamp' need not follow them"
        )
