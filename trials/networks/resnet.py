"""The residual network of He et al. 2015 (arXiv 1512.03385, section 4.2) for small images."""

from torch import Tensor, nn
from torch.nn import functional

from silo.errors import InvalidInput
from trials.networks import initialise, require_colour, require_image
from trials.vision import load_torchvision

SHORTCUTS = ("identity", "conv")


class ResNet20(nn.Module):
    """ResNet-20: a convolution, three stages of three residual blocks, the mean over pixels, a linear head.

    The stages have 16, 32 and 64 channels. For 32×32×3 inputs and 10 classes it has 269,722 parameters with
    identity shortcuts (268,336 of them weights) and 272,474 with convolutional ones (270,896).

    Args:
        input_shape: (C, H, W), H and W multiples of 4: two stages halve them.
        num_classes: Number of outputs.
        shortcut: Added to the output of a block that changes the shape. ``"identity"``: the paper's option
            A, every second pixel with channels of zeros around, no weights. ``"conv"``: option B, a 1×1
            convolution of stride 2 with batch normalisation.

    Raises:
        InvalidInput: Another input shape, or another shortcut.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, shortcut: str = "identity") -> None:
        super().__init__()
        require_image("resnet20", input_shape, divisor=4)
        if shortcut not in SHORTCUTS:
            raise InvalidInput(f"resnet20 has no shortcut {shortcut!r}: it is 'identity' or 'conv'")
        self.conv = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        blocks, fan_in = [], 16
        for channels in (16, 32, 64):
            for _ in range(3):
                blocks.append(_Block(fan_in, channels, shortcut))
                fan_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(fan_in, num_classes)
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, C, H, W]."""
        features = self.blocks(self.norm(self.conv(inputs)).relu())
        outputs: Tensor = self.head(features.mean((2, 3)))
        return outputs


class _Block(nn.Module):
    """Two 3×3 convolutions and a shortcut. Where the channels double, height and width are halved."""

    def __init__(self, fan_in: int, channels: int, shortcut: str) -> None:
        super().__init__()
        stride = 1 if fan_in == channels else 2
        self.conv1 = nn.Conv2d(fan_in, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2 and shortcut == "conv":
            projection = nn.Conv2d(fan_in, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))
        elif stride == 2:
            self.shortcut = _SubsampleAndPad((channels - fan_in) // 2)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.norm1(self.conv1(inputs)).relu()
        values = self.norm2(self.conv2(values))
        outputs: Tensor = (values + self.shortcut(inputs)).relu()
        return outputs


class _SubsampleAndPad(nn.Module):
    """Option A: every second row and column, with ``padding`` channels of zeros before and behind."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


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
