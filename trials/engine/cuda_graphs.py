"""Steps that are recorded once as CUDA graphs, and replayed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from trials.engine.graphs import Captured
from trials.engine.stacked import StackedNetwork
from trials.engine.steps import Batch, GraphStep


class CudaGraphSteps:
    """Steps that are recorded as CUDA graphs: one for all copies, or one for each, on streams of their own.

    Every recording reads its batch from the same memory, into which each step's batch is copied first.

    Args:
        steps: One for all copies, or as many as there are copies at most, each for one.
        batch: A batch like those to come.
    """

    def __init__(self, steps: Sequence[GraphStep], batch: Batch) -> None:
        self._steps = steps
        self._batch = (batch[0].clone(), batch[1].clone())
        self._recorded: list[Captured] = []
        self._used: Sequence[int] = ()
        device = batch[0].device
        several = device.type == "cuda" and len(steps) > 1
        # torch annotates no Stream.
        streams = [torch.cuda.Stream(device) for _ in steps] if several else []  # type: ignore[no-untyped-call]
        self._streams: list[torch.cuda.Stream] = streams

    def begin(self, copies: StackedNetwork, mask: Tensor) -> None:
        """Starts a training."""
        self._live = copies.flat.shape[0]
        self._used = range(1 if len(self._steps) == 1 else self._live)
        if len(self._steps) == 1:
            self._steps[0].begin(copies, mask)
            return
        for index, step in enumerate(self._steps):
            step.begin(copies.row(min(index, self._live - 1)), mask)

    def leave(self, copies: Sequence[int]) -> None:
        """See :class:`Step`; a graph of its own isn't replayed again."""
        if len(self._steps) > 1:
            self._used = [index for index in self._used if index not in copies]

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        if not self._recorded:
            pairs = zip_longest(self._steps, self._streams)
            self._recorded = [step.captured(self._batch, stream) for step, stream in pairs]
        for own, given in zip(self._batch, (inputs, labels), strict=True):
            own.copy_(given)
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            if len(self._steps) == 1:
                self._steps[0].set_rates(rates)
                return self._recorded[0]()[0][: self._live]
            for index in self._used:
                self._steps[index].set_rates(rates[index : index + 1])
            losses = torch.full_like(rates, torch.nan)
            for index, loss in zip(self._used, self._side_by_side(), strict=True):
                losses[index : index + 1] = loss
            return losses

    def _side_by_side(self) -> list[Tensor]:
        """The losses of the copies that are stepped, each [1]."""
        if not self._streams:
            return [self._recorded[index]()[0] for index in self._used]
        main, losses = torch.cuda.current_stream(self._batch[0].device), []
        for index in self._used:
            self._streams[index].wait_stream(main)
            with torch.cuda.stream(self._streams[index]):
                losses.append(self._recorded[index]()[0])
        for index in self._used:
            main.wait_stream(self._streams[index])
        return losses

    def settle(self) -> None:
        """See :class:`Step`."""
        for index in self._used:
            self._steps[index].settle()
