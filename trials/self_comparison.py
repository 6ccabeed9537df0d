"""Is a network of the user's own the same each time: built again, after other steps, computed by the engine?

A search trains one module many times, from weights that it puts into it. What a module keeps beside its
parameters and buffers, or draws otherwise than by the global generators, is then another training's.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.datasets import Dataset
from trials.engine import Engine, PlainModule, StackedNetwork, as_real, named_tensors
from trials.engine.copies import lone_gradients
from trials.objectives import Loss, make_loss, scalar
from trials.process import seed_global, settings_kept
from trials.registry import one_line
from trials.tasks import Recipe

_INTERNAL = vars(nn.Module()).keys()

_MOST_ITEMS = 1000
"""Items of a container that are looked at: longer ones are known by their length."""


def kept_attributes(module: nn.Module) -> dict[str, Any]:
    """Name to a picture of its value, for each attribute of a module and its parts that holds plain data."""
    found = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in _INTERNAL and (picture := _picture(value)) is not None:
                found[f"{path}.{name}" if path else name] = picture
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, bool]:
    """Names of the attributes that changed, and whether each is a number or a generator of random ones."""
    return {
        name: picture[0] in ("number", "generator")
        for name, picture in after.items()
        if picture != before.get(name)
    }


def _picture(value: Any) -> tuple[str, Any] | None:
    """Kind and content of a value; None for what isn't plain data, or follows from other tensors."""
    if isinstance(value, bool | int | float | complex | np.number):
        return "number", repr(value)
    if value is None or isinstance(value, str | bytes):
        return "text", value
    if isinstance(value, torch.Generator):
        return "generator", bytes(value.get_state().numpy())
    if isinstance(value, random.Random):
        return "generator", repr(value.getstate())
    if isinstance(value, np.random.Generator):
        return "generator", repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return "generator", repr(value.get_state())
    if isinstance(value, Tensor):
        plain = value.grad_fn is None and not isinstance(value, nn.Parameter)
        return ("tensor", repr(value.detach().cpu().double().sum().item())) if plain else None
    if isinstance(value, np.ndarray):
        return "array", value.tobytes()
    if isinstance(value, Mapping):
        return "container", [len(value), *map(_picture, [*value.values()][:_MOST_ITEMS])]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return "container", [len(value), *map(_picture, [*value][:_MOST_ITEMS])]
    return None


_EXAMPLES = 4
"""Examples of the batch: enough for batch normalisation, and little work."""

_CPU = torch.device("cpu")

_BUFFER = "hold it in a buffer (self.register_buffer(name, tensor)), which is part of the network's state"

_GRADIENT = "gradient of "

Build = Callable[[int], nn.Module]
"""Replicate to its network with its initial weights, on the CPU."""

_Seen = dict[str, Tensor]


def compare_with_itself(build: Build, recipe: Recipe, data: Dataset) -> tuple[str, ...]:
    """Compares steps and evaluations of a network on one small batch: a few passes on the CPU.

    Args:
        build: Builds it; the result is another object each time.
        recipe: How it is trained.
        data: The data set, on the CPU.

    Returns:
        What may be meant so, but mostly isn't, a line each.

    Raises:
        InvalidInput: A training would not be what a plain PyTorch loop makes of the network, or would depend
            on the trainings before it.
    """
    inputs, labels = data.train.first(min(_EXAMPLES, recipe.batch_size))
    classes = data.num_classes if data.is_classified else None
    batch = _Batch(data.normalise(inputs), labels, classes, make_loss(recipe.loss))
    untouched = batch.inputs._version
    with settings_kept(), Engine(nn.Identity(), recipe).computing(_CPU):
        try:
            return _compare(build, batch)
        except InvalidInput as error:
            if batch.inputs._version == untouched:
                raise
            raise InvalidInput(
                "it changes its inputs in place, and so the examples for each later pass: make new ones of "
                "them, as by x = x / 2 in place of x /= 2"
            ) from error


@dataclass(frozen=True)
class _Batch:
    inputs: Tensor
    labels: Tensor
    classes: int | None
    loss_of: Loss


def _compare(build: Build, batch: _Batch) -> tuple[str, ...]:
    expected, unused = _plain_step(build(0), batch)
    module, other = build(0), build(1)
    start, others = (
        {name: each.clone() for name, each in named_tensors(net).items()} for net in (module, other)
    )
    began = kept_attributes(module)
    first = _engine_step(module, start, batch)
    if not _same(expected, first):
        _say_why(build, batch, expected, first)
    evaluated, again = (_evaluation(module, start, batch, seed) for seed in (0, 1))
    others_first = _engine_step(module, others, batch)
    _engine_step(module, others, replace(batch, inputs=batch.inputs.flip(0)), seed=1)
    kept = changed(began, kept_attributes(module))
    what = "that is neither parameter nor buffer" + (f" ({', '.join(kept)})" if kept else "")
    if not _same(first, _engine_step(module, start, batch)):
        raise InvalidInput(
            f"the same step comes out otherwise after others: it keeps something from step to step {what}, "
            f"so that a training would depend on those before it; {_BUFFER}"
        )
    if not _same(evaluated, _evaluation(module, start, batch, 0)):
        raise InvalidInput(
            f"the same evaluation comes out otherwise after steps: it keeps something in training {what}, "
            f"and so in no checkpoint; {_BUFFER}"
        )
    if not _same(_plain_step(other, batch)[0], others_first):
        raise InvalidInput(
            "it keeps something that its constructor draws, or its first call computes of the weights, and "
            "that is neither parameter nor buffer: all replicates would share that of the first; "
            f"{_BUFFER}, and layers in an nn.ModuleList"
        )
    return (
        *_warnings_of_shapes(evaluated["outputs"], batch),
        *_warnings_of_evaluation(module, start, batch, evaluated, again),
        *_warnings_of_numbers(kept),
        *_warnings_of_gradients(unused),
    )


def _warnings_of_shapes(outputs: Tensor, batch: _Batch) -> list[str]:
    """Outputs [B, 1] less targets [B] are [B, B], and no error."""
    given, wanted = tuple(outputs.shape), tuple(batch.labels.shape)
    if batch.classes is not None or given == wanted or outputs.numel() != batch.labels.numel():
        return []
    return [
        f"its outputs {given} and the targets {wanted} are as many numbers in other shapes: a loss or metric "
        "that subtracts them compares each with each; give both one shape, as by outputs.squeeze(1)"
    ]


def _warnings_of_evaluation(
    module: nn.Module, start: _Seen, batch: _Batch, evaluated: _Seen, again: _Seen
) -> list[str]:
    if not _same(evaluated, again):
        return [
            "two evaluations of the same weights differ: it draws random numbers in evaluation mode, too, "
            "and accuracies are noisier for it; use nn.Dropout, or dropout(..., training=self.training)"
        ]
    half, outputs = len(batch.labels) // 2, evaluated["outputs"]
    alone = _evaluation(module, start, replace(batch, inputs=batch.inputs[:half]), 0)["outputs"]
    if torch.is_autocast_enabled("cpu") or _close(alone, outputs[:half], 1e-3, _largest(outputs)):
        return []
    return [
        "in evaluation mode an example's outputs depend on the others of its batch, so that accuracies "
        "depend on how a split is cut into batches; let batch normalisation follow self.training"
    ]


def _warnings_of_numbers(kept: dict[str, bool]) -> list[str]:
    numbers = [name for name, is_number in kept.items() if is_number]
    if not numbers:
        return []
    return [
        f"it changes {', '.join(numbers)} in training, which is in no checkpoint and never set back: if its "
        f"outputs come to depend on that, {_BUFFER}"
    ]


def _warnings_of_gradients(unused: list[str]) -> list[str]:
    if not unused:
        return []
    return [
        f"the loss of a first batch doesn't depend on {', '.join(sorted(unused)[:3])}: weight decay, "
        "momentum and pruning take a gradient of zero for it, where torch's optimizers leave the weight "
        "alone; delete it, or freeze it by requires_grad_(False)"
    ]


def _say_why(build: Build, batch: _Batch, expected: _Seen, seen: _Seen) -> None:
    if not _same(expected, _plain_step(build(0), batch)[0]):
        raise InvalidInput(
            "it is another one each time that it is built, or keeps something outside of itself: in its "
            "constructor and its forward pass, draw by the global generators of torch, numpy or random, "
            "which are seeded for each replicate"
        )
    differing = ", ".join(_differing(expected, seen)[:3])
    raise InvalidInput(
        f"a step of the search isn't what module(inputs) and backward() give ({differing} differ): is a "
        "parameter or buffer replaced in the forward pass? Write into it in place"
    )


def _plain_step(module: nn.Module, batch: _Batch) -> tuple[_Seen, list[str]]:
    """A step as anybody's loop takes it, up to the optimizer's part; parameters that get no gradient."""
    names = {**dict(module.named_parameters()), **dict(module.named_buffers())}.keys()
    seed_global(0)
    module.train()
    try:
        outputs = module(batch.inputs)
        _check_outputs(outputs, batch)
        loss = _loss(outputs, batch)
        loss.backward()  # type: ignore[no-untyped-call]
    except InvalidInput:
        raise
    except Exception as error:  # the user's code, which may raise anything
        raise InvalidInput(
            f"it fails in training mode on inputs of shape {tuple(batch.inputs.shape)}: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    if new := {**dict(module.named_parameters()), **dict(module.named_buffers())}.keys() ^ names:
        raise InvalidInput(
            f"it makes or drops parameters or buffers in its forward pass in training mode "
            f"({', '.join(sorted(new)[:3])}), where no optimizer sees them: make them in the constructor"
        )
    trained = {name: each for name, each in module.named_parameters() if each.requires_grad}
    gradients = {
        _GRADIENT + name: as_real(torch.zeros_like(each) if each.grad is None else each.grad)
        for name, each in trained.items()
    }
    seen = {"loss": loss.detach(), **gradients, **_buffers(module, named_tensors(module))}
    return seen, [name for name, each in trained.items() if each.grad is None]


def _loss(outputs: Tensor, batch: _Batch) -> Tensor:
    try:
        return scalar(batch.loss_of(outputs, batch.labels))
    except InvalidInput:
        raise
    except Exception as error:  # the user's code again
        shapes = f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(batch.labels.shape)}"
        raise InvalidInput(
            f"training.loss fails on its {shapes} ({str(batch.labels.dtype).removeprefix('torch.')}): "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error


def _check_outputs(outputs: object, batch: _Batch) -> None:
    if batch.classes is None:
        if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(batch.labels):
            kind = f"{tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise InvalidInput(
                f"in training mode it gives {kind} for {len(batch.labels)} inputs: it must be one tensor "
                "whose "
                "first dimension is that of the inputs; a training loop of your own (training.loop) may have "
                "it otherwise"
            )
        return
    wanted = (len(batch.labels), batch.classes)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if shape != wanted:
        what = f"outputs of shape {shape}" if isinstance(outputs, Tensor) else f"a {shape}"
        raise InvalidInput(
            f"in training mode it gives {what} for {len(batch.labels)} inputs: it must be one tensor of "
            f"shape {wanted}, one output per class; leave auxiliary outputs out (aux_logits=False of "
            "torchvision's)"
        )


def _engine_step(module: nn.Module, state: _Seen, batch: _Batch, seed: int = 0) -> _Seen:
    """The step of a lone training, up to the optimizer's part."""
    copies = StackedNetwork.of(module, state, 1, _CPU)
    seed_global(seed)
    module.train()
    gradients, losses = lone_gradients(module, batch.loss_of)(copies, batch.inputs, batch.labels)
    found = {_GRADIENT + name: each[0].clone() for name, each in copies.rows(gradients, module).items()}
    buffers = {name: each[0] for name, each in copies.buffers.items()}
    return {"loss": losses[0], **found, **_buffers(module, buffers)}


@torch.no_grad()
def _evaluation(module: nn.Module, state: _Seen, batch: _Batch, seed: int) -> _Seen:
    seed_global(seed)
    module.eval()
    own = {name: tensor.clone() for name, tensor in state.items()}
    return {"outputs": PlainModule(module).outputs(own, batch.inputs)}


def _buffers(module: nn.Module, tensors: _Seen) -> _Seen:
    names = dict(module.named_buffers())
    return {f"buffer {name}": tensor.clone() for name, tensor in tensors.items() if name in names}


def _same(one: _Seen, other: _Seen) -> bool:
    return one.keys() == other.keys() and not _differing(one, other)


def _differing(one: _Seen, other: _Seen) -> list[str]:
    """Names of what differs by more than roundings, of which what cancels in the end consists alone."""
    suspect = [name for name in one if name not in other or not torch.equal(one[name], other[name])]
    if not suspect:  # the most frequent case
        return []
    largest = max((_largest(each) for name, each in one.items() if name.startswith(_GRADIENT)), default=0.0)

    def scale(name: str) -> float:
        return largest if name.startswith(_GRADIENT) else max(0.1, _largest(one[name]))

    return [
        name for name in suspect if name not in other or not _close(one[name], other[name], 1e-4, scale(name))
    ]


def _close(one: Tensor, other: Tensor, share: float, scale: float) -> bool:
    if one.shape != other.shape or one.is_complex() != other.is_complex():
        return False
    a, b = as_real(one.detach()).double(), as_real(other.detach()).double()
    return torch.allclose(a, b, rtol=share, atol=share * 0.1 * scale, equal_nan=True)


def _largest(tensor: Tensor) -> float:
    values = tensor.detach().abs().double()
    return float(values.where(values.isfinite(), 0.0).max()) if tensor.numel() else 0.0
