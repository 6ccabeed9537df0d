"""How the operations between two layers pass units on, one rule for each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from trials.pruning.operations import Kind, keeps_zero
from trials.pruning.strands import Flow, Step, Strand, along, merged


def same(step: Step) -> Flow:
    """Activations and dropout leave the units where they are."""
    kept = keeps_zero(step.operation)
    return tuple(dataclasses.replace(each, keeps_zero=each.keeps_zero and kept) for each in step.only())


def scale(step: Step) -> Flow:
    """A number multiplies the gain by its square."""
    values = [step.value(each) for each in step.arguments()]
    numbers = [each for each in values if isinstance(each, int | float)]
    divides = "div" in step.name
    if len(numbers) != len(values) - 1 or (divides and values[0] is not step.values[step.flowing()[0]]):
        raise step.unknown()
    factor = float(numbers[0]) ** (-2 if divides else 2) if numbers else 1.0
    return tuple(dataclasses.replace(each, gain=each.gain * factor) for each in step.only())


def shape(step: Step) -> Flow | list[Flow]:
    """What moves entries moves the units alike."""
    nodes = step.flowing()
    if len(nodes) == 1 and isinstance(step.flows[nodes[0]], list):  # an element of a tuple
        return step.flows[nodes[0]][step.node.args[1]]
    flow = step.only()
    if isinstance(step.result, Tensor):
        return tuple(each.moved(step.on) for each in flow)
    return [
        tuple(each.moved(lambda index, i=i: step.on(index)[i]) for each in flow)
        for i in range(len(step.result))
    ]


def spatial(step: Step) -> Flow:
    """What mixes the places of a channel leaves the channels where they are."""
    found = []
    for strand in step.only():
        features = step.features(strand, dim=1)
        if features is None:
            continue
        if len(features.units) != step.result.shape[1]:
            raise step.unknown()
        own = (1, -1, *[1] * (step.result.dim() - 2))
        found.append(features.moved(lambda index, own=own: index.view(own).expand(step.result.shape)))
    return tuple(found)


def reduce(step: Step) -> Flow:
    """What reduces some dimensions must not mix units."""
    given = dict(zip(("input", "dim", "keepdim"), step.node.args, strict=False)) | step.node.kwargs
    if set(given) - {"input", "dim", "keepdim", "self"} or given.get("dim") is None:
        raise step.unknown()
    dims, keepdim = given["dim"], bool(given.get("keepdim", False))
    found = []
    for strand in step.only():
        most = [index.amax(dims, keepdim=True) for index in strand.indices()]
        for index, top in zip(strand.indices(), most, strict=True):
            if ((index != top) & (index >= 0)).any():
                raise step.mixes()
        if not keepdim:
            most = [index.amax(dims) for index in strand.indices()]
        norms = tuple((name, channels) for (name, _), channels in zip(strand.norms, most[1:], strict=True))
        found.append(dataclasses.replace(strand, units=most[0], norms=norms))
    return tuple(found)


def add(step: Step) -> Flow:
    """A sum carries the units of all its terms."""
    if set(step.node.kwargs) - {"input", "other"}:  # alpha
        raise step.unknown()
    terms = step.arguments()
    tensors = [each for each in terms if not isinstance(step.value(each), int | float)]
    found = []
    for term in terms:
        for strand in step.flows[term] if isinstance(term, fx.Node) else ():
            wide = strand.moved(lambda index: index.broadcast_to(step.result.shape))
            zero = strand.keeps_zero and all(isinstance(each, fx.Node) and step.flows[each] for each in terms)
            summed = strand.summed or len(tensors) > 1
            found.append(dataclasses.replace(wide, summed=summed, keeps_zero=zero))
    return merged(found)


def cat(step: Step) -> Flow:
    """Tensors side by side carry each its own units."""
    given = dict(zip(("tensors", "dim"), step.node.args, strict=False)) | step.node.kwargs
    parts, dim = given["tensors"], given.get("dim", given.get("axis", 0))
    found: list[Strand] = []
    place = 0
    for part in parts:
        size = step.values[part].shape[dim]

        def widen(index: Tensor, place: int = place, size: int = size) -> Tensor:
            wide = torch.full(step.result.shape, -1)
            wide.narrow(dim, place, size).copy_(index)
            return wide

        found += [strand.moved(widen) for strand in step.flows[part]]
        place += size
    return merged(found)


def pad(step: Step) -> Flow:
    """Constants around carry nothing."""
    if isinstance(step.operation, nn.Module):
        widths, mode, value = step.operation.padding, "constant", step.operation.value
    else:
        given = dict(zip(("input", "pad", "mode", "value"), step.node.args, strict=False)) | step.node.kwargs
        widths, mode, value = given["pad"], given.get("mode", "constant"), given.get("value")
    if mode != "constant":
        return spatial(step)
    kept = not value
    return tuple(
        dataclasses.replace(
            each.moved(lambda index: functional.pad(index, widths, value=-1)),
            keeps_zero=each.keeps_zero and kept,
        )
        for each in step.only()
    )


def norm(step: Step) -> Flow:
    """A normalisation goes on the way of each unit."""
    module, result = step.operation, step.result
    if isinstance(module, nn.LayerNorm):
        own = tuple(module.normalized_shape)
        channels = torch.arange(torch.Size(own).numel()).view(own).expand(result.shape)
    else:
        channels = along(1, result.shape[1], result.shape)
    kept = module.weight is not None and module.bias is not None
    return tuple(
        dataclasses.replace(
            each, norms=(*each.norms, (step.node.target, channels)), keeps_zero=each.keeps_zero and kept
        )
        for each in step.only()
    )


RULES: dict[Kind, Callable[[Step], Any]] = {
    Kind.SAME: same,
    Kind.SCALE: scale,
    Kind.SHAPE: shape,
    Kind.SPATIAL: spatial,
    Kind.REDUCE: reduce,
    Kind.ADD: add,
    Kind.CAT: cat,
    Kind.PAD: pad,
    Kind.NORM: norm,
}
