"""Checks of a user's values, for this package and those above it.

Each check of a number returns its plain value or raises InvalidInput with one line that names it; ``nearest``
ends such a line where a name is unknown.
"""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real

from silo.errors import InvalidInput


def finite(name: str, value: object) -> float:
    """``value`` as a float.

    Raises:
        InvalidInput: it is no real number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidInput(f"{name} must be a number, not {value!r}: give a float such as 0.05")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput(f"{name} must be finite, not {value!r}: give a float such as 0.05")
    return number


def positive(name: str, value: object) -> float:
    """``value`` as a float above 0. Raises InvalidInput otherwise."""
    number = finite(name, value)
    if number <= 0:
        raise InvalidInput(f"{name} must be above 0, not {value!r}: give a float such as 0.05")
    return number


def not_negative(name: str, value: object) -> float:
    """``value`` as a float of at least 0. Raises InvalidInput otherwise."""
    number = finite(name, value)
    if number < 0:
        raise InvalidInput(f"{name} must be at least 0, not {value!r}: give a float such as 0.05")
    return number


def pruning_rate(value: object) -> float:
    """``value`` as a share strictly between 0 and 1. Raises InvalidInput otherwise."""
    number = finite("pruning_rate", value)
    if not 0 < number < 1:
        raise InvalidInput(
            f"pruning_rate must be a share between 0 and 1, both excluded, not {value!r}: give 0.2 for 20 %"
        )
    return number


def whole(name: str, value: object) -> int:
    """``value`` as an int of at least 0.

    Raises:
        InvalidInput: it is no integer (a bool and 1.0 are none), or negative.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise InvalidInput(f"{name} must be an integer of at least 0, not {value!r}: give an int such as 1")
    return int(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice on an unknown name: the known ones, and the nearest of them where one is near."""
    names = list(known)
    near = most_alike(name, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"known are {', '.join(names)}{hint}"


def most_alike(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known name most like this one; None where none has that likeness, in [0, 1]."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the choice nearest to the name, in any case; empty if none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = most_alike(str(name).lower(), by_lower, 0.5)
    return f" (did you mean {by_lower[near]!r}?)" if near else ""
