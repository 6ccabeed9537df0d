"""Which weights go: pruners by name, and the step that removes a share of what is left."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.pruning.magnitude import global_magnitude
from trials.pruning.masks import remove_lowest
from trials.pruning.random import random
from trials.registry import call, did_you_mean, resolve

# (weights, masks, *, generator, **arguments) -> scores: tensors shaped like the weights. The lowest go
# first.
Pruner = Callable[..., Mapping[str, Tensor]]

PRUNERS: dict[str, Pruner] = {
    "global_magnitude": global_magnitude,
    "random": random,
}


def prune(
    pruner_name: str,
    arguments: Mapping[str, Any],
    *,
    module: nn.Module,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    rate: float,
    seed: int,
) -> dict[str, Tensor]:
    """Prunes once: scores the weights and removes the lowest of those that are left.

    Args:
        pruner_name: A key of PRUNERS, or ``"package.module:name"``: a function
            ``(weights, masks, *, generator, **arguments) -> {name: scores}``.
        arguments: The pruner's own arguments.
        module: The network; the masks must belong to its parameters.
        weights: The trained weights by name; names without a mask are ignored.
        masks: Boolean, True where a weight is left, shaped like the weights.
        rate: Share of the weights left that go, in [0, 1). See :func:`trials.pruning.masks.remove_lowest`.
        seed: Seed of the pruner's generator (on the CPU).

    Returns:
        New masks, nested in the old ones, in the order of ``module.named_parameters()``.

    Raises:
        InvalidInput: No such pruner, arguments that it doesn't take, masks that fit neither network nor
            weights, scores that can't be ranked, or a rate that leaves nothing.
    """
    pruner = resolve("pruner", pruner_name, PRUNERS)
    _check_masks(module, weights, masks)
    generator = torch.Generator().manual_seed(seed)
    # In the order of the network, which breaks ties: a file may have given the masks back in another.
    masks = {name: masks[name] for name, _ in module.named_parameters() if name in masks}
    masked = {name: weights[name].detach() for name in masks}
    scores = call("pruner", pruner_name, pruner, arguments, weights=masked, masks=masks, generator=generator)
    return remove_lowest(scores, masks, rate)


def _check_masks(module: nn.Module, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise InvalidInput(
                f"mask {name!r} is of no parameter of the network{did_you_mean(name, parameters)}"
            )
        if name not in weights:
            raise InvalidInput(f"mask {name!r} has no weights: give the trained weights of that name")
        shapes = [tuple(each.shape) for each in (mask, weights[name], parameters[name])]
        if len(set(shapes)) > 1 or mask.dtype != torch.bool:
            raise InvalidInput(
                f"mask {name!r} must be boolean and of the parameter's shape: mask {mask.dtype} {shapes[0]}, "
                f"weights {shapes[1]}, parameter {shapes[2]}"
            )
