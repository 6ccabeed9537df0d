"""Steps that are recorded once as CUDA graphs, and replayed."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from trials.engine.graphs import Captured
from trials.engine.rows import Shared
from trials.engine.stacked import StackedNetwork
from trials.engine.steps import Batch, GraphStep


class CudaGraphSteps:
    """Steps that are recorded as CUDA graphs: one for all copies, or one for each, on streams of their own.

    Every recording reads its batch and its rates from the same memory, into which those of each step are
    copied first, and leaves its losses there.

    Args:
        steps: One for all copies, or as many as there are copies at most, each for one.
        batch: A batch like those to come.
        shared: The rates and the losses of all steps, if there are several.
    """

    def __init__(self, steps: Sequence[GraphStep], batch: Batch, shared: Shared | None = None) -> None:
        self._steps, self._shared = steps, shared
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
        self._used = range(1 if self._shared is None else self._live)
        if self._shared is None:
            self._steps[0].begin(copies, mask)
            return
        for index, step in enumerate(self._steps):
            step.begin(copies.row(min(index, self._live - 1)), mask)

    def leave(self, copies: Sequence[int]) -> None:
        """See :class:`Step`; a graph of its own isn't replayed again."""
        if self._shared is not None:
            for index in set(self._used) & set(copies):
                self._shared.losses[index].fill_(torch.nan)
            self._used = [index for index in self._used if index not in copies]

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        if not self._recorded:
            gc.collect()  # once, and not while it records: see Captured
            pairs = zip_longest(self._steps, self._streams)
            self._recorded = [step.captured(self._batch, stream) for step, stream in pairs]
        for own, given in zip(self._batch, (inputs, labels), strict=True):
            own.copy_(given)
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            if self._shared is None:
                self._steps[0].set_rates(rates)
                return self._recorded[0]()[0][: self._live]
            self._shared.rates[: self._live].copy_(rates)
            self._side_by_side()
            return self._shared.losses[: self._live]

    def _side_by_side(self) -> None:
        """Steps the copies that are left."""
        if not self._streams:
            for index in self._used:
                self._recorded[index]()
            return
        main = torch.cuda.current_stream(self._batch[0].device)
        ready = main.record_event()
        for index in self._used:
            self._streams[index].wait_event(ready)
            with torch.cuda.stream(self._streams[index]):
                self._recorded[index]()
        for index in self._used:
            main.wait_stream(self._streams[index])

    def settle(self) -> None:
        """See :class:`Step`."""
        for index in self._used:
            self._steps[index].settle()
