"""Global magnitude pruning."""

from collections.abc import Mapping

import torch
from torch import Tensor


def global_magnitude(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, generator: torch.Generator
) -> dict[str, Tensor]:
    """Scores |w|, compared over the whole network (Frankle and Carbin 2018, arXiv 1803.03635)."""
    return {name: weights[name].abs() for name in masks}
