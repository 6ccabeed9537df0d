"""Right answers of copies on a split, counted one operation after another or by one graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from trials.datasets import Dataset, Examples
from trials.engine.gradients import lone_outputs, packed_outputs
from trials.engine.graphs import Program, Traced, trace
from trials.engine.stacked import StackedNetwork

EVALUATION_BATCH = 1024

CountCorrect = Callable[[StackedNetwork, Dataset, Examples], tuple[Tensor, Tensor]]
"""Copies, data set and split to right answers of each copy on it, and whether all its outputs were finite:
both [K]."""


def evaluation_batch(count: int) -> int:
    """Examples of a batch that splits ``count`` examples evenly: a graph is made for one size."""
    batches = -(-count // EVALUATION_BATCH)  # as few as may be, and then as small as that many allow
    return -(-count // batches)


@torch.no_grad()
def count_correct(
    module: nn.Module, copies: StackedNetwork, data: Dataset, split: Examples, together: bool
) -> tuple[Tensor, Tensor]:
    """Right answers of each copy on a split, and whether all its outputs were finite: both [K]."""
    module.eval()
    forward = packed_outputs(module) if together else lone_outputs(module)
    count = copies.flat.shape[0]
    correct = torch.zeros(count, dtype=torch.long, device=copies.flat.device)
    finite = torch.ones(count, dtype=torch.bool, device=copies.flat.device)
    for inputs, labels in split.batches([torch.arange(len(split))], EVALUATION_BATCH):
        outputs = forward(copies, data.normalise(inputs))
        correct += (outputs.argmax(dim=-1) == labels).sum(dim=-1)
        finite &= outputs.isfinite().all(dim=-1).all(dim=-1)
    return correct, finite


class GraphEvaluation:
    """The forward pass and the count of right answers as one graph, for batches of one size.

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
        inputs, labels = data.validation.first(self._size)
        return self._arguments(copies, data.normalise(inputs), labels)

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
    def count_correct(self, copies: StackedNetwork, data: Dataset, split: Examples) -> tuple[Tensor, Tensor]:
        """See :data:`CountCorrect`."""
        count = copies.flat.shape[0]
        correct = torch.zeros(count, dtype=torch.long, device=copies.flat.device)
        finite = torch.ones(count, dtype=torch.bool, device=copies.flat.device)
        for inputs, labels in split.batches([torch.arange(len(split))], self._size):
            with torch.autocast(inputs.device.type, enabled=False):  # the casts are in the graph
                right, sound = self.program(*self._arguments(copies, data.normalise(inputs), labels))
            correct += right[:count]
            finite &= sound[:count]
        return correct, finite

    def _arguments(self, copies: StackedNetwork, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        missing = self._size - len(labels)
        if missing:
            inputs = torch.cat([inputs, inputs[:1].expand(missing, *inputs.shape[1:])])
            labels = torch.cat([labels, labels.new_full((missing,), -1)])
        # Contiguous, as the graph was traced: copies are rows of a larger tensor.
        state = {name: each.contiguous() for name, each in {**copies.parameters, **copies.buffers}.items()}
        empty = self._count - copies.flat.shape[0]
        if empty:
            state = {
                name: torch.cat([tensor, tensor[:1].expand(empty, *tensor.shape[1:])])
                for name, tensor in state.items()
            }
        tensors, self._structure = pytree.tree_flatten(state)
        return [*tensors, inputs, labels]

    def _flat(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        inputs, labels = arguments[-2:]
        state = pytree.tree_unflatten(list(arguments[:-2]), self._structure)

        def forward(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            found: Tensor = functional_call(self._module, state, (inputs,))
            return found

        if self._vectorised:
            outputs = vmap(forward, in_dims=(0, None), randomness="error")(state, inputs)
        else:
            outputs = forward({name: tensor[0] for name, tensor in state.items()}, inputs).unsqueeze(0)
        right = (outputs.argmax(dim=-1) == labels).sum(dim=-1)
        return right, outputs.isfinite().flatten(1).all(dim=-1)
