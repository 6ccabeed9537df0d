"""Tensors put into a network by name, all of them or with a line that says what doesn't fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

_MOST = 4
"""Names that are listed of each kind of misfit."""

_COUNTS = "num_batches_tracked"
"""A buffer of normalisation layers that older files lack; torch itself does without it, too."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """What of some tensors doesn't fit a network, each by its name.

    Attributes:
        missing: What the network has, and they don't.
        left: What they have, and the network doesn't.
        shapes: What has another shape, with both.
        others: Whatever else is wrong, in words.
    """

    missing: tuple[str, ...]
    left: tuple[str, ...]
    shapes: Mapping[str, str]
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.left or self.shapes or self.others)

    def __str__(self) -> str:
        parts = [f"missing: {shortened(self.missing)}"] if self.missing else []
        parts += [f"left over: {shortened(self.left)}"] if self.left else []
        shown = [f"{name} is {text}" for name, text in self.shapes.items()]
        parts += [f"other shapes: {shortened(shown)}"] if shown else []
        return "; ".join([*parts, *self.others])


def state_names(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers by their keys in ``state_dict``; tied ones under each."""
    kept = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in kept.items() if isinstance(tensor, Tensor)}


@torch.no_grad()
def put_into(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    leave_out: Sequence[str] = (),
    finite: bool = False,
) -> Misfit:
    """Copies tensors into a network's parameters and buffers, converted to their types; all or none.

    Args:
        module: The network.
        tensors: Its state by the keys of ``state_dict``. One of the names of a tied tensor is enough.
        leave_out: Names and patterns of what stays as it is in the network; tensors of these names aren't
            taken.
        finite: Whether NaN and infinities in what is trained are a misfit, too.

    Returns:
        What doesn't fit; nothing was copied then.
    """
    taken = {name: tensor for name, tensor in tensors.items() if not matches(name, leave_out)}
    wanted = {name: tensor for name, tensor in state_names(module).items() if not matches(name, leave_out)}
    misfit = _misfit(wanted, taken, finite)
    for name in () if misfit else taken:
        wanted[name].copy_(taken[name])
    return misfit


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of these, or matches one of these patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _misfit(wanted: Mapping[str, Tensor], taken: Mapping[str, Tensor], finite: bool) -> Misfit:
    both = {name: (taken[name], tensor) for name, tensor in wanted.items() if name in taken}
    given = {id(tensor) for _, tensor in both.values()}
    missing = [name for name, tensor in wanted.items() if id(tensor) not in given]
    shapes = {
        name: f"{_shape(one)}, not {_shape(other)}"
        for name, (one, other) in both.items()
        if one.shape != other.shape
    }
    fitting = {name: pair for name, pair in both.items() if name not in shapes}
    return Misfit(
        missing=tuple(name for name in missing if not name.endswith(_COUNTS)),
        left=tuple(sorted(name for name in taken if name not in wanted)),  # safetensors has no order
        shapes=shapes,
        others=tuple(_others(fitting, finite)),
    )


def _others(both: Mapping[str, tuple[Tensor, Tensor]], finite: bool) -> list[str]:
    """What is wrong with tensors of the right shapes: their kinds of numbers, or their numbers."""
    found = []
    if kinds := [name for name, (one, other) in both.items() if _kind(one) != _kind(other)]:
        one, other = both[kinds[0]]
        found.append(f"other kinds of numbers: {shortened(kinds)} ({_type(one)}, not {_type(other)})")
    alike = {name: pair for name, pair in both.items() if name not in kinds}
    trained = {name: one for name, (one, other) in alike.items() if finite and other.requires_grad}
    if broken := [name for name, one in trained.items() if not bool(one.isfinite().all())]:
        found.append(f"NaN or infinite values: {shortened(broken)}")
    firsts: dict[int, str] = {}
    for name, (one, other) in alike.items():
        first = firsts.setdefault(id(other), name)
        if name != first and first not in broken and not torch.equal(one, alike[first][0]):
            found.append(f"two tensors for one that the network ties: {first} and {name}")
    return found


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _MOST
    return f"{', '.join(names[:_MOST])}{f' and {more} more' if more > 0 else ''}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """Types within which a conversion changes no more than digits."""
    return tensor.is_floating_point(), tensor.is_complex(), tensor.is_quantized
