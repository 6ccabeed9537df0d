"""Which layers feed which: the prunable layers of a network, and the units that pass from one to the next.

A *unit* is one output of a layer: a channel of a convolution, a feature of a linear layer. What lies between
two layers only carries units: activations, pooling, flattening, padding, sums (residual connections),
concatenations (DenseNet), normalisations. A depthwise convolution is a layer like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


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
