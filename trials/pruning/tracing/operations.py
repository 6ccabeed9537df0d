"""The operations that can be followed between two layers, and how each passes units on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from trials.pruning.tracing.unit_flow import Flow, Operation, Strand, along, merged

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
