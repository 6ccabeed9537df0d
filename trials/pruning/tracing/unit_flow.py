"""Which layers feed which: the prunable layers of a network, and the units that pass from one to the next.

A *unit* is one output of a layer: a channel of a convolution, a feature of a linear layer. What lies between
two layers only carries units: activations, pooling, flattening, padding, sums (residual connections),
concatenations (DenseNet), normalisations. A depthwise convolution is a layer like any other.

The units of earlier layers that a tensor of a forward pass carries, and the ways that they came.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from silo.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One use of a prunable weight, in the order of the data flow.

    Attributes:
        weight: The name of the parameter.
        layer: The name of the module.
        fan_in: Units that it reads.
        fan_out: Units that it makes.
        groups: Groups of a convolution; as many as it reads if it is depthwise.
        transposed: Whether the weight is [in, out / groups, …], as that of a transposed convolution is, not
            [out, in / groups, …].
        rows: The part of the parameter along its first dimension: nn.MultiheadAttention holds the
            projections of queries, keys and values in one.
        partner: Index of the site whose unit i is multiplied with this one's unit i: of the keys for the
            queries, and the reverse.
    """

    weight: str
    layer: str
    fan_in: int
    fan_out: int
    groups: int = 1
    transposed: bool = False
    rows: slice = field(default_factory=lambda: slice(None))
    partner: int | None = None

    def squares(self, weight: Tensor) -> Tensor:
        """The squared weight as a map of units, [out, in / groups], summed over a kernel's taps, float64."""
        own = weight[self.rows].double().square()
        if not self.transposed:
            return own.flatten(2).sum(2) if own.dim() > 2 else own
        groups = torch.unflatten(own.flatten(2).sum(2), 0, (self.groups, -1))
        return groups.transpose(1, 2).flatten(0, 1)

    def columns(self, squares: Tensor) -> Tensor:
        """Sums of :meth:`squares` over the units made, [in]."""
        return torch.unflatten(squares, 0, (self.groups, -1)).sum(1).flatten()

    def outer(self, made: Tensor, read: Tensor) -> Tensor:
        """For each weight, its unit's value in ``made`` [out] times its unit's in ``read`` [in].

        Returns:
            Shaped so that it broadcasts to the part ``rows`` of the parameter.
        """
        grouped = made.view(self.groups, -1, 1) * read.view(self.groups, 1, -1)
        found: Tensor = (grouped.transpose(1, 2) if self.transposed else grouped).flatten(0, 1)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Edge:
    """A way from one site to another that passes no prunable layer.

    Attributes:
        source: Index of the site whose units pass; None for the network's input, which counts as one unit.
        target: Index of the site that reads them; None for the network's output.
        units: For each unit that the target reads, the source's unit that arrives there, -1 for none.
        norms: The normalisations on the way, each with the channel that each of those units passes, -1 for
            none.
        gain: The square of the factors on the way; summed over ways that are otherwise the same.
        summed: Whether the units are added to something on the way.
        keeps_zero: Whether a unit of 0 arrives as 0, once the scales and shifts of the BatchNorms on the way
            are 0.
    """

    source: int | None
    target: int | None
    units: Tensor
    norms: tuple[tuple[str, Tensor], ...] = ()
    gain: float = 1.0
    summed: bool = False
    keeps_zero: bool = True

    @property
    def arriving(self) -> Tensor:
        """True at the units of the target that something arrives at."""
        return self.units >= 0

    def reads(self, gone: Tensor) -> Tensor:
        """True at the units of the target at which one of the source's units in ``gone`` [out] arrives."""
        return self.arriving & gone[self.units.clamp(min=0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """The prunable layers of a network and the ways between them.

    Attributes:
        sites: Each use of a prunable weight, in the order of the data flow.
        edges: The ways between them, from the input and to the output.
        uses: By a parameter's name, how many calls of the forward pass use it.
    """

    sites: tuple[Site, ...]
    edges: tuple[Edge, ...]
    uses: Mapping[str, int]

    def into(self, site: int | None) -> list[Edge]:
        """The ways that end at a site (None: at the output)."""
        return [edge for edge in self.edges if edge.target == site]

    def out_of(self, site: int | None) -> list[Edge]:
        """The ways that begin at a site (None: at the input)."""
        return [edge for edge in self.edges if edge.source == site]


def depthwise(site: Site) -> bool:
    """Whether a convolution reads each unit by itself, so that its units stand or fall with those."""
    return site.groups == site.fan_in and site.groups > 1


def cover(edges: list[Edge], size: int) -> Tensor:
    """True at the units of a target, of which there are ``size``, that any of the ways arrives at."""
    reached = torch.zeros(size, dtype=torch.bool)
    for edge in edges:
        reached |= edge.arriving
    return reached


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Strand:
    """The units of one source in a tensor.

    Attributes: as those of :class:`Edge`, but ``units`` and the channels of the
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
