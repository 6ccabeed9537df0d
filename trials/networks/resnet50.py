"""ResNet-50, as torchvision has it."""

from torch import nn

from trials.networks import require_colour
from trials.vision import load_torchvision


def resnet50(*, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """ResNet-50 of He et al. 2015 (arXiv 1512.03385, table 1), ``torchvision.models.resnet50``.

    A block that halves the image does so in its 3×3 convolution, not in its first one as in the paper. With
    1000 classes it has 25,557,032 parameters, 25,502,912 of them weights. Height and width are halved five
    times: made for images of 224×224 pixels, it takes any size, but sees little of a small one.

    The initial weights are torchvision's own: convolutions N(0, 2 / fan_out), batch normalisation with scale
    1 and shift 0, the head uniform in ±1/√fan_in.

    Args:
        input_shape: (3, H, W).
        num_classes: Number of outputs.

    Raises:
        InvalidInput: Another input shape, or torchvision is not installed.
    """
    require_colour("resnet50", input_shape)
    network: nn.Module = load_torchvision().models.resnet50(num_classes=num_classes)
    return network
