"""Statistics of a trained copy: gradients, hidden representations, how far and where its weights moved.

Sources: Liu, Ghosh, Tan, Motani (TMLR 08/2023, arXiv 2212.06144), Fig. 1 and Definitions 1 and 2; for the
signs Gadhikar and Burkholz, Masks, Signs and Learning Rate Rewinding (arXiv 2402.19262).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trials.datasets import Dataset
from trials.engine import PlainModule, StackedNetwork, as_real, flat_rows
from trials.objectives import Loss
from trials.process import generator
from trials.pruning.masks import prunable_names

BATCHES, BATCH_SIZE = 8, 128
"""The training examples that gradients and representations are measured on: the first of a seeded order."""

BINS = 64
_SAMPLE = 200_000  # values of a layer's input that go into the histogram, at most


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts between equally spaced edges.

    Attributes:
        low: The lowest value.
        high: The highest value.
        counts: How many values lie in each of 64 bins of equal width between the two.
    """

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Measurements of one training, at the weights of its best validation.

    "Weights" are the prunable ones that are left. Gradients are of the mean loss over the training examples
    that are used, in evaluation mode.

    Attributes:
        gradient_std: Standard deviation of the weights' gradients (Fig. 1a).
        update_std: The same times the peak learning rate: of the weight updates at the peak.
        representation_std: Standard deviation of the hidden representations: the inputs of all layers with
            prunable weights but those that see the data (Fig. 1b); NaN where there are none.
        activation_norm: Average activation norm (Definition 1): the mean square of a layer's input, mean over
            those layers.
        gradient_norms: Average gradient norm (Definition 2) of each whole epoch: the mean square of how far a
            weight moved in it.
        flipped_signs: Share of the weights whose sign is another than at the start of the training.
        gradients: Histogram of the weights' gradients.
        representations: Histogram of the hidden representations, of an even sample where there are many; None
            where there are none.
    """

    gradient_std: float
    update_std: float
    representation_std: float
    activation_norm: float
    gradient_norms: tuple[float, ...]
    flipped_signs: float
    gradients: Histogram
    representations: Histogram | None

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: what is not finite is null."""
        norms = [norm if math.isfinite(norm) else None for norm in self.gradient_norms]
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in {**asdict(self), "gradient_norms": norms}.items()
        }


class Watch:
    """Follows the weights of K copies through a training.

    Args:
        copies: The copies before their first step.
        active: [P], 1 for a prunable weight that is left, else 0.
        per_epoch: Steps of an epoch.
    """

    def __init__(self, copies: StackedNetwork, active: Tensor, per_epoch: int) -> None:
        self.active, self._per_epoch = active, per_epoch
        self.start = copies.flat.clone()
        self._before = self.start.clone()
        self._norms: list[Tensor] = []
        self._count = max(float(active.sum()), 1.0)

    def wants(self, steps: int) -> bool:
        """Whether the weights after so many steps count: those at the ends of epochs do."""
        return steps % self._per_epoch == 0

    def step(self, copies: StackedNetwork, steps: int) -> None:
        """Takes note of the weights after so many steps."""
        if self.wants(steps):
            moved = (copies.flat - self._before).square_().mul_(self.active)
            self._norms.append(moved.sum(dim=1) / self._count)
            self._before.copy_(copies.flat)

    def norms(self, index: int) -> tuple[float, ...]:
        """Definition 2 of each epoch, for one copy."""
        return tuple(float(norm[index]) for norm in self._norms)

    def flipped(self, copies: StackedNetwork, index: int) -> float:
        """Share of one copy's weights with another sign than at the start."""
        other = (copies.flat[index].sign() != self.start[index].sign()) * self.active
        return float(other.sum()) / self._count


def active_weights(
    module: nn.Module, masks: Mapping[str, Tensor], device: torch.device, also: Sequence[str] = ()
) -> Tensor:
    """[P], 1 for a prunable weight that is left, else 0, in the order of :attr:`StackedNetwork.flat`."""
    names = set(prunable_names(module, also=also))
    return flat_rows(module, {name: mask for name, mask in masks.items() if name in names}, 0.0, device)


def statistics_of_copy(
    module: nn.Module,
    copies: StackedNetwork,
    index: int,
    data: Dataset,
    watch: Watch,
    loss_of: Loss,
    *,
    max_lr: float,
    seed: int,
    also: Sequence[str] = (),
) -> Statistics:
    """The statistics of one copy.

    Args:
        module: The network; it gives the forward pass.
        copies: The copies at their best validation.
        index: Which of them.
        data: The data set, on the copies' device.
        watch: The watch that followed their training.
        loss_of: The loss.
        max_lr: The copy's peak learning rate.
        seed: Of the order of the training examples.
        also: What is prunable beside the layers that pruning knows.
    """
    module.eval()
    plain, names = PlainModule(module), list(copies.parameters)
    total = [torch.zeros_like(stacked[index]) for stacked in copies.parameters.values()]
    with _inputs(module, also) as inputs, copies.opened(index) as tensors:
        batches = list(_batches(data, seed))
        for examples, labels in batches:
            inputs.examples = examples
            parts, _ = plain.gradients(tensors, names, examples, labels, loss_of)
            for whole, part in zip(total, parts, strict=True):
                whole.add_(as_real(part), alpha=len(labels) / sum(len(each) for _, each in batches))
    flat = torch.cat([part.reshape(-1) for part in total])
    gradients = flat[watch.active > 0].double()
    std = float(gradients.std(correction=0)) if len(gradients) else math.nan
    return Statistics(
        gradient_std=std,
        update_std=max_lr * std,
        representation_std=inputs.std(),
        activation_norm=inputs.norm(),
        gradient_norms=watch.norms(index),
        flipped_signs=watch.flipped(copies, index),
        gradients=_histogram(gradients),
        representations=_histogram(torch.cat(inputs.samples)) if inputs.samples else None,
    )


class _Inputs:
    """Collected by hooks: moments of every hidden layer's input, and a sample of its values."""

    def __init__(self) -> None:
        self.examples: Tensor | None = None
        self.samples: list[Tensor] = []
        self._moments: dict[nn.Module, Tensor] = {}

    def take(self, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not arguments or not isinstance(arguments[0], Tensor):
            return  # called by keywords, as no layer of ours is
        values = arguments[0].detach()
        assert self.examples is not None
        if values.data_ptr() == self.examples.data_ptr():
            return  # the layer sees the data: no hidden representation
        flat = values.reshape(-1).double()
        moments = torch.stack([torch.tensor(float(flat.numel())).to(flat), flat.sum(), flat.square().sum()])
        self._moments[layer] = self._moments.get(layer, torch.zeros_like(moments)) + moments
        self.samples.append(flat[:: max(1, flat.numel() * BATCHES // _SAMPLE)])

    def std(self) -> float:
        """Of all values of all layers."""
        if not self._moments:
            return math.nan
        count, total, squares = torch.stack(list(self._moments.values())).sum(dim=0).tolist()
        return math.sqrt(max(squares / count - (total / count) ** 2, 0.0))

    def norm(self) -> float:
        """Mean over the layers of the mean square."""
        norms = [float(squares / count) for count, _, squares in self._moments.values()]
        return math.fsum(norms) / len(norms) if norms else math.nan


@contextmanager
def _inputs(module: nn.Module, also: Sequence[str]) -> Iterator[_Inputs]:
    found = _Inputs()
    layers = dict.fromkeys(name.rpartition(".")[0] for name in prunable_names(module, also=also))
    hooks = [module.get_submodule(layer).register_forward_pre_hook(found.take) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _batches(data: Dataset, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(data.train), generator=generator(seed, "diagnostics"))
    for inputs, labels in data.train.batches([order[: BATCHES * BATCH_SIZE]], BATCH_SIZE):
        yield data.normalise(inputs), labels


def _histogram(values: Tensor) -> Histogram:
    finite = values[values.isfinite()]
    if not len(finite):
        return Histogram(low=0.0, high=0.0, counts=(0,) * BINS)
    low, high = float(finite.min()), float(finite.max())
    counts = torch.histc(finite, bins=BINS, min=low, max=high)
    return Histogram(low=low, high=high, counts=tuple(int(count) for count in counts))
