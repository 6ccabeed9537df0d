"""Outputs and scores of copies on a split, computed one operation after another or by one graph."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from trials.datasets import Dataset, Examples
from trials.engine.gradients import lone_outputs, over_copies, packed_outputs
from trials.engine.graphs import Program, Traced, trace
from trials.engine.stacked import StackedNetwork
from trials.objectives import Scorer

EVALUATION_BATCH = 1024
"""Most examples of a batch."""

EVALUATION_BYTES = 2**25
"""Most bytes of a batch's normalised inputs, but for as many examples as a training step takes: of images of
32 by 32 pixels 1,024 are less, of those of ImageNet 55 are as much."""

Outputs = Iterator[tuple[Tensor, Tensor]]
"""Outputs [K, B, …] of K copies on batch after batch of a split, and its targets [B, …]."""


def largest_batch(split: Examples, batch_size: int) -> int:
    """Most examples of a batch, where a step takes ``batch_size``: so many fit with their gradients, too."""
    _, *shape = split.shape
    bytes_each = 4 * math.prod(shape)
    return min(EVALUATION_BATCH, max(batch_size, EVALUATION_BYTES // bytes_each))


def evaluation_batch(split: Examples, batch_size: int) -> int:
    """Examples of a batch that divides a split evenly: a graph is made for one size."""
    batches = -(-len(split) // largest_batch(split, batch_size))  # few, and then as small as that many allow
    return -(-len(split) // batches)


@torch.no_grad()
def eager_outputs(
    module: nn.Module, copies: StackedNetwork, data: Dataset, split: Examples, together: bool, size: int
) -> Outputs:
    """The outputs of each copy on a split, ``size`` examples at a time, one operation after another."""
    module.eval()
    forward = packed_outputs(module) if together else lone_outputs(module)
    for inputs, targets in split.batches([torch.arange(len(split))], size):
        yield forward(copies, data.normalise(inputs)), targets


@torch.no_grad()
def scores_of(outputs: Outputs, scorer: Scorer, count: int) -> tuple[Tensor, Tensor]:
    """The score of each of ``count`` copies on a split, and whether all its outputs were finite: both [K]."""
    finite: Tensor | None = None
    for found, targets in outputs:
        sound = found.isfinite().flatten(1).all(dim=-1)
        finite = sound if finite is None else finite & sound
        scorer.update(found, targets)
    assert finite is not None, "no split is empty"
    scores = scorer.scores().to(finite.device)
    return scores, finite & scores.isfinite()


class GraphEvaluation:
    """The forward pass as one graph, for batches of one size.

    Smaller batches are filled up with their first example, which no copy's outputs for the others depend on.

    Args:
        module: The network.
        count: Copies; fewer are filled up too.
        size: Examples of a batch.
        vectorised: Whether the copies are computed in one call; else ``count`` is 1.
    """

    program: Program
    """The graph to call: to be set before the first count."""

    def __init__(self, module: nn.Module, count: int, size: int, *, vectorised: bool) -> None:
        self._module, self._count, self._size, self._vectorised = module, count, size, vectorised

    def arguments(self, copies: StackedNetwork, data: Dataset) -> list[Tensor]:
        """The tensors that the graph is called with, on the first batch of the validation split."""
        return self._arguments(copies, data.normalise(data.validation.first(self._size)[0]))

    @torch.no_grad()
    def traced(self, copies: StackedNetwork, data: Dataset) -> Traced:
        """The graph, for copies and data like these."""
        was_training = self._module.training
        self._module.eval()
        try:
            return trace(self._flat, self.arguments(copies, data))
        finally:
            self._module.train(was_training)

    @torch.no_grad()
    def outputs(self, copies: StackedNetwork, data: Dataset, split: Examples) -> Outputs:
        """The outputs of each copy on a split."""
        count = copies.flat.shape[0]
        for inputs, targets in split.batches([torch.arange(len(split))], self._size):
            with torch.autocast(inputs.device.type, enabled=False):  # the casts are in the graph
                (found,) = self.program(*self._arguments(copies, data.normalise(inputs)))
            yield found[:count, : len(targets)], targets

    def _arguments(self, copies: StackedNetwork, inputs: Tensor) -> list[Tensor]:
        if missing := self._size - len(inputs):
            inputs = torch.cat([inputs, inputs[:1].expand(missing, *inputs.shape[1:])])
        # Contiguous, as the graph was traced: copies are rows of a larger tensor.
        state = {name: each.contiguous() for name, each in {**copies.parameters, **copies.buffers}.items()}
        empty = self._count - copies.flat.shape[0]
        if empty:
            state = {
                name: torch.cat([tensor, tensor[:1].expand(empty, *tensor.shape[1:])])
                for name, tensor in state.items()
            }
        tensors, self._structure = pytree.tree_flatten(state)
        return [*tensors, inputs]

    def _flat(self, *arguments: Tensor) -> tuple[Tensor]:
        inputs = arguments[-1]
        state = pytree.tree_unflatten(list(arguments[:-1]), self._structure)

        def forward(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            found: Tensor = functional_call(self._module, state, (inputs,))
            return found

        if self._vectorised:
            return (over_copies(forward, in_dims=(0, None))(state, inputs),)
        return (forward({name: tensor[0] for name, tensor in state.items()}, inputs).unsqueeze(0),)
