"""The densely connected network of Huang et al. 2017 (arXiv 1608.06993, section 3) for small images."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trials.networks import require_image

GROWTH = 12
LAYERS = 12


class DenseNet40(nn.Module):
    """DenseNet-40: a convolution, three blocks of twelve layers, the mean over pixels, a linear head.

    Each layer adds 12 channels (the growth rate k) to all those before it. Without bottlenecks, and nothing
    is compressed between the blocks (θ = 1). The first convolution has 2k = 24 channels, as in the authors'
    code (github.com/liuzhuang13/DenseNet); their paper says 16. For 10 classes it has 1,059,298 parameters,
    1,040,568 of them weights; for 100 classes 1,100,428 and 1,081,608.

    Convolutions start from N(0, 2 / fan_out), as in the authors' code, which takes He et al. 2015 (arXiv
    1502.01852, equation 14); the linear head uniform in ±1/√fan_in, its biases 0.

    Args:
        input_shape: (C, H, W), H and W multiples of 4: two transitions halve them.
        num_classes: Number of outputs.

    Raises:
        InvalidInput: Another input shape.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        require_image("densenet40", input_shape, divisor=4)
        channels = 2 * GROWTH
        self.conv = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        for block in range(3):
            if block:
                layers.append(_Transition(channels))
            for _ in range(LAYERS):
                layers.append(_DenseLayer(channels))
                channels += GROWTH
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, C, H, W]."""
        features = self.norm(self.layers(self.conv(inputs))).relu()
        outputs: Tensor = self.head(features.mean((2, 3)))
        return outputs


class _DenseLayer(nn.Module):
    """Its inputs, and behind them the channels that it makes of them."""

    def __init__(self, fan_in: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(fan_in)
        self.conv = nn.Conv2d(fan_in, GROWTH, 3, padding=1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs, self.conv(self.norm(inputs).relu())], dim=1)


class _Transition(nn.Module):
    """A 1×1 convolution that keeps the channels, and a mean over 2×2 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(self.norm(inputs).relu()), 2)
