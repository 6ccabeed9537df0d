"""Gradient pruning: the weights that the loss depends on least go."""

import torch
from torch import Tensor

from trials.engine import batch_loss, named_tensors
from trials.pruning.base import Scores, TrainedNetwork


def global_gradient(trained: TrainedNetwork, *, batches: int = 10, batch_size: int | None = None) -> Scores:
    """Scores |w · ∂L/∂w|, compared over the whole network.

    GlobalMagGrad of Blalock et al. 2020 (arXiv 2003.03033, section 7.2; ShrinkBench). To first order it is
    what the loss changes by when the weight goes. L is the mean cross-entropy of training examples without
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
    leaves = {name: tensors[name].clone().requires_grad_() for name in trained.masks}
    others = {name: tensor for name, tensor in tensors.items() if name not in leaves}
    sums: dict[str, Tensor] = {
        name: torch.zeros_like(leaf, dtype=torch.float64) for name, leaf in leaves.items()
    }
    seen = 0
    for inputs, labels in trained.batches(batches, batch_size):
        with torch.enable_grad():
            loss, _ = batch_loss(trained.module, leaves, others, inputs, labels)
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient
        seen += 1
    values = {
        name: (weight.double() * (sums[name] / seen).to(weight.device)).abs()
        for name, weight in trained.weights.items()
    }
    return Scores(values, scope="global")
