"""The comparison as tables: for the terminal, for papers, for other programs.

The Markdown table has the form of Tables 10 and 11 of the SILO paper (arXiv 2212.06144) as long as it is not
too wide; a terminal gets one row per cycle.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dashboards._cells import Cells, cells, marks, progress, subject, units
from dashboards.style import RATE_UNIT_TEXT
from oracle.comparison import Comparison
from oracle.frames import COLUMNS as FRAMES
from oracle.frames import comparison_rows
from trials.secrets import without_secrets

WIDEST_PAPER_LAYOUT = 8
"""With more cycles than this, a Markdown table has one row per cycle."""

COLUMNS = FRAMES["intervals"]
"""The columns of :func:`comparison_rows` and of the CSV; rates are as they are, not in units of 1e-2."""

Column = tuple[str, Callable[[Cells], str]]


def terminal_table(comparison: Comparison) -> Table:
    """One row per cycle, at most 100 columns wide, legible without colour."""
    notes = [units(comparison), *marks(comparison, rates=False)]
    table = Table(
        title=Text(comparison.name, style="bold"),
        caption=Text("\n".join(notes) if comparison.rows else comparison.verdict()),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    columns = _legible_columns(comparison)
    for header, _ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for row in cells(comparison):
        table.add_row(*(Text(text(row)) for _, text in columns))
    return table


def markdown(comparison: Comparison) -> str:
    """Title, table, verdict, and what the marks mean.

    Up to :data:`WIDEST_PAPER_LAYOUT` cycles are columns labelled by λ, as in the paper's Tables 10 and 11;
    with more cycles each is a row.
    """
    parts = [f"# {_plain(comparison.name)}: {subject(comparison)}", progress(comparison)]
    if comparison.rows:
        wide = len(comparison.rows) > WIDEST_PAPER_LAYOUT
        parts.append(_cycles_as_rows(comparison) if wide else _cycles_as_columns(comparison))
    parts.append(f"**{comparison.verdict()}**")
    if comparison.rows:
        parts.append("\n".join(f"- {note}" for note in [units(comparison), *marks(comparison, rates=True)]))
    return "\n\n".join(parts) + "\n"


def html_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headers (of several lines) and rows of texts, not yet escaped, one row per cycle."""
    columns = _legible_columns(comparison)
    headers = [header.strip() for header, _ in columns]
    return headers, [[text(row) for _, text in columns] for row in cells(comparison)]


def csv_text(comparison: Comparison) -> str:
    """One row per decided cycle with the columns of :data:`COLUMNS`, numbers in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in comparison_rows(comparison):
        writer.writerow([_csv_cell(row[name]) for name in COLUMNS])
    return buffer.getvalue()


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Everything of the comparison, ready for JSON: what is not finite is null, passwords are hidden."""
    rows = [
        {**tidy, "candidates": [asdict(candidate) for candidate in row.candidates]}
        for tidy, row in zip(comparison_rows(comparison), comparison.rows, strict=True)
    ]
    data: dict[str, Any] = _json_able(
        {
            "name": comparison.name,
            "verdict": comparison.verdict(),
            "done": comparison.done,
            "cycles": comparison.cycles,
            "trials": comparison.trials,
            "columns": COLUMNS,
            "rows": rows,
            "predicted": comparison.predicted.to_dict() if comparison.predicted else None,
            "fit": comparison.fit.to_dict() if comparison.fit else None,
            "spec": public_spec(comparison),
        }
    )
    return data


def public_spec(comparison: Comparison) -> Any:
    """The spec as JSON-able data, without the passwords that its URLs may hold."""
    return without_secrets(comparison.spec.model_dump(mode="json"))


def _legible_columns(comparison: Comparison) -> list[Column]:
    """Headers, and what gives a column's text. Without a search there is no optimum, interval or fit."""
    searched = comparison.spec.searched
    place: list[Column] = [
        ("\ncycle\nm", lambda row: row.cycle),
        ("weights\nleft λ\n(%)", lambda row: row.density),
    ]
    found: list[Column] = [
        (f"Oracle\noptimum\n({RATE_UNIT_TEXT})", lambda row: row.optimum),
        (f"Oracle\ninterval\n({RATE_UNIT_TEXT})", lambda row: row.interval),
    ]
    stated: list[Column] = [(f"\nmax_lr\n({RATE_UNIT_TEXT})", lambda row: row.optimum)]
    reached: list[Column] = [
        ("validation\naccuracy\n(%)", lambda row: row.validation),
        ("test\naccuracy\n(%)", lambda row: row.test),
    ]
    columns = [*place, *(found if searched else stated), *reached]
    if not searched:
        return columns
    if comparison.predicted is not None:
        columns.append(
            (f"SILO\npredicted\n({RATE_UNIT_TEXT})", lambda row: f"{row.predicted} {row.predicted_inside}")
        )
    columns.append((f"SILO\nfitted\n({RATE_UNIT_TEXT})", lambda row: f"{row.fitted} {row.fitted_inside}"))
    return columns


def _cycles_as_columns(comparison: Comparison) -> str:
    lines = [
        ("λ (% of weights left)", "density"),
        ("pruning cycle m", "cycle"),
    ]
    if not comparison.spec.searched:
        lines.append((f"max_lr ({RATE_UNIT_TEXT})", "optimum"))
    else:
        lines += [
            (f"Oracle optimized max_lr ({RATE_UNIT_TEXT})", "optimum"),
            (f"Oracle optimized interval ({RATE_UNIT_TEXT})", "interval"),
        ]
        if comparison.predicted is not None:
            lines += [
                (f"SILO's estimated max_lr ({RATE_UNIT_TEXT})", "predicted"),
                ("inside?", "predicted_inside"),
            ]
        lines += [(f"fitted curve ({RATE_UNIT_TEXT})", "fitted"), ("inside?", "fitted_inside")]
    lines += [("validation accuracy (%)", "validation"), ("test accuracy (%)", "test")]
    texts = cells(comparison)
    return _markdown_table([[label, *(getattr(row, name) for row in texts)] for label, name in lines], "left")


def _cycles_as_rows(comparison: Comparison) -> str:
    headers, rows = html_table(comparison)
    return _markdown_table([[header.replace("\n", " ") for header in headers], *rows], "right")


def _markdown_table(rows: list[list[str]], first: str) -> str:
    """A table whose first row is the header; its columns are padded, so that the source is legible too."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        texts = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        if first == "left":
            texts[0] = row[0].ljust(widths[0])
        return f"| {' | '.join(texts)} |"

    rule = [f"{'-' * (width - 1)}:" for width in widths]
    if first == "left":
        rule[0] = f":{rule[0][:-1]}"
    return "\n".join([line(rows[0]), f"| {' | '.join(rule)} |", *map(line, rows[1:])])


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(map(repr, value)) if isinstance(value, list) else repr(value)


def _json_able(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_able(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*\[\]<>|&#])", r"\\\1", " ".join(text.split()))
