"""Finds which layers of a network feed which, with torch.fx."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from silo.errors import InvalidInput
from trials.pruning.tracing.unit_flow import Edge, Flow, Graph, Operation, Site, Strand, along, merged
from trials.registry import one_line

Passes = Callable[[Operation], Flow | list[Flow]]
"""Of an operation, what its result carries: a list where the result is a tuple."""


def leave(operation: Operation) -> Flow:
    """Activations and dropout: an entry depends on its own place alone, so the units stay where they are."""
    kept = keeps_zero(operation.target)
    return tuple(
        dataclasses.replace(each, keeps_zero=each.keeps_zero and kept) for each in operation.only_flow()
    )


def scale(operation: Operation) -> Flow:
    """A product with a number, or a quotient by one, multiplies the gain by the number's square."""
    values = [operation.value(each) for each in operation.arguments()]
    numbers = [each for each in values if isinstance(each, int | float)]
    divides = "div" in operation.name
    if len(numbers) != len(values) - 1 or (divides and values[0] is not operation.values[operation.moving()]):
        raise operation.unknown()
    factor = float(numbers[0]) ** (-2 if divides else 2) if numbers else 1.0
    return tuple(dataclasses.replace(each, gain=each.gain * factor) for each in operation.only_flow())


def move(operation: Operation) -> Flow | list[Flow]:
    """Entries that are moved, left out or repeated take their units along."""
    nodes = operation.flowing()
    flow = operation.flows[nodes[0]] if len(nodes) == 1 else operation.only_flow()
    if isinstance(flow, list):  # an element of a tuple
        element = operation.node.args[1]
        if not isinstance(element, int):
            raise operation.unknown()
        return flow[element]
    if isinstance(operation.result, Tensor):
        return tuple(each.moved(operation.on) for each in flow)

    def part(place: int, index: Tensor) -> Tensor:
        found: Tensor = operation.on(index)[place]
        return found

    places = range(len(operation.result))
    return [tuple(each.moved(partial(part, place)) for each in flow) for place in places]


def mix_places(operation: Operation) -> Flow:
    """Pooling, upsampling and padding with the image's own values leave the channels where they are."""
    shape: torch.Size = operation.result.shape
    own = (1, -1, *[1] * (len(shape) - 2))
    found = []
    for strand in operation.only_flow():
        features = operation.features(strand, dim=1)
        if features is None:
            continue
        if len(features.units) != shape[1]:
            raise operation.unknown()
        found.append(features.moved(lambda index: index.view(own).expand(shape)))
    return tuple(found)


def reduce(operation: Operation) -> Flow:
    """A mean, sum or maximum over some dimensions must not mix units."""
    given = operation.given("input", "dim", "keepdim")
    dims = given.get("dim")
    if set(given) - {"input", "dim", "keepdim", "self"} or not isinstance(dims, int | tuple | list):
        raise operation.unknown()
    over, keepdim = torch.Size([dims] if isinstance(dims, int) else dims), bool(given.get("keepdim", False))
    found = []
    for strand in operation.only_flow():
        most = [index.amax(over, keepdim=True) for index in strand.indices()]
        for index, top in zip(strand.indices(), most, strict=True):
            if ((index != top) & (index >= 0)).any():
                raise operation.mixes()
        if not keepdim:
            most = [index.amax(over) for index in strand.indices()]
        norms = tuple((name, channels) for (name, _), channels in zip(strand.norms, most[1:], strict=True))
        found.append(dataclasses.replace(strand, units=most[0], norms=norms))
    return tuple(found)


def add(operation: Operation) -> Flow:
    """A sum or difference carries the units of all its terms."""
    if set(operation.node.kwargs) - {"input", "other"}:  # alpha
        raise operation.unknown()
    terms = operation.arguments()
    tensors = [each for each in terms if not isinstance(operation.value(each), int | float)]
    # A unit of 0 stays 0 only where nothing is added to it that doesn't depend on the input.
    all_flow = all(isinstance(each, fx.Node) and bool(operation.flows[each]) for each in terms)
    found = []
    for term in terms:
        for strand in operation.flow(term) if isinstance(term, fx.Node) else ():
            wide = strand.moved(lambda index: index.broadcast_to(operation.result.shape))
            zero, summed = strand.keeps_zero and all_flow, strand.summed or len(tensors) > 1
            found.append(dataclasses.replace(wide, summed=summed, keeps_zero=zero))
    return merged(found)


def concatenate(operation: Operation) -> Flow:
    """Tensors side by side carry each its own units."""
    given = operation.given("tensors", "dim")
    parts, dim = given["tensors"], given.get("dim", given.get("axis", 0))
    if not isinstance(parts, tuple | list) or not isinstance(dim, int):
        raise operation.unknown()
    found: list[Strand] = []
    place = 0
    for part in parts:
        size: int = operation.values[part].shape[dim]

        def widen(index: Tensor, place: int = place, size: int = size) -> Tensor:
            wide = torch.full(operation.result.shape, -1)
            wide.narrow(dim, place, size).copy_(index)
            return wide

        found += [strand.moved(widen) for strand in operation.flow(part)]
        place += size
    return merged(found)


def pad(operation: Operation) -> Flow:
    """Constants around carry nothing."""
    target, value, mode = operation.target, 0.0, "constant"
    if isinstance(target, nn.ConstantPad1d | nn.ConstantPad2d | nn.ConstantPad3d):
        widths, value = list(target.padding), target.value
    else:
        given = operation.given("input", "pad", "mode", "value")
        widths = given["pad"]
        mode, value = given.get("mode", "constant"), given.get("value") or 0.0
    if mode != "constant":
        return mix_places(operation)
    return tuple(
        dataclasses.replace(
            each.moved(lambda index: functional.pad(index, widths, value=-1)),
            keeps_zero=each.keeps_zero and not value,
        )
        for each in operation.only_flow()
    )


def normalise(operation: Operation) -> Flow:
    """A normalisation with a scale per unit goes on the way of each."""
    module, shape = operation.target, operation.result.shape
    if isinstance(module, nn.LayerNorm):
        own = tuple(module.normalized_shape)
        channels = torch.arange(torch.Size(own).numel()).view(own).expand(shape)
    else:
        channels = along(1, shape[1], shape)
    kept = all(getattr(module, name) is not None for name in ("weight", "bias"))
    return tuple(
        dataclasses.replace(
            each, norms=(*each.norms, (operation.path, channels)), keeps_zero=each.keeps_zero and kept
        )
        for each in operation.only_flow()
    )


_ZERO_KEPT = """relu relu6 leaky_relu prelu elu selu celu gelu silu mish tanh hardswish softsign
    softshrink hardshrink tanhshrink dropout dropout1d dropout2d dropout3d contiguous clone detach float
    double half to"""
_ZERO_LOST = """sigmoid hardsigmoid softplus logsigmoid log_sigmoid softmax log_softmax hardtanh clamp clip
    alpha_dropout feature_alpha_dropout"""
_FUNCTIONS: dict[Passes, str] = {
    leave: f"{_ZERO_KEPT} {_ZERO_LOST}",
    scale: "mul div multiply divide true_divide truediv neg",
    move: """flatten unflatten view reshape permute transpose swapaxes movedim squeeze unsqueeze getitem
        chunk split unbind narrow expand flip roll t""",
    mix_places: """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        interpolate""",
    reduce: "mean sum amax",
    add: "add sub subtract",
    concatenate: "cat concat concatenate",
    pad: "pad",
}
_FUNCTION_PASSES = {name: passes for passes, names in _FUNCTIONS.items() for name in names.split()}

_MODULES_ZERO_LOST = (
    "Sigmoid Hardsigmoid Softplus LogSigmoid Softmax LogSoftmax AlphaDropout FeatureAlphaDropout"
)
_MODULES: dict[Passes, str] = {
    leave: f"""ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Tanh Hardtanh Hardswish Softsign
        Dropout Dropout1d Dropout2d Dropout3d Identity {_MODULES_ZERO_LOST}""",
    move: "Flatten Unflatten",
    mix_places: """MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d
        AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d Upsample
        ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d""",
    pad: "ConstantPad1d ConstantPad2d ConstantPad3d",  # the ZeroPads are among them
    normalise: """BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d GroupNorm
        LayerNorm""",
}


def _types(names: str) -> tuple[type[nn.Module], ...]:
    return tuple(getattr(nn, name) for name in names.split())


_MODULE_PASSES = [(_types(names), passes) for passes, names in _MODULES.items()]
_TYPES_ZERO_LOST = _types(_MODULES_ZERO_LOST)


def passes_of(operation: nn.Module | Callable[..., object] | str) -> Passes | None:
    """How a module, a function, or a tensor's method by its name passes units on; None if it isn't known."""
    if isinstance(operation, nn.Module):
        return next((passes for types, passes in _MODULE_PASSES if isinstance(operation, types)), None)
    if isinstance(operation, str):
        return _FUNCTION_PASSES.get(operation.removesuffix("_"))
    # A function of the user's own may have the name of one of torch's.
    package = (getattr(operation, "__module__", None) or "torch").partition(".")[0]
    known = package in ("torch", "_operator", "builtins")
    return _FUNCTION_PASSES.get(getattr(operation, "__name__", "").removesuffix("_")) if known else None


def keeps_zero(operation: nn.Module | Callable[..., object] | str) -> bool:
    """Whether an operation that :func:`leave` is of makes 0 of 0."""
    if isinstance(operation, nn.Module):
        low, high = getattr(operation, "min_val", 0), getattr(operation, "max_val", 0)  # nn.Hardtanh
        return not isinstance(operation, _TYPES_ZERO_LOST) and bool(low <= 0 <= high)
    name = operation if isinstance(operation, str) else getattr(operation, "__name__", "")
    return name.removesuffix("_") not in _ZERO_LOST.split()


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
