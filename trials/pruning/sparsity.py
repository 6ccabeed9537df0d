"""How sparse a network is, tensor by tensor and as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from trials.pruning.masks import prunable_names


@dataclass(frozen=True, kw_only=True)
class Row:
    """One parameter of a network, or several taken together.

    Attributes:
        name: The parameter's name; ``"prunable"`` or ``"network"`` for a total.
        shape: Its shape; empty for a total.
        alive: Numbers that are left.
        total: All its numbers.
        prunable: Whether it is a weight that pruning may touch. Biases and BatchNorm are none, even where
            filter pruning masks them too, nor is a weight that ``keep`` names.
    """

    name: str
    shape: tuple[int, ...] = ()
    alive: int
    total: int
    prunable: bool

    @property
    def density(self) -> float:
        """The share that is left, in [0, 1]; 1 of nothing."""
        return self.alive / self.total if self.total else 1.0


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """How sparse a network is.

    Attributes:
        tensors: A row for each parameter, in the order of the network.
        prunable: All prunable weights: the density that pruning cycles are counted by.
        network: All parameters.
    """

    tensors: tuple[Row, ...]
    prunable: Row
    network: Row


def sparsity(masks: Mapping[str, Tensor], module: nn.Module) -> Sparsity:
    """Counts what is left of each tensor and of the network.

    Args:
        masks: By name, boolean, True where left; a parameter without a mask is all there.
        module: The network. Its values are not looked at.
    """
    prunable = set(prunable_names(module)) & set(masks)
    rows = tuple(
        Row(
            name=name,
            shape=tuple(parameter.shape),
            alive=int(masks[name].count_nonzero()) if name in masks else parameter.numel(),
            total=parameter.numel(),
            prunable=name in prunable,
        )
        for name, parameter in module.named_parameters()
    )
    return Sparsity(
        tensors=rows,
        prunable=_sum("prunable", [row for row in rows if row.prunable]),
        network=_sum("network", rows),
    )


def _sum(name: str, rows: tuple[Row, ...] | list[Row]) -> Row:
    return Row(
        name=name,
        alive=sum(row.alive for row in rows),
        total=sum(row.total for row in rows),
        prunable=all(row.prunable for row in rows),
    )
