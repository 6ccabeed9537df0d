"""Random pruning: the baseline that every other pruner has to beat."""

import torch

from trials.pruning.base import Scores, TrainedNetwork


def random(trained: TrainedNetwork) -> Scores:
    """Scores drawn from the generator: of the weights left, each is as likely to go.

    In float64: float32 has so few values in [0, 1) that ties, which position breaks, would favour the last
    layers.
    """
    values = {
        name: torch.rand(mask.shape, generator=trained.generator, dtype=torch.float64).to(mask.device)
        for name, mask in trained.masks.items()
    }
    return Scores(values, scope="global")
