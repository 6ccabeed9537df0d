"""A table as data: what it says, not how it looks in a terminal, in a paper or on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: Any text; whoever writes the table escapes it.
        mark: What follows the text at a distance, such as ✓; empty without one.
        bold: Whether it stands out among those that it is compared with.
    """

    text: str
    mark: str = ""
    bold: bool = False

    @property
    def shown(self) -> str:
        """Text and mark, without emphasis."""
        return f"{self.text} {self.mark}".strip()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells below headers, with what is to be said about them.

    Attributes:
        title: A line.
        headers: One per column, of several lines where it has line ends; the lowest lines stand side by side.
        rows: As many cells as there are headers in each.
        align: A letter per column: ``l`` for words, ``r`` for numbers.
        keys: How many columns, from the left, say what a row is about.
        notes: Sentences below the table.
        bold_means: What the bold cells are; empty if there are none.
        columns: The keys of ``records``, with what each means.
        records: The same as tidy rows with numbers in full precision: for CSV, JSON and data frames.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    align: str
    keys: int = 1
    notes: tuple[str, ...] = ()
    bold_means: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    records: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        assert len(self.align) == len(self.headers) and set(self.align) <= {"l", "r"}
        assert all(len(row) == len(self.headers) for row in self.rows)
        assert 0 < self.keys <= len(self.headers)


def texts(*values: str) -> tuple[Cell, ...]:
    """Plain cells."""
    return tuple(Cell(text=value) for value in values)


def header_lines(headers: Sequence[str]) -> list[list[str]]:
    """The headers line by line, the short ones filled up with empty lines from above."""
    parted = [header.split("\n") for header in headers]
    height = max(map(len, parted))
    filled = [[""] * (height - len(lines)) + lines for lines in parted]
    return [[lines[i] for lines in filled] for i in range(height)]


def one_line(text: str) -> str:
    """A text without line ends and without what can't be printed."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
