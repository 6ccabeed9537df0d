"""Bounds of what a spec may ask for, and of its text, looked at before anything is built of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    NodeEvent,
    ScalarEvent,
)

from silo.errors import InvalidInput

MOST = 10_000
"""Most cycles, replicates, rates, or cores of a worker: what is beyond was mistyped, and would never end."""

MOST_PARTS = 1_000
"""Most variants, observers, or names of weights."""

MOST_STEPS = 20_000_000
"""Most epochs or iterations of a training, for the same reason."""

LARGEST_BATCH = 100_000_000
"""Most examples of a step."""

LONGEST_LIMIT = 1e9
"""Seconds, some 30 years: what waits so long needs no limit."""

LARGEST_SEED = 2**64 - 1
"""Seeds of random generators are no larger."""

LARGEST = 1_048_576
"""Bytes of a spec."""

DEEPEST = 50
"""Lists and mappings inside each other."""

MOST_VALUES = 100_000
"""Values of a spec, those that aliases stand for counted each time."""

LONGEST_NUMBER = 400
"""Digits: more than the largest number that a computer calculates with has."""

_NUMBER = re.compile(r"[-+.]?\d[\w.+-]*")


def check_bounds(text: str) -> None:
    """Looks at a text without building what it says.

    Raises:
        InvalidInput: It is too large, too deep, or stands for too much; the message begins with the line.
        MarkedYAMLError: It is no YAML.
    """
    if len(text) > LARGEST:
        raise InvalidInput(f"has more than {LARGEST:,} characters; a spec has a few hundred lines")
    counted = _Counted()
    events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
    for event in events:
        if problem := counted.problem(event):
            raise InvalidInput(f"line {event.start_mark.line + 1}: {problem}")


def check_size(data: Any) -> None:
    """Looks at lists and mappings that were built elsewhere, such as in Python.

    Raises:
        InvalidInput: As :func:`check_bounds`.
    """
    waiting, values = [(data, 0)], 0
    while waiting:
        each, depth = waiting.pop()
        values += 1
        if depth > DEEPEST:
            raise InvalidInput(f"lists and mappings lie more than {DEEPEST} deep inside each other")
        if values > MOST_VALUES:
            raise InvalidInput(f"has more than {MOST_VALUES:,} values")
        if isinstance(each, int) and abs(each) >= 10**LONGEST_NUMBER:
            raise InvalidInput(f"has a number of more than {LONGEST_NUMBER} digits")
        if isinstance(each, Mapping):
            waiting += [(value, depth + 1) for value in each.values()]
        elif isinstance(each, list | tuple):
            waiting += [(value, depth + 1) for value in each]


class _Counted:
    """What the events so far stand for."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = []  # anchor, values before
        self._anchored: dict[str, int] = {}
        self._values = 0

    def problem(self, event: Any) -> str | None:
        """What is wrong with the next event, if anything is."""
        if isinstance(event, CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._anchored[anchor] = self._values - before
            return None
        if not isinstance(event, NodeEvent):
            return None
        if isinstance(event, AliasEvent):
            if event.anchor in (anchor for anchor, _ in self._open):
                return f"*{event.anchor} stands inside what it stands for"
            self._values += self._anchored.get(event.anchor, 1)
        else:
            self._values += 1
        if self._values > MOST_VALUES:
            return f"it stands for more than {MOST_VALUES:,} values, aliases included: take fewer"
        if isinstance(event, ScalarEvent):
            if event.anchor is not None:
                self._anchored[event.anchor] = 1
            if event.style is None and len(event.value) > LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
                return f"a number of {len(event.value):,} digits; at most {LONGEST_NUMBER} are taken"
        if isinstance(event, CollectionStartEvent):
            self._open.append((event.anchor, self._values - 1))
            if len(self._open) > DEEPEST:
                return f"lists and mappings lie more than {DEEPEST} deep inside each other"
        return None
