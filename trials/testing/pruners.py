"""The contract of a pruner: see :func:`check_pruner`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trials.datasets import Dataset, load_dataset
from trials.pruning import Scope, prune
from trials.pruning.masks import alive, apply_masks, full_masks, prunable_names
from trials.testing.assertions import no_global_draws, require, require_equal


def check_pruner(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    scope: Scope | None,
    module: nn.Module | None = None,
    data: Dataset | None = None,
    rate: float = 0.2,
    cycles: int = 4,
) -> None:
    """Prunes a network several times over, and checks each time what every pruner must keep to.

    Exactly round(rate × left) weights go, and none comes back. The network's tensors stay as they are, but
    for zeros where weights are pruned. The answer is a function of the network, the masks and the seed, and
    not of the masks' order or of torch's global generator. A weight without a mask, which is to be kept, gets
    none. The masked network's outputs are finite, and those of the network with zeros in these places.

    Args:
        name: A known pruner, or ``"package.module:name"``.
        arguments: Its arguments.
        scope: As its :class:`trials.pruning.Scores` say; None for one that gives Masks, whose numbers are its
            own, and of which it is only asked that something goes.
        module: The network; by default two small convolutions and a linear layer.
        data: The data set, if the network takes no images of (3, 8, 8) in 4 classes.
        rate: Share of the weights left that go.
        cycles: How many times it prunes.

    Raises:
        AssertionError: Something doesn't hold.
    """
    module = small_network() if module is None else module
    data = small_images() if data is None else data
    pruner = _Pruner(name, arguments or {}, data, rate)
    masks = full_masks(module, prunable_names(module))
    _check_what_is_kept(pruner, copy.deepcopy(module), masks)
    for cycle in range(cycles):
        before, old = _state(module), masks
        with no_global_draws(f"pruner {name!r}"):
            masks = pruner.prune(module, old, seed=cycle)
        _check_counts(name, scope, rate, old, masks, first=cycle == 0)
        zeroed = {key: tensor.masked_fill(~old[key], 0) for key, tensor in before.items() if key in old}
        require_equal(_state(module), before | zeroed, f"pruner {name!r} changes the network")
        backwards = dict(reversed(old.items()))
        require_equal(
            pruner.prune(copy.deepcopy(module), backwards, seed=cycle),
            masks,
            f"pruner {name!r} gives other masks the second time, or for masks in another order",
        )
        _check_outputs(name, module, masks, data)


def small_network() -> nn.Module:
    """Two convolutions and a linear layer for images of (3, 8, 8), with biases, drawn with a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 10, 3, padding=1)
        pool = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), pool, nn.Flatten(), nn.Linear(10, 4))


def small_images() -> Dataset:
    """Images of (3, 8, 8) in 4 classes."""
    sizes = {"train_size": 40, "validation_size": 8, "test_size": 8}
    return load_dataset("synthetic", {"shape": [3, 8, 8], "num_classes": 4, **sizes}, seed=0)


class _Pruner:
    def __init__(self, name: str, arguments: Mapping[str, Any], data: Dataset, rate: float) -> None:
        self.name, self._arguments, self._data, self._rate = name, arguments, data, rate

    def prune(self, module: nn.Module, masks: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
        return prune(
            self.name,
            self._arguments,
            module=module,
            masks=masks,
            data=self._data,
            batch_size=4,
            rate=self._rate,
            seed=seed,
        )


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def _check_counts(
    name: str,
    scope: Scope | None,
    rate: float,
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    *,
    first: bool,
) -> None:
    for key, mask in old.items():
        revived = int((new[key] & ~mask).count_nonzero())
        require(not revived, f"pruner {name!r} gives {revived} weights of {key!r} back that were pruned")
    if scope is None:
        gone = alive(old) - sum(int(new[key].count_nonzero()) for key in old)
        # Of few filters that are left the share may round to none.
        require(gone or not first, f"pruner {name!r} removes nothing from a dense network")
        return
    require(list(new) == list(old), f"pruner {name!r} gives masks of {list(new)}, not of {list(old)}")
    groups = [list(old)] if scope == "global" else [[key] for key in old]
    for keys in groups:
        left = sum(int(old[key].count_nonzero()) for key in keys)
        wanted = left - round(rate * left)
        if scope == "layer":
            wanted = max(wanted, min(left, 1))  # the last weight of a layer stays
        found = sum(int(new[key].count_nonzero()) for key in keys)
        require(
            found == wanted,
            f"pruner {name!r} leaves {found} of the {left} weights of {', '.join(keys)}: {wanted} are wanted",
        )


def _check_what_is_kept(pruner: _Pruner, module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Without masks for the last weights, which is how they are kept."""
    *others, kept = masks
    found = pruner.prune(module, {key: masks[key] for key in others})
    require(kept not in found, f"pruner {pruner.name!r} prunes {kept!r}, which is to be kept")


def _check_outputs(name: str, module: nn.Module, masks: Mapping[str, Tensor], data: Dataset) -> None:
    inputs = data.normalise(data.validation.first(3)[0])
    by_hand = copy.deepcopy(module)
    with torch.no_grad():
        for key, mask in masks.items():
            by_hand.get_parameter(key).view(-1)[(~mask).view(-1).nonzero()] = 0
        state = apply_masks(dict(module.state_dict()), masks)
        outputs = torch.func.functional_call(module, state, (inputs,))
        same = torch.equal(outputs, by_hand(inputs)) and bool(outputs.isfinite().all())
    require(same, f"pruner {name!r}: the masked network's outputs are not finite, or not those of its zeros")
