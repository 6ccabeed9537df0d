"""Columns of a table as data: a name, a type, a meaning, and where in a row the value comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

INT, FLOAT, TRUTH, MAYBE, TEXT, TIME = "int64", "float64", "bool", "boolean", "string", "datetime64[us, UTC]"

Parts = Mapping[str, Any]
"""The parts of a row by name; ``row`` is the object that it is about."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        kind: Its type.
        meaning: What it holds, with its unit.
        place: Dotted path of its value from a row's parts, or from what the row is about; by default the
            column's name.
    """

    kind: str
    meaning: str
    place: str = ""


Columns = dict[str, Column]


def records(rows: Iterable[Parts], columns: Columns) -> list[dict[str, Any]]:
    """A dict per row."""
    return [{name: _value(row, each.place or name) for name, each in columns.items()} for row in rows]


def _value(parts: Parts, place: str) -> Any:
    """The value at a dotted path; None where something on the way is not there, or it is an empty text."""
    first, *rest = place.split(".")
    value = parts[first] if first in parts else getattr(parts["row"], first, None)
    for name in rest:
        value = None if value is None else getattr(value, name)
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


def series(values: list[Any], kind: str) -> pd.Series[Any]:
    """A column of a frame; what is None is missing, what is several is a text."""
    import pandas as pd

    if kind == TIME:
        values = [None if value is None else datetime.fromtimestamp(value, UTC) for value in values]
    elif kind == TEXT:
        values = [_listed(value) if isinstance(value, tuple) else value for value in values]
    return pd.Series(values, dtype=kind)


def _listed(values: Iterable[float | None]) -> str | None:
    """``0.01;0.02``, nothing between where one is not known; None where there are no values."""
    return ";".join("" if value is None else repr(value) for value in values) or None
