"""Random pruning: the baseline that every other pruner has to beat."""

from collections.abc import Mapping

import torch
from torch import Tensor


def random(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, generator: torch.Generator
) -> dict[str, Tensor]:
    """Scores drawn from the generator: of the weights left, each is as likely to go.

    In float64: float32 has so few values in [0, 1) that ties, which position breaks, would favour the last
    layers.
    """
    return {
        name: torch.rand(mask.shape, generator=generator, dtype=torch.float64).to(mask.device)
        for name, mask in masks.items()
    }
