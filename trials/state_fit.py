"""Tensors put into a network by name, all of them or with a line that says what doesn't fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

_MOST = 4
"""Names that are listed of each kind of misfit."""

_COUNTS = "num_batches_tracked"
"""A buffer of normalisation layers that older files lack; torch itself does without it, too."""


def state_names(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers by their keys in ``state_dict``; tied ones under each."""
    kept = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in kept.items() if isinstance(tensor, Tensor)}


@torch.no_grad()
def put_into(module: nn.Module, tensors: Mapping[str, Tensor], *, leave_out: Sequence[str] = ()) -> str:
    """Copies tensors into a network's parameters and buffers, converted to their types; all or none.

    Args:
        module: The network.
        tensors: Its state by the keys of ``state_dict``. One of the names of a tied tensor is enough.
        leave_out: Names and patterns of what stays as it is in the network; other tensors of these names
            aren't taken.

    Returns:
        What doesn't fit, in words; nothing was copied then. Empty if everything does.
    """
    state = state_names(module)
    taken = {name: tensor for name, tensor in tensors.items() if not matches(name, leave_out)}
    wanted = {name: tensor for name, tensor in state.items() if not matches(name, leave_out)}
    if problems := list(_problems(wanted, taken)):
        return "; ".join(problems)
    for name, tensor in wanted.items():
        if name in taken:
            tensor.copy_(taken[name])
    return ""


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of these, or matches one of these patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _problems(wanted: Mapping[str, Tensor], taken: Mapping[str, Tensor]) -> Iterator[str]:
    given = {id(wanted[name]) for name in taken if name in wanted}
    missing = [name for name, tensor in wanted.items() if id(tensor) not in given]
    if missing := [name for name in missing if not name.endswith(_COUNTS)]:
        yield f"missing: {_listed(missing)}"
    if left := [name for name in taken if name not in wanted]:
        yield f"left over: {_listed(left)}"
    both = {name: (taken[name], tensor) for name, tensor in wanted.items() if name in taken}
    shapes = {name: pair for name, pair in both.items() if pair[0].shape != pair[1].shape}
    if shapes:
        shown = [f"{name} is {_shape(one)}, not {_shape(other)}" for name, (one, other) in shapes.items()]
        yield f"other shapes: {_listed(shown)}"
    kinds = [name for name, (one, other) in both.items() if name not in shapes and _kind(one) != _kind(other)]
    if kinds:
        one, other = both[kinds[0]]
        yield f"other kinds of numbers: {_listed(kinds)} ({_type(one)}, not {_type(other)})"
    broken = [
        name
        for name, (one, other) in both.items()
        if isinstance(other, nn.Parameter) and not bool(one.isfinite().all())
    ]
    if broken:
        yield f"NaN or infinite values: {_listed(broken)}"
    firsts: dict[int, str] = {}
    for name, (one, other) in both.items():
        first = firsts.setdefault(id(other), name)
        if name not in shapes and first not in shapes and not torch.equal(one, taken[first]):
            yield f"two tensors for one that the network ties: {first} and {name}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST
    return f"{', '.join(names[:_MOST])}{f' and {more} more' if more > 0 else ''}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """Types within which a conversion changes no more than digits."""
    return tensor.is_floating_point(), tensor.is_complex()
