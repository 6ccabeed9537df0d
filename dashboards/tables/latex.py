"""A table in LaTeX, for papers: booktabs, and nothing else that a document may lack."""

from __future__ import annotations

import re

from dashboards.tables.table import Cell, Table, header_lines, one_line

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
