"""The contract of a network: see :func:`check_network`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trials.datasets import Dataset, load_dataset
from trials.engine import named_tensors, why_not_packed
from trials.networks import build_network
from trials.objectives import CrossEntropy
from trials.pruning.masks import prunable_names
from trials.tasks import Component, Execution, Recipe
from trials.testing.assertions import no_global_draws, require, require_equal
from trials.training import train_pack


def check_network(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    packs: bool | None = None,
    train: bool = True,
) -> None:
    """Builds and trains a network, and checks what every network must keep to.

    Its initial weights are a function of the seed alone, and drawn without touching torch's global generator.
    It gives one finite output per class; in evaluation mode each example's outputs are its own, whatever the
    others of the batch, and the same every time. Its state goes into another instance. It has weights to
    prune, pruned ones stay exactly zero in training, and of each tensor others are trained. Where copies can
    be trained in a pack, each ends as it does alone.

    Args:
        name: A known network, or ``"package.module:name"``.
        arguments: Its arguments: as small as they let it be, for it is trained.
        input_shape: Shape of an example, (C, H, W) or (F,).
        num_classes: Number of classes.
        packs: Whether it can be trained in packs; None if either will do.
        train: Whether it is trained, which takes a few seconds.

    Raises:
        AssertionError: Something doesn't hold.
    """

    def build(seed: int) -> nn.Module:
        return build_network(
            name, arguments or {}, input_shape=input_shape, num_classes=num_classes, seed=seed
        )

    _check_seeds(name, build(7), build(8), build)
    sizes = {"train_size": 24, "validation_size": 8, "test_size": 8}
    shape = {"shape": list(input_shape), "num_classes": num_classes}
    data = load_dataset("synthetic", {**shape, **sizes}, seed=0)
    _check_outputs(name, build(0), data)
    _check_state(name, build(0), build(1))
    if train:
        reason = _why_not_packed(build(0), data)
        if packs is not None:
            require(packs == (reason is None), f"network {name!r} in packs: {reason or 'it can be trained'}")
        _check_training(name, build(0), data, pack_size=1 if reason else 2)


def _check_seeds(name: str, network: nn.Module, other: nn.Module, build: Any) -> None:
    with no_global_draws(f"network {name!r}"):
        again = build(7)
    require_equal(
        dict(network.named_parameters()),
        dict(again.named_parameters()),
        f"network {name!r}: its weights are no function of the seed",
    )
    theirs = dict(other.named_parameters())
    drawn = [key for key in prunable_names(network) if network.get_parameter(key).count_nonzero()]
    require(drawn, f"network {name!r} starts with weights that are all 0")
    same = [key for key in drawn if torch.equal(network.get_parameter(key), theirs[key])]
    require(not same, f"network {name!r}: another seed gives {same} the same weights")


@torch.no_grad()
def _check_outputs(name: str, network: nn.Module, data: Dataset) -> None:
    network.double().eval()
    inputs = data.normalise(data.validation.first(4)[0]).double()
    outputs = network(inputs)
    wanted = (len(inputs), data.num_classes)
    require(tuple(outputs.shape) == wanted, f"network {name!r}: outputs {tuple(outputs.shape)}, not {wanted}")
    require(outputs.isfinite().all(), f"network {name!r}: its outputs are not finite")
    require(torch.equal(outputs, network(inputs)), f"network {name!r} is random in evaluation mode")
    lone = torch.cat([network(each[None]) for each in inputs])
    same = torch.allclose(outputs, lone, rtol=1e-9, atol=1e-9)
    require(same, f"network {name!r}: an example's outputs depend on the others of its batch")


def _check_state(name: str, network: nn.Module, other: nn.Module) -> None:
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    other.load_state_dict(state)
    require_equal(dict(other.state_dict()), state, f"network {name!r}: its state dict doesn't hold its state")


def _why_not_packed(network: nn.Module, data: Dataset) -> str | None:
    inputs, labels = data.train.first(4)
    reason = why_not_packed(network, CrossEntropy(), data.normalise(inputs), labels)
    require(reason is None or (reason and "\n" not in reason), f"no reason in one line: {reason!r}")
    return reason


def _check_training(name: str, network: nn.Module, data: Dataset, *, pack_size: int) -> None:
    names, draw = prunable_names(network), torch.Generator().manual_seed(1)
    masks = {key: torch.rand(network.get_parameter(key).shape, generator=draw) < 0.7 for key in names}
    start = named_tensors(network)

    def trained(size: int) -> list[dict[str, Tensor]]:
        copies = train_pack(
            module=network,
            start=start,
            masks=masks,
            data=data,
            recipe=_recipe(name, size),
            cycle=1,
            replicate=0,
            max_lrs=(0.001, 0.002),
        )
        return [copy.state for copy in copies]

    alone = trained(1)
    for state in alone:
        for key, mask in masks.items():
            require(
                not state[key][~mask].count_nonzero(),
                f"network {name!r}: pruned weights of {key!r} are not 0 after training",
            )
            moved = not mask.any() or not torch.equal(state[key][mask], start[key][mask])
            require(moved, f"network {name!r}: the weights of {key!r} are not trained")
    if pack_size > 1:
        for one, other in zip(trained(pack_size), alone, strict=True):
            for key, tensor in one.items():
                # As far as float32 goes; why_not_packed has compared a step in double precision.
                scale = float(other[key].abs().max()) if other[key].numel() else 0.0
                require(
                    torch.allclose(tensor, other[key], rtol=1e-3, atol=1e-4 * (1.0 + scale)),
                    f"network {name!r}: {key!r} is trained to other values in a pack",
                )


def _recipe(name: str, pack_size: int) -> Recipe:
    """Two steps, after which alone it is validated: the state is that of the last step.

    Without weight decay, which would move weights that the loss doesn't depend on.
    """
    return Recipe(
        network=Component(name=name),
        dataset=Component(name="synthetic"),
        pruner=Component(name="global_magnitude"),
        pruning_rate=0.2,
        length=2,
        unit="iterations",
        evaluate_every=2,
        batch_size=8,
        optimizer=Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 0.0}),
        schedule=Component(name="constant"),
        execution=Execution(pack_size=pack_size),
    )
