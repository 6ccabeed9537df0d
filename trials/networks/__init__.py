"""The networks that can be pruned, by name, and the parts that they share."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from silo.errors import InvalidInput
from trials.process import global_draws_kept, seed_global, settings_kept
from trials.registry import call, one_line, refused_keyword, resolve, taken

NETWORKS = {
    "alexnet": "trials.networks.alexnet:AlexNet",
    "densenet40": "trials.networks.densenet:DenseNet40",
    "fc": "trials.networks.fc:FullyConnected",
    "mobilenetv2": "trials.networks.mobilenet:MobileNetV2",
    "resnet20": "trials.networks.resnet:ResNet20",
    "resnet50": "trials.networks.resnet:resnet50",
    "vgg19": "trials.networks.vgg:VGG19",
    "vit": "trials.networks.vit:vit",
    "vit_b_16": "trials.networks.vit:vit_b_16",
}


MOST_LAYERS = 1_000
"""Most layers of a network of ours: what is beyond was mistyped, and would be built for hours."""


def build_network(
    name: str,
    arguments: Mapping[str, Any],
    *,
    input_shape: tuple[int, ...] | None,
    num_classes: int | None,
    seed: int,
    classified: bool = True,
    input_dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Builds a network on the CPU, its initial weights a function of the seed alone.

    So are those that it draws by numpy's global generator or Python's. The global random states are the same
    before and after. A network of the user's own is tried once on two
    inputs of zeros (in evaluation mode), because too many outputs would train without any error.

    Args:
        name: A key of NETWORKS, or ``"package.module:name"``: a class or function that gives a
            ``torch.nn.Module``. Beside its own arguments it is given the keywords ``input_shape`` and
            ``num_classes``, as far as it takes them: ``torchvision.models:resnet18`` takes the second alone.
        arguments: The network's own arguments.
        input_shape: Shape of one input: (C, H, W) or (F,); None where there is no data set.
        num_classes: Number of outputs; None where the targets are no classes.
        seed: Seed of the initial weights.
        classified: Whether it gives one output per class for each input; else its outputs are the loss's
            business.
        input_dtype: Type of the inputs.

    Raises:
        InvalidInput: No such network, arguments that it doesn't take, no class, or a shape that it can't be
            built for.
    """
    builder: Callable[..., Any] = resolve("network", name, NETWORKS)
    if num_classes is not None and num_classes < 1:
        raise InvalidInput(f"{name} can't be built for {num_classes} classes: it needs at least one")
    given = {"input_shape": input_shape, "num_classes": num_classes}
    context = {key: value for key, value in given.items() if value is not None}
    if name in NETWORKS and arguments:  # which may be sizes
        _require_memory(name, builder, arguments, **context)
    with global_draws_kept(), settings_kept(), torch.enable_grad(), torch.device("cpu"):
        network, told = _construct(name, builder, arguments, context, seed)
        if not isinstance(network, nn.Module):
            raise InvalidInput(
                f"network {name!r} must give a torch.nn.Module, it gave {type(network).__name__}"
            )
        if name not in NETWORKS and input_shape is not None:
            inputs = torch.zeros(2, *input_shape, dtype=input_dtype)
            outputs = _try_out(name, network, inputs)
            if classified and num_classes is not None:
                _check_classes(name, outputs, input_shape, num_classes, told)
    return network


def _require_memory(
    name: str, builder: Callable[..., Any], arguments: Mapping[str, Any], **context: Any
) -> None:
    """Refuses a network of ours that this process could not hold, by one without values."""
    from trials.datasets.base import GIGABYTE, available_memory

    with global_draws_kept(), torch.device("meta"), _Undrawn():
        empty = call("network", name, builder, arguments, **context)
    needed = sum(each.numel() * each.element_size() for each in empty.parameters())
    if needed > (there := available_memory()):
        raise InvalidInput(
            f"network {name!r} needs {needed / GIGABYTE:,.1f} GB of memory with {dict(arguments)}, "
            f"{there / GIGABYTE:,.1f} GB are available: take smaller sizes"
        )


class _Undrawn(TorchFunctionMode):
    """Draws nothing from normal distributions: without values torch would import its compiler for it."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if function is torch.Tensor.normal_ else function(*args, **(kwargs or {}))


def _construct(
    name: str,
    builder: Callable[..., Any],
    arguments: Mapping[str, Any],
    context: Mapping[str, Any],
    seed: int,
) -> tuple[Any, dict[str, Any]]:
    """The network, and what of the context it was given: what its builder, or what that calls, takes."""
    told = dict(context)
    if name not in NETWORKS:
        told = {**taken(builder, told), **{given: context[given] for given in context if given in arguments}}
    while True:
        seed_global(seed)
        try:
            return call("network", name, builder, arguments, **told), told
        except TypeError as error:
            refused = refused_keyword(error)
            if name in NETWORKS or refused not in told:
                raise
            del told[refused]


def _try_out(name: str, network: nn.Module, inputs: torch.Tensor) -> Any:
    was_training = network.training
    try:
        with torch.no_grad():
            outputs = network.eval()(inputs)
    except Exception as error:  # the user's code, which may raise anything
        raise InvalidInput(
            f"network {name!r} fails on two inputs of shape {tuple(inputs.shape[1:])}: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    network.train(was_training)
    return outputs


def _check_classes(
    name: str,
    outputs: Any,
    input_shape: tuple[int, ...],
    num_classes: int,
    told: Mapping[str, Any],
) -> None:
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (2, num_classes):
        raise InvalidInput(
            f"network {name!r} gives outputs of shape {shape} for two inputs of shape {tuple(input_shape)}: "
            f"it must be {(2, num_classes)}, one output per class"
            f"{'' if 'num_classes' in told else '; it takes no num_classes, so give it by its own argument'}"
        )


def initialise(network: nn.Module) -> None:
    """Draws the initial weights from the global generator, in the order of the modules.

    Convolution and linear weights are Kaiming-normal: N(0, 2 / fan_in), the variance for ReLU of He et al.
    2015 (arXiv 1502.01852, equation 10). Their biases are 0. Batch normalisation starts with scale 1 and
    shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def require_image(network: str, input_shape: tuple[int, ...], divisor: int) -> None:
    """Raises InvalidInput unless the shape is (C, H, W) with H and W multiples of ``divisor``."""
    image = len(input_shape) == 3 and min(input_shape) >= 1
    if not image or input_shape[1] % divisor or input_shape[2] % divisor:
        raise InvalidInput(
            f"{network} can't take inputs of shape {tuple(input_shape)}: "
            f"it needs (channels, height, width) with height and width multiples of {divisor}"
        )


def require_32_pixels(network: str, input_shape: tuple[int, ...]) -> None:
    """Raises InvalidInput unless the shape is (C, 32, 32)."""
    if len(input_shape) != 3 or input_shape[0] < 1 or tuple(input_shape[1:]) != (32, 32):
        raise InvalidInput(
            f"{network} can't take inputs of shape {tuple(input_shape)}: it needs (channels, 32, 32), "
            "which it halves to one pixel; resnet20 and fc take other sizes"
        )


def require_colour(network: str, input_shape: tuple[int, ...]) -> None:
    """Raises InvalidInput unless the shape is (3, H, W), which torchvision's networks are made for."""
    if len(input_shape) != 3 or input_shape[0] != 3 or min(input_shape) < 1:
        raise InvalidInput(
            f"{network} can't take inputs of shape {tuple(input_shape)}: it needs (3, height, width), images "
            "of three colours; resnet20 and fc take any number of channels"
        )


def require_dropout(network: str, dropout: float) -> None:
    """Raises InvalidInput unless the share that is dropped is in [0, 1)."""
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InvalidInput(
            f"{network} can't be built with dropout = {dropout!r}: give a share of at least 0 and below 1"
        )
