"""Pruners that score each weight by itself, its gradient or its layer: the lowest go."""

import torch
from torch import Tensor

from trials.engine import PlainModule, named_tensors
from trials.pruning import Scores, TrainedNetwork


def global_magnitude(trained: TrainedNetwork) -> Scores:
    """Scores |w|, compared over the whole network (Frankle and Carbin 2018, arXiv 1803.03635)."""
    return Scores({name: weight.abs() for name, weight in trained.weights.items()}, scope="global")


def layer_magnitude(trained: TrainedNetwork) -> Scores:
    """Scores |w|, compared within each tensor, all of which lose the same share.

    Han et al. 2015 (arXiv 1506.02626); LayerMagWeight of Blalock et al. 2020 (arXiv 2003.03033).
    """
    return Scores({name: weight.abs() for name, weight in trained.weights.items()}, scope="layer")


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


def global_gradient(trained: TrainedNetwork, *, batches: int = 10, batch_size: int | None = None) -> Scores:
    """Scores |w · ∂L/∂w|, compared over the whole network.

    GlobalMagGrad of Blalock et al. 2020 (arXiv 2003.03033, section 7.2; ShrinkBench). To first order it is
    what the loss changes by when the weight goes. L is the training's loss on examples without
    augmentation, its gradient averaged over some batches, for that of a single one is mostly noise. In
    evaluation mode: BatchNorm takes its running statistics and doesn't move them, dropout is off. In float64,
    for the product of two small numbers may be 0 in float32.

    Args:
        trained: The network; its forward and backward passes run on the data set's device.
        batches: Batches that the gradient is averaged over, at least 1; at most one pass over the training
            split.
        batch_size: Examples per batch; None takes the training's.

    Raises:
        InvalidInput: See :meth:`TrainedNetwork.batches`.
    """
    device = trained.data.train.labels.device
    tensors = {name: tensor.to(device) for name, tensor in named_tensors(trained.module).items()}
    plain, names = PlainModule(trained.module), list(trained.masks)
    sums = {name: torch.zeros_like(tensors[name], dtype=torch.float64) for name in names}
    seen = 0
    for inputs, labels in trained.batches(batches, batch_size):
        gradients, _ = plain.gradients(tensors, names, inputs, labels, trained.loss)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient
        seen += 1
    values = {
        name: (weight.double() * (sums[name] / seen).to(weight.device)).abs()
        for name, weight in trained.weights.items()
    }
    return Scores(values, scope="global")
