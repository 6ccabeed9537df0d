"""Fully connected networks."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.networks import MOST_LAYERS, initialise


class FullyConnected(nn.Module):
    """Linear layers with ReLU between them, on the flattened input; no dropout, no normalisation.

    With 32×32×3 inputs, three hidden layers of 256 and 10 classes it has 920,842 parameters, 920,064 of them
    weights.

    Args:
        input_shape: Shape of one input, any.
        num_classes: Number of outputs.
        hidden: Widths of the hidden layers, the first one first. Empty for a linear classifier.

    Raises:
        InvalidInput: A width or a side of the input is below 1.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, hidden: Sequence[int] = (256, 256, 256)
    ) -> None:
        super().__init__()
        if not input_shape or min(input_shape) < 1:
            raise InvalidInput(
                f"fc can't take inputs of shape {tuple(input_shape)}: every side must be at least 1"
            )
        if isinstance(hidden, str | int) or not all(
            isinstance(width, int) and width >= 1 for width in hidden
        ):
            raise InvalidInput(
                f"fc can't be built with hidden = {hidden!r}: give whole widths of at least 1, as [256, 256]"
            )
        if len(hidden) > MOST_LAYERS:
            raise InvalidInput(
                f"fc can't be built with {len(hidden):,} hidden layers: at most {MOST_LAYERS:,} are taken"
            )
        widths = (math.prod(input_shape), *hidden, num_classes)
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out) for fan_in, fan_out in itertools.pairwise(widths)
        )
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, num_classes] of inputs [B, *input_shape]."""
        values = inputs.flatten(1)
        *hidden, head = self.layers
        for layer in hidden:
            values = layer(values).relu()
        outputs: Tensor = head(values)
        return outputs
