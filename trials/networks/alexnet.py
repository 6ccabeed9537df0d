"""AlexNet in its form for images of 32×32 pixels."""

from torch import Tensor, nn

from trials.networks import initialise, require_32_pixels, require_dropout


class AlexNet(nn.Module):
    """AlexNet: five convolutions (with biases) and ReLU after each, three max pools, a linear head.

    Krizhevsky et al. 2012 ("ImageNet classification with deep convolutional neural networks"), with the
    channels of its one-tower variant (Krizhevsky 2014, arXiv 1404.5997): 64, 192, 384, 256, 256. There is no
    one form for CIFAR. This is the one most often copied, by Wei Yang
    (github.com/bearpaw/pytorch-classification): the kernels of the original, the paddings such that 32×32
    pixels end as one, pools of 2×2 that don't overlap, and one linear layer on the 256 channels that are left
    in place of three. No normalisation. With 3 channels and 10 classes it has 2,472,266 parameters, 2,471,104
    of them weights.

    The initial weights are Kaiming-normal. Those of 2012, N(0, 0.01²) with biases of 1 in three convolutions,
    were made for other widths: here they stayed at chance for the 600 steps that were tried, at rates of
    0.01 to 0.1, where these learn from the first.

    Args:
        input_shape: (C, 32, 32).
        num_classes: Number of outputs.
        dropout: Share of the head's inputs that are dropped in training, in [0, 1); the original has 0.5.
            Above 0 the candidates of a cycle can't be trained together.

    Raises:
        InvalidInput: Another input shape, or a dropout outside [0, 1).
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        require_32_pixels("alexnet", input_shape)
        require_dropout("alexnet", dropout)
        self.features = nn.Sequential(
            nn.Conv2d(input_shape[0], 64, 11, stride=4, padding=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(256, num_classes)
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, C, 32, 32]."""
        outputs: Tensor = self.head(self.dropout(self.features(inputs).flatten(1)))
        return outputs
