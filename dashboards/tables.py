"""The comparison as tables: for the terminal, for papers, for other programs.

Markdown and LaTeX have the form of Tables 10 and 11 of the SILO paper (arXiv 2212.06144) as long as it is not
too wide; a terminal gets one row per cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from dashboards import table_forms
from dashboards._cells import Cells, cells, marks, progress, subject, units
from dashboards.latex import comment, escaped
from dashboards.latex import latex as latex_table
from dashboards.side_by_side import WIDEST_PAPER_LAYOUT, accuracy_table
from dashboards.style import RATE_UNIT_TEXT
from dashboards.table import Cell, Table
from dashboards.table_forms import TerminalTable, heading_text, json_able, markdown_grid, markdown_text
from oracle.comparison import Comparison
from oracle.frames import COLUMNS as FRAMES
from oracle.frames import comparison_rows
from trials.secrets import without_secrets

COLUMNS = FRAMES["intervals"]
"""The columns of :func:`comparison_rows` and of the CSV; rates are as they are, not in units of 1e-2."""


def comparison_table(comparison: Comparison, *, by_row: bool | None = None, accuracies: bool = True) -> Table:
    """Optimum, interval and SILO's rates per decided cycle, in the form of the paper's Tables 10 and 11.

    Args:
        comparison: The comparison.
        by_row: Whether each cycle is a row, not a column; by default where there are more than
            :data:`~dashboards.side_by_side.WIDEST_PAPER_LAYOUT`.
        accuracies: Whether the accuracies at the optimum are shown, too.
    """
    rows = cells(comparison)
    lines = [line for line in _lines(comparison) if accuracies or not line.accuracy]
    if by_row is None:
        by_row = len(rows) > WIDEST_PAPER_LAYOUT
    if by_row:
        lines[:2] = reversed(lines[:2])
        headers = tuple(line.header for line in lines)
        body = tuple(tuple(line.cell(row) for line in lines) for row in rows)
        align, keys = "r" * len(lines), 2
    else:
        density, *others = lines
        headers = (density.label, *(row.density for row in rows))
        body = tuple((Cell(text=line.label), *map(line.cell, rows)) for line in others)
        align, keys = "l" + "r" * len(rows), 1
    return Table(
        title=f"{comparison.name}: {subject(comparison)}",
        headers=headers,
        rows=body,
        align=align,
        keys=keys,
        notes=_notes(comparison, accuracies) if rows else (comparison.verdict(),),
        columns=COLUMNS,
        records=tuple(comparison_rows(comparison)),
    )


def terminal_table(comparison: Comparison) -> TerminalTable:
    """One row per cycle, at most 100 columns wide, legible without colour."""
    table = comparison_table(comparison, by_row=True)
    if comparison.rows:
        table = replace(table, notes=(units(comparison), *marks(comparison, rates=False)))
    return TerminalTable(table=table)


def markdown(comparison: Comparison) -> str:
    """Title, table, verdict, and what the marks mean."""
    table = comparison_table(comparison)
    parts = [f"# {heading_text(table.title)}", progress(comparison)]
    if comparison.rows:
        parts.append(markdown_grid(table))
    parts.append(f"**{comparison.verdict()}**")
    if comparison.rows:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def latex(comparison: Comparison) -> str:
    """The comparison in the form of the paper's Tables 10 and 11, the accuracies in that of Tables 2 to 7.

    Both are one table where each cycle is a row. The verdict is a sentence below.
    """
    if not comparison.rows:
        return comment(f"{comparison.name}: {comparison.verdict()}")
    both = len(comparison.rows) > WIDEST_PAPER_LAYOUT
    found = [latex_table(comparison_table(comparison, accuracies=both))]
    if not both:
        title = f"{comparison.name}: test accuracy (%)"
        found.append(latex_table(replace(accuracy_table([comparison]), title=title)))
    return "\n".join([comment(progress(comparison)), *found, f"{escaped(comparison.verdict())}\n"])


def html_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headers (of several lines) and rows of texts, not yet escaped, one row per cycle."""
    table = comparison_table(comparison, by_row=True)
    return list(table.headers), [[cell.shown for cell in row] for row in table.rows]


def csv_text(comparison: Comparison) -> str:
    """One row per decided cycle with the columns of :data:`COLUMNS`, numbers in full precision."""
    return table_forms.csv_text(COLUMNS, comparison_rows(comparison))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Everything of the comparison, ready for JSON: what is not finite is null, passwords are hidden."""
    rows = [
        {**tidy, "candidates": [asdict(candidate) for candidate in row.candidates]}
        for tidy, row in zip(comparison_rows(comparison), comparison.rows, strict=True)
    ]
    data: dict[str, Any] = json_able(
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


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One fact of every cycle: its short header, its label in the paper's form, and its cell."""

    header: str
    label: str
    cell: Callable[[Cells], Cell]
    accuracy: bool = False


def _lines(comparison: Comparison) -> list[_Line]:
    """What is said of a cycle. Without a search there is no optimum, interval or fit."""
    rate = f"({RATE_UNIT_TEXT})"
    place = [
        _line("weights\nleft λ\n(%)", "λ (% of weights left)", "density"),
        _line("cycle\nm", "pruning cycle m", "cycle"),
    ]
    reached = [
        _line("validation\naccuracy\n(%)", "validation accuracy (%)", "validation", accuracy=True),
        _line("test\naccuracy\n(%)", "test accuracy (%)", "test", accuracy=True),
    ]
    if not comparison.spec.searched:
        return [*place, _line(f"max_lr\n{rate}", f"max_lr {rate}", "optimum"), *reached]
    found = [
        _line(f"Oracle\noptimum\n{rate}", f"Oracle optimized max_lr {rate}", "optimum"),
        _line(f"Oracle\ninterval\n{rate}", f"Oracle optimized interval {rate}", "interval"),
    ]
    if comparison.predicted is not None:
        label = f"SILO's estimated max_lr {rate}"
        found.append(_line(f"SILO\npredicted\n{rate}", label, "predicted", "predicted_inside"))
    found.append(_line(f"SILO\nfitted\n{rate}", f"fitted curve {rate}", "fitted", "fitted_inside"))
    return [*place, *found, *reached]


def _notes(comparison: Comparison, accuracies: bool) -> tuple[str, ...]:
    return units(comparison, accuracies=accuracies), *marks(comparison, rates=True)


def _line(header: str, label: str, text: str, mark: str = "", *, accuracy: bool = False) -> _Line:
    return _Line(
        header=header,
        label=label,
        cell=lambda row: Cell(text=getattr(row, text), mark=getattr(row, mark) if mark else ""),
        accuracy=accuracy,
    )
