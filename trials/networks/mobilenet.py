"""MobileNetV2 of Sandler et al. 2018 (arXiv 1801.04381) in its form for small images."""

from torch import Tensor, nn
from torch.nn.functional import relu6

from silo.errors import InvalidInput
from trials.networks import initialise, require_image

# The paper's table 2: expansion, channels, blocks, stride of the first block. Its first stage of 24 channels
# has stride 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
SHORTCUTS = ("conv", "identity")


class MobileNetV2(nn.Module):
    """MobileNetV2: a convolution, 17 inverted residual blocks, a 1×1 convolution, the mean over pixels, a
    linear head.

    The usual form for CIFAR (github.com/kuangliu/pytorch-cifar): the first convolution and the stage of 24
    channels have stride 1, every block begins with a 1×1 convolution (the paper's first block doesn't), and a
    block of stride 1 that changes the channels has a shortcut with weights (the paper's has none). ReLU6 as
    in the paper. With 3 channels and 10 classes it has 2,296,922 parameters, 2,261,824 of them weights; with
    100 classes 2,412,212 and 2,377,024.

    The paper names no initial weights: these are Kaiming-normal.

    Args:
        input_shape: (C, H, W), H and W multiples of 8: three stages halve them.
        num_classes: Number of outputs.
        shortcut: Added to the output of a block of stride 1 that changes the channels. ``"conv"``: a 1×1
            convolution with batch normalisation. ``"identity"``: nothing, so that, as in the paper, only
            blocks that keep the shape have a shortcut (2,237,770 parameters for 10 classes).

    Raises:
        InvalidInput: Another input shape, or another shortcut.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, shortcut: str = "conv") -> None:
        super().__init__()
        require_image("mobilenetv2", input_shape, divisor=8)
        if shortcut not in SHORTCUTS:
            raise InvalidInput(f"mobilenetv2 has no shortcut {shortcut!r}: it is 'conv' or 'identity'")
        self.conv = nn.Conv2d(input_shape[0], 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        blocks, fan_in = [], 32
        for expansion, channels, count, first_stride in STAGES:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(_InvertedResidual(fan_in, channels, expansion, stride, shortcut))
                fan_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.last_conv = nn.Conv2d(fan_in, 1280, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(1280)
        self.head = nn.Linear(1280, num_classes)
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, C, H, W]."""
        features = self.blocks(relu6(self.norm(self.conv(inputs))))
        features = relu6(self.last_norm(self.last_conv(features)))
        outputs: Tensor = self.head(features.mean((2, 3)))
        return outputs


class _InvertedResidual(nn.Module):
    """A 1×1 convolution to more channels, a 3×3 one within each of them, a 1×1 one back, and no ReLU
    after it."""

    def __init__(self, fan_in: int, channels: int, expansion: int, stride: int, shortcut: str) -> None:
        super().__init__()
        width = expansion * fan_in
        self.expand = nn.Conv2d(fan_in, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.project = nn.Conv2d(width, channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module | None = None
        if stride == 1 and fan_in == channels:
            self.shortcut = nn.Identity()
        elif stride == 1 and shortcut == "conv":
            projection = nn.Conv2d(fan_in, channels, 1, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        values: Tensor = relu6(self.norm1(self.expand(inputs)))
        values = relu6(self.norm2(self.depthwise(values)))
        values = self.norm3(self.project(values))
        return values if self.shortcut is None else values + self.shortcut(inputs)
