"""Masks: which weights are left.

A mask is a boolean tensor shaped like its weight, True where the weight is left. A set of masks is a mapping
from parameter names to masks. Its order matters: it breaks ties.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.pruning.prunable import prunable_names
from trials.registry import listed


def full_masks(module: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    """Masks under which every weight is left, for the named parameters, each on its parameter's device."""
    parameters = dict(module.named_parameters())
    return {name: torch.ones_like(parameters[name], dtype=torch.bool) for name in names}


def alive(masks: Mapping[str, Tensor]) -> int:
    """The number of weights left."""
    return sum(int(mask.count_nonzero()) for mask in masks.values())


def density(masks: Mapping[str, Tensor]) -> float:
    """The share of weights left among those that have a mask, in [0, 1]."""
    return alive(masks) / sum(mask.numel() for mask in masks.values())


def norm_drop(
    trained: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> float:
    """Share of the Euclidean norm of the trained weights that goes between two sets of masks."""
    had = sum(float(trained[name][before[name]].abs().double().square().sum()) for name in after)
    lost = sum(
        float(trained[name][before[name] & ~after[name]].abs().double().square().sum()) for name in after
    )
    return math.sqrt(lost / had) if had else 0.0


def apply_masks(tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with 0 where a weight is pruned, even if a NaN was there; those without a mask as they
    are.

    A tensor may have leading dimensions that its mask lacks: [pack, *shape] under a mask of [*shape].
    """
    return {
        name: tensor.masked_fill(~masks[name], 0) if name in masks else tensor
        for name, tensor in tensors.items()
    }


def remove_lowest(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], rate: float
) -> dict[str, Tensor]:
    """Removes the lowest-scored share of the weights that are left, ranked over the whole network.

    Exactly ``round(rate × alive)`` go. Python rounds halves to the even number: 2.5 → 2, 3.5 → 4. At rate
    0.2, 1000 weights become 800, 640, 512, 410, 328. Among equal scores the first go: in the order of the
    masks, then of the flattened tensor. What was pruned stays pruned, its score is not looked at. With few
    weights left and a small rate the number rounds to 0, and the masks come back unchanged (2 weights at
    rate 0.2).

    Args:
        scores: By name, each shaped like its mask; infinities are ranked, names without a mask ignored.
        masks: The weights left so far.
        rate: Share to remove, in [0, 1).

    Returns:
        New masks, in the same order.

    Raises:
        InvalidInput: The rate is outside [0, 1), a score is missing, of another shape or NaN, or no weight
            would be left.
    """
    _check_rate(rate)
    left = alive(masks)
    count = round(rate * left)
    if count == left:
        raise InvalidInput(
            f"pruning {count} of {left} weights left leaves none (rate {rate}): "
            "prune fewer times or at a lower rate"
        )
    return _without_lowest(scores, masks, count)


def remove_lowest_of_each(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], rate: float
) -> dict[str, Tensor]:
    """Removes the lowest-scored share of the weights that are left in each tensor.

    As :func:`remove_lowest` on each tensor alone, of which exactly ``round(rate × alive)`` weights go; where
    that would be all, one stays, for a tensor without weights cuts the network in two.
    """
    _check_rate(rate)
    pruned: dict[str, Tensor] = {}
    for name, mask in masks.items():
        left = int(mask.count_nonzero())
        count = max(0, min(round(rate * left), left - 1))
        pruned |= _without_lowest(scores, {name: mask}, count)
    return pruned


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise InvalidInput(f"the pruning rate must be at least 0 and below 1, such as 0.2: given was {rate}")


def _without_lowest(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], count: int
) -> dict[str, Tensor]:
    parts = [_alive_scores(name, scores, mask) for name, mask in masks.items()]
    stays = torch.split(~_lowest(torch.cat(parts), count), [len(part) for part in parts])
    return {
        name: mask.masked_scatter(mask, left) for (name, mask), left in zip(masks.items(), stays, strict=True)
    }


def _alive_scores(name: str, scores: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    if name not in scores:
        raise InvalidInput(
            f"the pruner gave no scores for {name!r}: every mask needs some, given are {listed(scores)}"
        )
    if scores[name].shape != mask.shape:
        raise InvalidInput(
            f"the pruner's scores for {name!r} have the shape {tuple(scores[name].shape)}: "
            f"it must be the mask's, {tuple(mask.shape)}"
        )
    chosen = scores[name][mask]
    undefined = int(chosen.isnan().count_nonzero())
    if undefined:
        raise InvalidInput(
            f"{undefined} scores of {name!r} are NaN and can't be ranked: did the training diverge?"
        )
    return chosen


def _lowest(ranked: Tensor, count: int) -> Tensor:
    """True at the ``count`` lowest values of a vector, the first ones among equals."""
    if count == 0:
        return torch.zeros_like(ranked, dtype=torch.bool)
    # Not kthvalue: it is refused on CUDA when only deterministic algorithms are allowed.
    threshold = ranked.topk(count, largest=False, sorted=False).values.max()
    lowest = ranked < threshold
    equal = (ranked == threshold).nonzero().squeeze(1)
    lowest[equal[: count - int(lowest.count_nonzero())]] = True
    return lowest


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


def sparsity(masks: Mapping[str, Tensor], module: nn.Module, also: Sequence[str] = ()) -> Sparsity:
    """Counts what is left of each tensor and of the network.

    Args:
        masks: By name, boolean, True where left; a parameter without a mask is all there.
        module: The network. Its values are not looked at.
        also: As :func:`prunable_names` takes it.
    """
    prunable = set(prunable_names(module, also=also)) & set(masks)
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
