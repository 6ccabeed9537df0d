"""Masks: which weights are left.

A mask is a boolean tensor shaped like its weight, True where the weight is left. A set of masks is a mapping
from parameter names to masks. Its order matters: it breaks ties.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.registry import listed

_Layer = (
    nn.Linear
    | nn.Bilinear
    | nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
)
_Recurrent = nn.RNNBase | nn.RNNCellBase
"""nn.LSTM, nn.GRU and nn.RNN, and their cells."""

# Bare parameters of nn.MultiheadAttention: a walk over linear modules misses them.
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")

_NAMED_FROM = 0.05
"""Share of a network's parameters from which on what is never pruned is named."""

_MOST_NAMES = 4


def prunable_names(module: nn.Module, keep: Sequence[str] = (), also: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the parameters that pruning may touch, in the order of ``module.named_parameters()``.

    Weights of convolutions (transposed ones too), linear, bilinear and recurrent layers, and the projections
    of ``nn.MultiheadAttention``. Never biases, never normalisation, no embeddings, nothing that a weight is
    computed from (weight_norm, spectral_norm, torch.nn.utils.prune), no parameters of modules of one's own,
    but those that ``also`` names. A weight that two layers share counts once, by its first name.

    Args:
        module: The network.
        keep: Names to leave dense: exact, or patterns with ``*``, ``?`` and ``[]``, such as ``"head.*"``; or
            ``"first"`` and ``"last"``, the first and the last of the prunable weights in this order. In every
            network of trials/networks those are the input layer and the classifier; a network of your own may
            register its layers in another order than it runs them.
        also: Names and patterns of weights to prune beside these. A pattern takes no biases and no scales of
            torch's own layers; an exact name takes any parameter.

    Raises:
        InvalidInput: A pattern matches nothing, all that it adds is kept, or nothing is left to prune.
    """
    keep, also = patterns(keep), patterns(also)
    known, others = _known(module), _others(module)
    exact = {name for name, each in module.named_parameters() if _is_number(each)}
    for pattern in also:
        if pattern not in exact and not _matches(pattern, [*known, *others]):
            raise InvalidInput(
                f"pruning.also: no weight is called {pattern!r}{did_you_mean(pattern, [*others, *known])}: "
                f"those that are not pruned without it are {listed(others)}"
                if others
                else f"pruning.also: no weight is called {pattern!r}: without it all are pruned"
            )
    added = {name for pattern in also for name in ({pattern} & exact) | _matches(pattern, others)}
    names = [name for name, _ in module.named_parameters() if name in added or name in known]
    if not names:
        raise InvalidInput(
            "the network has nothing to prune: no weights of convolutions, linear, bilinear, recurrent or "
            f"attention layers. Name what is to be pruned in pruning.also: it has {listed(others)}"
        )
    words = {"first": names[0], "last": names[-1]}
    keep = tuple(words.get(pattern, pattern) for pattern in keep)
    for pattern in keep:
        if not _matches(pattern, [*names, *others]):
            raise InvalidInput(
                f"nothing to keep is called {pattern!r}{did_you_mean(pattern, names)}: "
                f"the prunable weights are {listed(names)}"
            )
    pruned = tuple(name for name in names if not _kept(name, keep))
    if not pruned:
        raise InvalidInput(
            f"the network has nothing to prune: of its prunable weights ({listed(names)}) all are kept by "
            f"{listed(keep)}; leave at least one"
        )
    for pattern in also:
        if not (_matches(pattern, pruned) or pattern in pruned):
            raise InvalidInput(f"pruning.also: all that {pattern!r} names is kept by {listed(keep)}")
    return pruned


def patterns(given: Sequence[str]) -> tuple[str, ...]:
    """Names and patterns; a text alone is one of them, not its letters."""
    return (given,) if isinstance(given, str) else tuple(given)


@dataclass(frozen=True, kw_only=True)
class NeverPruned:
    """Weights of a network that no pruning touches, though nobody asked to keep them.

    Attributes:
        tensors: Their names and shapes, the largest first.
        share: Their share of all parameters, in [0, 1].
    """

    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    share: float

    def sentence(self) -> str:
        """What they are, what that means, and what would do."""
        shown = [f"{name} ({'×'.join(map(str, shape))})" for name, shape in self.tensors[:_MOST_NAMES]]
        more = len(self.tensors) - len(shown)
        first = self.tensors[0][0]
        return (
            f"{100 * self.share:.3g} % of the network's parameters are weights that are never pruned, and λ "
            f"doesn't count: {', '.join(shown)}{f' and {more} more' if more else ''}. "
            f"pruning: {{also: ['{first}']}} prunes such a one, keep: ['{first}'] says that it is to stay"
        )


def never_pruned(module: nn.Module, pruned: Collection[str], keep: Sequence[str] = ()) -> NeverPruned | None:
    """What stays dense without having been asked to; None where it is next to nothing.

    Args:
        module: The network.
        pruned: The names of :func:`prunable_names`.
        keep: What was asked to stay.
    """
    parameters = dict(module.named_parameters())
    stay = [name for name in _others(module) if name not in pruned and not _kept(name, patterns(keep))]
    stay.sort(key=lambda name: -parameters[name].numel())
    total = sum(parameter.numel() for parameter in parameters.values())
    share = sum(parameters[name].numel() for name in stay) / max(total, 1)
    if not stay or share < _NAMED_FROM:
        return None
    return NeverPruned(tensors=tuple((name, tuple(parameters[name].shape)) for name in stay), share=share)


def _known(module: nn.Module) -> list[str]:
    """The names of the weights of layers that pruning knows."""
    weights = {id(weight) for each in module.modules() for weight in _own_weights(each)}
    return [name for name, parameter in module.named_parameters() if id(parameter) in weights]


def _own_weights(module: nn.Module) -> Iterator[Tensor]:
    if isinstance(module, _Layer | nn.MultiheadAttention):
        names = _PROJECTIONS if isinstance(module, nn.MultiheadAttention) else ("weight",)
        # Not by getattr, which computes a weight that is normed, and moves spectral norm's estimates on.
        yield from (each for name in names if (each := module._parameters.get(name)) is not None)
    elif isinstance(module, _Recurrent):
        own = module.named_parameters(recurse=False)
        yield from (parameter for name, parameter in own if name.startswith("weight_"))


def _others(module: nn.Module) -> list[str]:
    """The names of the weights that pruning doesn't know: neither biases nor scales."""
    known, owners = set(_known(module)), dict(module.named_modules())
    return [
        name
        for name, parameter in module.named_parameters()
        if name not in known and _is_number(parameter)
        if not _is_bias_or_scale(name.rpartition(".")[2], parameter, owners[name.rpartition(".")[0]])
    ]


def _is_number(parameter: Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def _is_bias_or_scale(name: str, parameter: Tensor, owner: nn.Module) -> bool:
    """Also the magnitudes of weight_norm, which are [out, 1, …] for weights of [out, …]."""
    flat = parameter.numel() == max(parameter.shape, default=1)
    of_torch = any(
        each.__module__.startswith("torch.nn") and each is not nn.Module for each in type(owner).__mro__
    )
    return (flat and (of_torch or "bias" in name)) or isinstance(owner, nn.LayerNorm | nn.RMSNorm)


def _matches(pattern: str, names: Collection[str]) -> set[str]:
    return {name for name in names if fnmatchcase(name, pattern)}


def _kept(name: str, keep: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in keep)


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
