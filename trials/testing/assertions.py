"""Assertions that work without a test framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def require(holds: object, message: str) -> None:
    """Raises AssertionError with a message unless something holds; ``assert`` would say nothing under -O."""
    if not holds:
        raise AssertionError(message)


def require_same(found: object, wanted: object, what: str) -> None:
    """Requires two values to be equal, and says which they are if they aren't."""
    require(found == wanted, f"{what}: {found!r}, not {wanted!r}")


def require_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], message: str) -> None:
    """Requires two sets of tensors to be the same to the last bit, in the same order; NaN equals NaN."""
    require(list(one) == list(other), f"{message}: {list(one)} and {list(other)}")
    for name, tensor in one.items():
        same = torch.equal(tensor.nan_to_num(7.0), other[name].nan_to_num(7.0))
        require(same and torch.equal(tensor.isnan(), other[name].isnan()), f"{message}: {name!r} differs")


@contextmanager
def no_global_draws(what: str) -> Iterator[None]:
    """Requires that nothing is drawn from torch's global generator."""
    before = torch.get_rng_state()
    yield
    require(torch.equal(before, torch.get_rng_state()), f"{what} draws from torch's global generator")
