"""A table as data, and its forms: for the terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text


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


BEST = "*"
"""The sign behind a bold cell in a terminal, which may have no bold letters."""

_WIDEST_KEYS = 0.4
_WIDEST_HEADER = 20
_BETWEEN = 3
_IN_BRACKETS = re.compile(r"\[[^]]*\]")


@dataclass(frozen=True, kw_only=True)
class TerminalTable:
    """A table for ``rich``: one below the other, where the terminal is too narrow for all columns at once.

    Attributes:
        table: The table.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(one_line(self.table.title), style="bold")
        for block in _blocks(self.table, options.max_width):
            yield _rich(self.table, block)
        notes = [*_bold_note(self.table, BEST), *map(one_line, self.table.notes)]
        yield from (Text(note, style="dim") for note in notes)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


def markdown(table: Table, *, level: int = 2) -> str:
    """Title, table and notes; ends with a line end.

    Args:
        table: The table.
        level: Of the title among the document's headings.
    """
    notes = [*_bold_note(table, "**Bold**"), *map(markdown_text, table.notes)]
    parts = [f"{'#' * level} {heading_text(table.title)}", markdown_grid(table)]
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def markdown_grid(table: Table) -> str:
    """The table alone; its columns are padded, so that the source is legible too."""
    rows = [[markdown_text(header) for header in table.headers]]
    rows += [[_markdown_cell(cell) for cell in row] for row in table.rows]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(table.headers))]

    def line(row: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if side == "l" else text.rjust(width)
            for text, width, side in zip(row, widths, table.align, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        f":{'-' * (width - 1)}" if side == "l" else f"{'-' * (width - 1)}:"
        for width, side in zip(widths, table.align, strict=True)
    ]
    return "\n".join([line(rows[0]), f"| {' | '.join(rule)} |", *map(line, rows[1:])])


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, in a table or in a sentence.

    Brackets are left alone unless they would make a link, underscores unless they would make emphasis.
    """
    escaped = re.sub(r"([\\`*<>|&~])", r"\\\1", one_line(text))
    escaped = re.sub(r"\](?=[(\[:])", r"\\]", escaped)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)


def heading_text(text: str) -> str:
    """A text that Markdown shows as it is, as a heading."""
    return re.sub(r"([\\`*\[\]<>|&#])", r"\\\1", one_line(text))


def csv_text(columns: Iterable[str], records: Iterable[Mapping[str, Any]]) -> str:
    """Tidy rows as CSV: numbers in full precision, nothing where there is none, ``;`` inside lists."""
    names = list(columns)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        writer.writerow([_csv_cell(record[name]) for name in names])
    return buffer.getvalue()


def json_able(value: Any) -> Any:
    """Data as JSON takes it: what is not finite is null, tuples are lists, keys are texts."""
    if isinstance(value, Mapping):
        return {str(key): json_able(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_able(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(table: Table) -> dict[str, Any]:
    """The table's tidy rows and what their columns mean, ready for JSON."""
    return {
        "title": table.title,
        "notes": list(table.notes),
        "columns": dict(table.columns),
        "rows": json_able(table.records),
    }


def _headers(table: Table) -> list[str]:
    """The headers; of numbers' columns the long lines are folded into pieces that there is room for."""
    return [
        "\n".join(
            piece
            for line in header.split("\n")
            for piece in ([one_line(line)] if side == "l" else _folded(one_line(line)))
        )
        for header, side in zip(table.headers, table.align, strict=True)
    ]


def _folded(line: str) -> list[str]:
    """Pieces of a header; what is in brackets, as ``[Table 2]``, stays together."""
    whole = _IN_BRACKETS.sub(lambda found: found[0].replace(" ", "\xa0"), line)
    return [piece.replace("\xa0", " ") for piece in textwrap.wrap(whole, _WIDEST_HEADER)] or [""]


def _terminal_rows(table: Table) -> list[list[Text]]:
    """Each row's texts; where a column has a best, the others leave its sign's place free."""
    signs = [any(cell.bold for cell in column) for column in zip(*table.rows, strict=True)]
    return [
        [
            Text(
                one_line(cell.shown) + ((f" {BEST}" if cell.bold else "  ") if sign else ""),
                style="bold" if cell.bold else "",
            )
            for cell, sign in zip(row, signs, strict=True)
        ]
        for row in table.rows
    ]


def _blocks(table: Table, width: int) -> list[list[int]]:
    """Which columns stand side by side; each block begins with the keys."""
    rows = [[Text(header) for header in _headers(table)], *_terminal_rows(table)]
    needed = [
        _BETWEEN + max(cell_len(line) for text in column for line in text.plain.split("\n"))
        for column in zip(*rows, strict=True)
    ]
    head, room = list(range(table.keys)), width - 1
    room -= min(sum(needed[: table.keys]), round(_WIDEST_KEYS * width))
    blocks, left = [head[:]], room
    for i in range(table.keys, len(needed)):
        if needed[i] > left and len(blocks[-1]) > table.keys:
            blocks.append(head[:])
            left = room
        blocks[-1].append(i)
        left -= needed[i]
    return blocks


def _rich(table: Table, block: list[int]) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1))
    headers = _headers(table)
    lines = header_lines([headers[i] for i in block])
    for i, header in zip(block, zip(*lines, strict=True), strict=True):
        words = table.align[i] == "l"
        made.add_column(
            Text("\n".join(header)),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
        )
    for row in _terminal_rows(table):
        made.add_row(*(row[i] for i in block))
    return made


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return f"{f'**{text}**' if cell.bold else text} {markdown_text(cell.mark)}".strip()


def _bold_note(table: Table, word: str) -> list[str]:
    return [f"{word}: {table.bold_means}."] if table.bold_means else []


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return one_line(value)
    return ";".join(map(repr, value)) if isinstance(value, list) else repr(value)


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≈": r"$\approx$",
    "−": "$-$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "√": r"$\surd$",
    "∞": r"$\infty$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "²": "$^2$",
}
_LIGATURES = re.compile(r"-(?=-)|[?!](?=`)|`(?=`)|'(?=')|,(?=,)")
_POWER = re.compile(r"×1e(-?\d+)")

_LONGEST_LABEL = 40
_TEXT_WIDTH = 345.0
_SIZES = (("normalsize", 1.0), ("small", 0.92), ("footnotesize", 0.85), ("scriptsize", 0.75))
_COLUMN_GAP = 8.0
"""Points: the text of LaTeX's article, its sizes for 10 points, twice the tables' ``\\tabcolsep``."""


def latex(table: Table) -> str:
    """A ``table`` that stands in any document with ``\\usepackage{booktabs}``; every text is escaped.

    The letters get smaller where the table is wide; one that is wider still is centred and juts out at both
    sides alike. The check mark is amssymb's where a document has it, else a root sign.
    """
    checks = any("✓" in text for text in _all_texts(table))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[htbp]",
        r"\centering",
        *([r"\providecommand{\checkmark}{\surd}"] if checks else []),
        rf"\caption{{{escaped(table.title)}}}",
        rf"\label{{tab:{_slug(table.title)}}}\smallskip",
        rf"\{_size(table)}\setlength{{\tabcolsep}}{{{_COLUMN_GAP / 2:g}pt}}",
        r"\makebox[\linewidth][c]{%",
        rf"\begin{{tabular}}{{@{{}}{table.align}@{{}}}}",
        r"\toprule",
        *(_line([escaped(text) for text in line]) for line in header_lines(table.headers)),
        r"\midrule",
        *(_line([_of_cell(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *_notes(table),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A text that LaTeX sets as it is. Letters of other scripts are left to the document's own packages."""
    with_powers = _POWER.split(one_line(text))
    parts = [
        rf"$\times 10^{{{part}}}$" if index % 2 else _escaped(part) for index, part in enumerate(with_powers)
    ]
    return "".join(parts)


def comment(text: str) -> str:
    """A line that LaTeX skips."""
    return f"% {one_line(text)}\n"


def _escaped(text: str) -> str:
    apart = _LIGATURES.sub(lambda found: f"{found[0]}\0", text)
    return "".join("{}" if char == "\0" else _SPECIAL.get(char, char) for char in apart)


def _of_cell(cell: Cell) -> str:
    text = escaped(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return f"{text}~{escaped(cell.mark)}" if cell.mark else text


def _line(parts: list[str]) -> str:
    """A row. What begins with a bracket would be taken for an argument of the line before."""
    text = " & ".join(parts)
    return f"{'{}' if text[:1] in '[(*' else ''}{text} \\\\"


def _notes(table: Table) -> list[str]:
    found = [rf"\textbf{{Bold}}: {escaped(table.bold_means)}."] if table.bold_means else []
    found += [escaped(note) for note in table.notes]
    if not found:
        return []
    return [
        r"",
        r"\medskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        "\\par\n".join(found),
        r"\end{minipage}",
    ]


def _size(table: Table) -> str:
    width = _width(table)
    return next((name for name, scale in _SIZES if width * scale <= _TEXT_WIDTH), _SIZES[-1][0])


def _width(table: Table) -> float:
    """About how wide the table is in letters of 10 points, in points."""
    columns = [header.split("\n") for header in table.headers]
    for row in table.rows:
        for column, cell in zip(columns, row, strict=True):
            column.append(cell.shown)
    widest = [max(_text_width(text) for text in column) for column in columns]
    return sum(widest) + _COLUMN_GAP * (len(widest) - 1)


def _text_width(text: str) -> float:
    """Computer Modern: digits are half an em, punctuation is narrow, most letters are in between."""
    return sum(2.8 if char in " .,:;[]()il'!|" else 7.8 if char in "±×≤≥✓✗mwMW%" else 5.0 for char in text)


def _slug(title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower())
    return words[:_LONGEST_LABEL].strip("-") or "table"


def _all_texts(table: Table) -> list[str]:
    cells = [part for row in table.rows for cell in row for part in (cell.text, cell.mark)]
    return [table.title, *table.headers, *cells, *table.notes, table.bold_means]
