"""The weights of a network: those that pruning knows by their layers, and the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

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
