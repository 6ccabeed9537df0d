"""The networks that can be pruned, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from silo.errors import InvalidInput
from trials.registry import call, one_line, resolve

NETWORKS = {
    "alexnet": "trials.networks.alexnet:AlexNet",
    "densenet40": "trials.networks.densenet:DenseNet40",
    "fc": "trials.networks.fc:FullyConnected",
    "mobilenetv2": "trials.networks.mobilenet:MobileNetV2",
    "resnet20": "trials.networks.resnet:ResNet20",
    "resnet50": "trials.networks.resnet50:resnet50",
    "vgg19": "trials.networks.vgg:VGG19",
    "vit": "trials.networks.vit:vit",
    "vit_b_16": "trials.networks.vit:vit_b_16",
}


def build_network(
    name: str, arguments: Mapping[str, Any], *, input_shape: tuple[int, ...], num_classes: int, seed: int
) -> nn.Module:
    """Builds a network on the CPU, its initial weights a function of the seed alone.

    The global random state is the same before and after. A network of the user's own is tried once on two
    inputs of zeros (in evaluation mode), because too many outputs would train without any error.

    Args:
        name: A key of NETWORKS, or ``"package.module:name"``: a class or function that takes the keywords
            ``input_shape`` and ``num_classes`` beside its own arguments and gives a ``torch.nn.Module``.
        arguments: The network's own arguments.
        input_shape: Shape of one input: (C, H, W) or (F,).
        num_classes: Number of outputs.
        seed: Seed of the initial weights.

    Raises:
        InvalidInput: No such network, arguments that it doesn't take, or a shape that it can't be built for.
    """
    builder: Callable[..., Any] = resolve("network", name, NETWORKS)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed, which would seed the accelerators too.
        torch.default_generator.manual_seed(seed)
        network = call("network", name, builder, arguments, input_shape=input_shape, num_classes=num_classes)
        if not isinstance(network, nn.Module):
            raise InvalidInput(
                f"network {name!r} must give a torch.nn.Module, it gave {type(network).__name__}"
            )
        if name not in NETWORKS:
            _try_out(name, network, input_shape, num_classes)
    return network


def _try_out(name: str, network: nn.Module, input_shape: tuple[int, ...], num_classes: int) -> None:
    was_training = network.training
    try:
        with torch.no_grad():
            outputs = network.eval()(torch.zeros(2, *input_shape))
    except Exception as error:  # the user's code, which may raise anything
        raise InvalidInput(
            f"network {name!r} fails on two inputs of shape {tuple(input_shape)}: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    network.train(was_training)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (2, num_classes):
        raise InvalidInput(
            f"network {name!r} gives outputs of shape {shape} for two inputs of shape {tuple(input_shape)}: "
            f"it must be {(2, num_classes)}, one output per class"
        )
