"""VGG-19 with batch normalisation, in its form for images of 32×32 pixels."""

from torch import Tensor, nn

from trials.networks import initialise, require_32_pixels

# Channels of the convolutions before each of the five pools: configuration E.
STAGES = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class VGG19(nn.Module):
    """VGG-19: sixteen 3×3 convolutions (with biases), batch normalisation and ReLU after each, a linear
    head.

    Simonyan and Zisserman 2014 (arXiv 1409.1556, table 1, configuration E). The five max pools leave one
    pixel of 512 channels, which a single linear layer classifies, as is usual for CIFAR, in place of the
    three of the original. With 3 channels and 10 classes it has 20,040,522 parameters, 20,024,000 of them
    weights.

    Args:
        input_shape: (C, 32, 32).
        num_classes: Number of outputs.

    Raises:
        InvalidInput: Another input shape.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        require_32_pixels("vgg19", input_shape)
        layers: list[nn.Module] = []
        fan_in = input_shape[0]
        for stage in STAGES:
            for channels in stage:
                layers += [nn.Conv2d(fan_in, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
                fan_in = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(fan_in, num_classes)
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, C, 32, 32]."""
        outputs: Tensor = self.head(self.features(inputs).flatten(1))
        return outputs
