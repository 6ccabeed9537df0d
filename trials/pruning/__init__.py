"""Which weights go: pruners by name, and the step that removes a share of what is left."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.datasets.base import Dataset
from trials.pruning.base import Masks, Scope, Scores, TrainedNetwork
from trials.pruning.masks import prunable_names, remove_lowest, remove_lowest_of_each
from trials.registry import call, resolve

__all__ = ["PRUNERS", "Masks", "Pruner", "Scope", "Scores", "TrainedNetwork", "prune"]

# (trained: TrainedNetwork, **arguments) -> Scores or Masks
Pruner = Callable[..., Scores | Masks]

PRUNERS = {
    "global_gradient": "trials.pruning.gradient:global_gradient",
    "global_magnitude": "trials.pruning.magnitude:global_magnitude",
    "l1_filter": "trials.pruning.filters:l1_filter",
    "lamp": "trials.pruning.lamp:lamp",
    "lap": "trials.pruning.lap:lap",
    "layer_magnitude": "trials.pruning.magnitude:layer_magnitude",
    "random": "trials.pruning.random:random",
}


def prune(
    pruner_name: str,
    arguments: Mapping[str, Any],
    *,
    module: nn.Module,
    masks: Mapping[str, Tensor],
    data: Dataset,
    batch_size: int,
    rate: float,
    seed: int,
) -> dict[str, Tensor]:
    """Prunes once: asks the pruner, and removes what it says.

    Args:
        pruner_name: A key of PRUNERS, or ``"package.module:name"``: a function
            ``(trained: TrainedNetwork, **arguments) -> Scores | Masks``.
        arguments: The pruner's own arguments.
        module: The network with its trained parameters and buffers. Its pruned weights are set to 0, and it
            is put into evaluation mode; nothing else is changed.
        masks: Boolean, True where a weight is left: of the prunable parameters, and any that an earlier
            pruning gave beside them.
        data: The data set, for pruners that look at gradients or follow the data through the network.
        batch_size: Examples per batch for pruners that take some.
        rate: Share of the weights left that go, in [0, 1). See :func:`trials.pruning.masks.remove_lowest`.
        seed: Seed of the pruner's generator (on the CPU) and of the batches.

    Returns:
        New masks, nested in the old ones: those of the prunable parameters in the order of
        ``module.named_parameters()``, then those of other parameters, in the same order.

    Raises:
        InvalidInput: No such pruner, arguments that it doesn't take, masks that don't fit the network,
            scores that can't be ranked, an answer that is no Scores or Masks or whose masks don't fit, or a
            rate that leaves nothing.
    """
    pruner: Callable[..., Any] = resolve("pruner", pruner_name, PRUNERS)
    _check_fit(module, masks)
    _set_pruned_to_zero(module.eval(), masks)
    # In the order of the network, which breaks ties: a file may have given the masks back in another.
    ordered = {name: masks[name] for name, _ in module.named_parameters() if name in masks}
    prunable = set(prunable_names(module))
    trained = TrainedNetwork(
        module=module,
        masks={name: mask for name, mask in ordered.items() if name in prunable},
        extra_masks={name: mask for name, mask in ordered.items() if name not in prunable},
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
        data=data,
        batch_size=batch_size,
        seed=seed,
    )
    answer = call("pruner", pruner_name, pruner, arguments, trained=trained)
    if isinstance(answer, Scores):
        remove = remove_lowest if answer.scope == "global" else remove_lowest_of_each
        return remove(answer.values, trained.masks, rate) | dict(trained.extra_masks)
    if isinstance(answer, Masks):
        return _accepted(pruner_name, answer.values, trained)
    raise InvalidInput(
        f"pruner {pruner_name!r} must give trials.pruning.Scores or Masks, it gave {type(answer).__name__}"
    )


def _accepted(pruner_name: str, given: Mapping[str, Tensor], trained: TrainedNetwork) -> dict[str, Tensor]:
    """A pruner's own masks, checked and in order."""
    old = {**trained.masks, **trained.extra_masks}
    for name in old:
        if name not in given:
            raise InvalidInput(f"pruner {pruner_name!r} gave no mask for {name!r}: every old mask needs one")
    _check_fit(trained.module, given)
    for name in old:
        if (given[name] & ~old[name]).any():
            raise InvalidInput(
                f"pruner {pruner_name!r} gives weights of {name!r} back that are pruned: masks must be nested"
            )
    if not any(given[name].any() for name in trained.masks):
        raise InvalidInput(f"pruner {pruner_name!r} leaves no weight: prune fewer times or at a lower rate")
    order = [*trained.masks, *[name for name, _ in trained.module.named_parameters()]]
    return {name: given[name] for name in order if name in given}


def _set_pruned_to_zero(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in masks:
                parameter.masked_fill_(~masks[name].to(parameter.device), 0)


def _check_fit(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise InvalidInput(
                f"mask {name!r} is of no parameter of the network{did_you_mean(name, parameters)}"
            )
        if mask.shape != parameters[name].shape or mask.dtype != torch.bool:
            raise InvalidInput(
                f"mask {name!r} must be boolean and of the parameter's shape: mask {mask.dtype} "
                f"{tuple(mask.shape)}, parameter {tuple(parameters[name].shape)}"
            )
