"""The values that a row may hold: whatever else stands in one, the row was damaged or edited.

Who reads a row checks it here, and nothing is decided on what is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oracle.errors import Refused
from silo.errors import InvalidInput

MOST = 2**63 - 1
"""The largest whole number that tables and frames take."""

LATEST = 9e9
"""The latest time, in seconds since 1970, that every calendar takes: in the year 2255."""

_KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
    str: ("a text", (str,)),
    dict: ("an object", (dict,)),
    list: ("a list", (list,)),
}
_LONGEST = 60


class DamagedValue(ValueError):
    """A value that can't stand where it does; the message says why."""


class Broken:
    """Stands for a text that is no JSON."""

    def __init__(self, text: object) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"{self._text!r}, which is no JSON"


def parsed(text: Any) -> Any:
    """The value of a JSON text; :class:`Broken` if it is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return Broken(text)


def checked(
    name: str,
    value: Any,
    kind: type,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    finite: bool = True,
) -> Any:
    """A value of a row.

    Args:
        name: What it is called.
        value: The value.
        kind: ``int``, ``float``, ``bool``, ``str``, ``dict`` or ``list``.
        low: The least that a number may be.
        high: The most; of whole numbers at most :data:`MOST`.
        finite: Whether a number must be finite; else None stands for NaN.

    Raises:
        DamagedValue: It is of another kind, or out of range.
    """
    words, types = _KINDS[kind]
    if not finite and value is None:
        return math.nan
    if type(value) not in types or (kind is str and not _is_text(value)):
        raise DamagedValue(f"{name} is {_shown(value)}, not {words}")
    if kind not in (int, float):
        return value
    if kind is float:
        value = float(value) if abs(value) < 2**1000 else math.copysign(math.inf, value)
    if not (math.isfinite(value) or not finite):
        raise DamagedValue(f"{name} is {_shown(value)}, which is not finite")
    high = min(high, MOST) if kind is int else high
    if not (low <= value <= high) and (finite or not math.isnan(value)):
        raise DamagedValue(f"{name} is {_shown(value)}, not in [{low:g}, {high:g}]")
    return value


@contextmanager
def reading(search: str, row: str) -> Iterator[None]:
    """Makes what is wrong with a row one line that names it.

    Args:
        search: The search.
        row: The row in words, and what would do: "cycle 3, trial 5 of study 's/cycle-03'; delete it".

    Raises:
        Refused: A value is damaged, or missing.
    """
    try:
        yield
    except (DamagedValue, InvalidInput) as damaged:
        why = str(damaged)
    except KeyError as missing:
        why = f"{missing.args[0]} is missing"
    else:
        return
    place, _, would_do = row.partition("; ")
    raise Refused(f"ledger: search {search!r}, {place}: {why}; {would_do or 'put back what was there'}")


def _is_text(value: str) -> bool:
    """Whether it can be written to a file: a lone half of a surrogate pair can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
