"""The trained network that a pruner is given, and its answers: scores or masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.datasets.base import Dataset
from trials.seeding import generator

Scope = Literal["global", "layer"]
SCOPES: tuple[Scope, ...] = ("global", "layer")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """A trained network that is about to be pruned. A pruner reads it and changes nothing.

    Attributes:
        module: The network in evaluation mode, with its trained weights, 0 where they are pruned, and its
            trained buffers (BatchNorm's statistics).
        masks: The prunable weights by name, in the order of the network: boolean, True where a weight is
            left.
        extra_masks: Masks of other parameters, which an earlier structured pruning made: biases, scales and
            shifts of BatchNorm.
        rate: Share of what is left that is to go, in [0, 1). Scores don't depend on it; a pruner that gives
            :class:`Masks` needs it.
        generator: A seeded generator on the CPU, for pruners that draw.
        data: The data set, of which pruners may see the training split.
        batch_size: Examples per batch, unless a pruner asks for another number.
        seed: Decides which training examples :meth:`batches` takes.
    """

    module: nn.Module
    masks: Mapping[str, Tensor]
    extra_masks: Mapping[str, Tensor]
    rate: float
    generator: torch.Generator
    data: Dataset
    batch_size: int
    seed: int

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The prunable weights by name, 0 where they are pruned, in the order of the masks."""
        parameters = dict(self.module.named_parameters())
        return {name: parameters[name].detach() for name in self.masks}

    def batches(self, count: int, size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the training split, drawn without replacement, the same at every call.

        Not augmented. At most one pass over the split, so fewer than ``count`` if it has fewer full batches.

        Args:
            count: Number of batches, at least 1.
            size: Examples per batch; None takes ``batch_size``.

        Yields:
            Normalised inputs [size, …] and labels [size], on the data set's device.

        Raises:
            InvalidInput: A count or a size below 1, or not even one batch in the split.
        """
        split, size = self.data.train, self.batch_size if size is None else size
        for what, number in (("batches", count), ("examples per batch", size)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise InvalidInput(f"the number of {what} must be whole and at least 1, not {number!r}")
        if size > len(split):
            raise InvalidInput(
                f"a batch of {size} is larger than the training split ({len(split)} examples): "
                "take a smaller one"
            )
        order = torch.randperm(len(split), generator=generator(self.seed, "pruning batches"))
        for inputs, labels in split.batches([order[: min(count, len(split) // size) * size]], size):
            yield self.data.normalise(inputs), labels


@dataclass(frozen=True, eq=False)
class Scores:
    """A pruner's answer: how much each weight is worth. The lowest go.

    Attributes:
        values: By name of the masks, each shaped like its mask. Only those of weights left are looked at.
        scope: Among which the lowest are looked for. ``"global"``: all weights left, of which exactly
            round(rate × left) go. ``"layer"``: those of one tensor, of each of which exactly
            round(rate × left) go, but never the last one.
    """

    values: Mapping[str, Tensor]
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_scope(self.scope)


@dataclass(frozen=True, eq=False)
class Masks:
    """A pruner's answer: the new masks themselves, for pruning by a structure.

    Attributes:
        values: By name, boolean, True where a weight is left: one for each of the old masks and nested in
            it, and any of other parameters (biases, BatchNorm), which are held at 0 where False, too.
    """

    values: Mapping[str, Tensor]


def check_scope(scope: object) -> None:
    """Raises InvalidInput for what is no scope."""
    if scope not in SCOPES:
        raise InvalidInput(f"a pruner's scope is 'global' or 'layer', not {scope!r}")
