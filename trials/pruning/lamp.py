"""Layer-adaptive magnitude pruning."""

import torch
from torch import Tensor

from trials.pruning.base import Scores, TrainedNetwork


def lamp(trained: TrainedNetwork) -> Scores:
    """LAMP scores, compared over the whole network.

    Lee et al. 2020 (arXiv 2010.07611, equation 4): with a tensor's weights left in ascending order of |w|,
    score(u) = w_u² / Σ_{v ≥ u} w_v². Among equal ones the first by position comes first, so that the largest
    weight of each tensor scores 1 and no other does.

    A weight of exactly 0 scores 0: nothing changes when it goes. In a tensor of zeros all score 0 but the
    last, which counts as its largest. The sums begin at the largest weight and run in float64: in float32
    those of a large tensor drift.
    """
    values = {name: _scores(weight, trained.masks[name]) for name, weight in trained.weights.items()}
    return Scores(values, scope="global")


def _scores(weight: Tensor, mask: Tensor) -> Tensor:
    ascending, order = weight[mask].abs().sort(stable=True)
    squares = ascending.double().square()
    not_smaller = squares.flip(0).cumsum(0).flip(0)
    ranked = torch.where(not_smaller == 0, 0.0, squares / not_smaller)
    ranked[-1:] = torch.where(ascending[-1:].isfinite(), 1.0, torch.nan)
    scores = torch.zeros_like(weight, dtype=torch.float64)
    return scores.masked_scatter(mask, torch.empty_like(ranked).scatter(0, order, ranked))
