"""Parts that the networks share: their initial weights, and the shapes that they refuse."""

from torch import nn

from silo.errors import InvalidInput


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


def require_classes(network: str, num_classes: int) -> None:
    """Raises InvalidInput unless there is at least one class."""
    if num_classes < 1:
        raise InvalidInput(f"{network} can't be built for {num_classes} classes: it needs at least one")
