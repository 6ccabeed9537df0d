"""Finds which layers of a network feed which, with torch.fx."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from silo.errors import InvalidInput
from trials.pruning.tracing.graph import Edge, Graph, Site
from trials.pruning.tracing.operations import passes_of
from trials.pruning.tracing.unit_flow import Flow, Operation, Strand, along
from trials.registry import one_line

_Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | _Transposed


def follow(module: nn.Module, inputs: Tensor) -> Graph:
    """The graph of a network's prunable layers.

    torch.fx traces the forward pass symbolically; it is then run once on real inputs, and beside each
    operation goes what it does to the units.

    Args:
        module: The network, in evaluation mode. Nothing is changed.
        inputs: A small batch.

    Raises:
        InvalidInput: The network can't be traced (its forward pass branches on values, for example) or the
            trace computes something else; or it has an operation that is not among those of operations.py,
            or one that mixes units outside a layer.
    """
    try:
        traced = fx.Tracer().trace(module)
    except Exception as error:  # whatever the network's own code raises when it is given no real tensors
        raise InvalidInput(
            f"torch.fx can't trace {type(module).__name__}, which this pruner needs to find the layers that "
            f"feed each other: {type(error).__name__}: {one_line(error)}; 'global_magnitude', "
            "'layer_magnitude', 'global_gradient' and 'lamp' need no tracing"
        ) from error
    like = next((each for each in module.parameters() if each.is_floating_point()), inputs)
    inputs = inputs.to(device=like.device, dtype=like.dtype)
    follower = _Follower(module, traced)
    with torch.no_grad():
        outputs, own = follower.run(inputs.clone()), module(inputs.clone())
    if not torch.allclose(outputs, own, equal_nan=True):
        raise InvalidInput(
            f"the forward pass of {type(module).__name__} as torch.fx traces it gives other outputs than the "
            "network itself, so this pruner can't rely on it: is it random in evaluation mode, or replaced "
            "after the network was built?"
        )
    return Graph(sites=tuple(follower.sites), edges=tuple(follower.edges), uses=dict(follower.uses))


class _Follower(fx.Interpreter):
    """Runs a trace on real inputs, and notes beside each operation what its result carries."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.extra_traceback = False  # it would be added to the message of what is raised below
        self.names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.flows: dict[fx.Node, Flow | list[Flow]] = {}
        self.sites: list[Site] = []
        self.edges: list[Edge] = []
        self.uses: Counter[str] = Counter()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self._count_uses(n)
        self.flows[n] = self._flow(n, result)
        self._rename_changed(n, result)
        return result

    def _rename_changed(self, node: fx.Node, result: object) -> None:
        """After an operation in place, gives the tensor's other names what it carries now."""
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        in_place = node.op in ("call_method", "call_function") and name.endswith("_") and name[-2:] != "__"
        if not in_place or not isinstance(result, Tensor):
            return
        memory = result.untyped_storage().data_ptr()
        for other, value in self.env.items():
            if value is result:
                self.flows[other] = self.flows[node]
            elif isinstance(value, Tensor) and value.untyped_storage().data_ptr() == memory:
                raise self._operation(node, result).unknown()  # another view of it changes too

    def _count_uses(self, node: fx.Node) -> None:
        used: list[object] = [self._fetched(node)] if node.op == "get_attr" else []
        if node.op == "call_module":
            used = list(self._called(node).parameters())
        self.uses.update(self.names[id(each)] for each in used if id(each) in self.names)

    def _flow(self, node: fx.Node, result: Any) -> Flow | list[Flow]:
        if node.op == "placeholder":
            # The input counts as one unit: it may be reshaped at will before the first layer.
            units = torch.zeros(result.shape, dtype=torch.long) if isinstance(result, Tensor) else None
            return () if units is None else (Strand(source=None, units=units),)
        operation = self._operation(node, result)
        if node.op == "output":
            self._arrive(operation, operation.only_flow(), None, dim=1)
            return ()
        if not operation.flowing() or not _has_tensors(result):
            return ()
        if isinstance(operation.target, _Layer):
            return self._layer(operation, operation.target)
        if isinstance(operation.target, nn.MultiheadAttention):
            return self._attention(operation, operation.target)
        passes = passes_of(operation.target)
        if passes is None:
            raise operation.unknown()
        return passes(operation)

    def _operation(self, node: fx.Node, result: Any) -> Operation:
        return Operation(
            node=node,
            target=self._called(node) if node.op == "call_module" else node.target,
            result=result,
            flows=self.flows,
            values=self.env,
            again=lambda args, kwargs: getattr(self, node.op)(node.target, args, kwargs),
        )

    def _fetched(self, node: fx.Node) -> object:
        assert isinstance(node.target, str)
        return self.fetch_attr(node.target)

    def _called(self, node: fx.Node) -> nn.Module:
        module = self._fetched(node)
        assert isinstance(module, nn.Module)
        return module

    def _layer(self, operation: Operation, layer: _Layer) -> Flow:
        name, shape = self._name(layer.weight, operation), operation.result.shape
        if isinstance(layer, nn.Linear):
            dim = len(shape) - 1
            site = Site(
                weight=name, layer=operation.path, fan_in=layer.in_features, fan_out=layer.out_features
            )
        else:
            dim = 1
            site = Site(
                weight=name,
                layer=operation.path,
                fan_in=layer.in_channels,
                fan_out=layer.out_channels,
                groups=layer.groups,
                transposed=layer.transposed,
            )
        index = self._arrive_at(site, operation, operation.only_flow(), dim)
        return (Strand(source=index, units=along(dim, site.fan_out, shape)),)

    def _attention(self, operation: Operation, layer: nn.MultiheadAttention) -> list[Flow]:
        """Three sites for queries, keys and values, and one for the projection of the outputs, which reads
        unit i of the values at i, for attention only mixes places."""
        given = operation.given("query", "key", "value")
        width, first = layer.embed_dim, len(self.sites)
        for i, name in enumerate(("query", "key", "value")):
            weight: Tensor | None = layer.in_proj_weight
            rows = slice(i * width, (i + 1) * width)
            if weight is None:
                weight, rows = getattr(layer, f"{name[0]}_proj_weight"), slice(None)
            assert weight is not None
            site = Site(
                weight=self._name(weight, operation),
                layer=operation.path,
                fan_in=weight.shape[1],
                fan_out=width,
                rows=rows,
                partner=(first + 1, first, None)[i],
            )
            self._arrive_at(site, operation, operation.flow(given[name]), dim=-1)
        out = Site(
            weight=self._name(layer.out_proj.weight, operation),
            layer=f"{operation.path}.out_proj",
            fan_in=width,
            fan_out=width,
        )
        units = along(-1, width, operation.result[0].shape)
        index = self._arrive_at(out, operation, (Strand(source=first + 2, units=units),), dim=-1)
        return [(Strand(source=index, units=units),), ()]

    def _name(self, weight: Tensor, operation: Operation) -> str:
        if id(weight) not in self.names:
            raise InvalidInput(
                f"the weight of module {operation.path!r} is no parameter but computed from some "
                "(torch.nn.utils.parametrize, weight_norm), which this pruner can't take"
            )
        return self.names[id(weight)]

    def _arrive_at(self, site: Site, operation: Operation, flow: Flow, dim: int) -> int:
        self.sites.append(site)
        self._arrive(operation, flow, len(self.sites) - 1, dim)
        return len(self.sites) - 1

    def _arrive(self, operation: Operation, flow: Flow, target: int | None, dim: int) -> None:
        for strand in flow:
            features = operation.features(strand, dim)
            if features is not None:
                fields = {each.name: getattr(features, each.name) for each in dataclasses.fields(features)}
                self.edges.append(Edge(target=target, **fields))


def _has_tensors(result: object) -> bool:
    if isinstance(result, tuple | list):
        return any(isinstance(each, Tensor) for each in result)
    return isinstance(result, Tensor)
