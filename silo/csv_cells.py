"""The rows of a CSV file as people have them: whatever its delimiter, decimal sign and header's case."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from silo.errors import InvalidInput

_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SKIPPED = re.compile(r"(sep=.)?[\s,;]*", re.IGNORECASE)
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")
# Beyond this no two floats need be a whole number apart.
_LARGEST_WHOLE = 2**53
# Rates this close are one: 0.1 + 0.2 is 0.30000000000000004.
_SAME_RATE = 1e-9

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: where it is, and its cells by the header's names.

    Attributes:
        place: the file and the line, in words.
        line: the number of its last line.
        cells: stripped of spaces.
    """

    place: str
    line: int
    cells: dict[str, str]

    def number(self, name: str) -> float:
        """A finite number; its decimal sign may be a comma."""
        text = self.cells[name]
        number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else np.inf
        if not np.isfinite(number):
            raise InvalidInput(f"{self.place}: {name} must be a number, not {text!r}")
        return number

    def whole(self, name: str) -> int:
        """A whole number of at least 0; 3.0 is one."""
        text = self.cells[name]
        number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else -1.0
        if not (0 <= number <= _LARGEST_WHOLE and number == int(number)):
            raise InvalidInput(f"{self.place}: {name} must be a whole number of at least 0, not {text!r}")
        return int(number)

    def truth(self, name: str) -> bool:
        """True or false; an empty cell is false."""
        text = self.cells[name]
        if text.lower() not in (*_TRUE, *_FALSE):
            raise InvalidInput(f"{self.place}: {name} must be true or false, not {text!r}")
        return text.lower() in _TRUE

    def located(self, make: Callable[[], Value]) -> Value:
        """Calls ``make``, and adds the file and line to its complaint."""
        return located(self.place, make)


def read_rows(path: Path, known: Iterable[str]) -> tuple[list[str], list[Row]]:
    """The header's names, in lower case with ``_`` between words, and the rows that are not empty.

    The delimiter is the comma, semicolon or tab that finds the most names of ``known`` in the header. The
    file is UTF-8, or UTF-16 with its mark; a spreadsheet's first line ``sep=;`` is none of the header.

    Raises:
        InvalidInput: the file can't be read, or a row has more cells than the header.
    """
    try:
        raw = path.read_bytes()
        encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        lines = list(io.StringIO(raw.decode(encoding), newline=""))
        first = next((number for number, line in enumerate(lines) if not _SKIPPED.fullmatch(line)), 0)
        delimiter = _delimiter(lines[first] if lines else "", known)
        found = [
            (first + reader.line_num, [cell.strip() for cell in cells])
            for reader in [csv.reader(lines[first:], delimiter=delimiter, skipinitialspace=True)]
            for cells in reader
        ]
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: is no CSV file in UTF-8 ({error})") from error
    header = [normal(name) for name in found[0][1]] if found else []
    while header and not header[-1]:
        header.pop()
    rows = []
    for line, cells in found[1:]:
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            raise InvalidInput(
                f"{path}, line {line}: has more cells than the header's {len(header)}: where a comma is the "
                "decimal sign, put ; between cells"
            )
        padded = cells + [""] * len(header)
        rows.append(
            Row(place=f"{path}, line {line}", line=line, cells=dict(zip(header, padded, strict=False)))
        )
    return header, rows


def normal(name: str) -> str:
    """``Max LR`` and ``max-lr`` are ``max_lr``."""
    return "_".join(re.split(r"[\s_-]+", name.strip().lower()))


def _delimiter(header: str, known: Iterable[str]) -> str:
    names = set(known)

    def score(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
        return len(names & {normal(cell) for cell in cells}), len(cells)

    return max(_DELIMITERS, key=score)


def same_rates(rates: Sequence[float]) -> dict[float, float]:
    """For each rate the one that it stands for: of those within a billionth, that with the fewest digits."""
    ordered = np.unique(np.array(rates, dtype=np.float64))
    apart = np.flatnonzero(np.diff(ordered) > _SAME_RATE * np.abs(ordered[1:])) + 1
    groups = [group.tolist() for group in np.split(ordered, apart)]
    return {rate: min(group, key=lambda one: len(repr(one))) for group in groups for rate in group}


def located(place: str, make: Callable[[], Value]) -> Value:
    """Calls ``make``, and adds the place to its complaint."""
    try:
        return make()
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error}") from None
