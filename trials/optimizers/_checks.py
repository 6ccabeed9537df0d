"""Checks of the optimizers' arguments: each returns the value or raises a one-line InvalidInput."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeGuard

from silo.errors import InvalidInput

LEAST_EPS = 1e-30
"""Far below every eps in use, and far above what float32 rounds to zero."""


def share(name: str, value: object) -> float:
    """A number in [0, 1), such as a momentum."""
    if not _is_number(value) or not 0.0 <= value < 1.0:
        raise InvalidInput(f"optimizer.{name} must lie in [0, 1), got {value!r}")
    return float(value)


def not_negative(name: str, value: object) -> float:
    """A finite number of at least 0."""
    if not _is_number(value) or not 0.0 <= value <= sys.float_info.max:
        raise InvalidInput(f"optimizer.{name} must be at least 0 and finite, got {value!r}")
    return float(value)


def eps(value: object) -> float:
    """A term to add to a denominator. Unlike torch's it can't be 0: a pruned entry's gradient and its mean
    square are both 0, and so may those of an alive one be."""
    if not _is_number(value) or not LEAST_EPS <= value <= sys.float_info.max:
        raise InvalidInput(
            f"optimizer.eps must be at least {LEAST_EPS:g} and finite, so that a gradient of zero isn't "
            f"divided by zero, got {value!r}"
        )
    return float(value)


def betas(value: object) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise InvalidInput(f"optimizer.betas must be two numbers, such as [0.9, 0.999], got {value!r}")
    return share("betas[0]", value[0]), share("betas[1]", value[1])


def flag(name: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise InvalidInput(f"optimizer.{name} must be true or false, got {value!r}")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
