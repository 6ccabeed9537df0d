"""The parts of the report's HTML page. Every text is escaped here, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5c5f66; --paper: #ffffff; --card: #f5f6f8;
        --line: #d9dce1; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --soft: #a6a9b0; --paper: #16181c; --card: #20242a; --line: #3a3f47;
          --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 24px 20px 56px; background: var(--paper);
       color: var(--ink); font: 16px/1.55 "DejaVu Sans", Verdana, Arial, sans-serif; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 10px; }
p { margin: 8px 0; }
.soft, li, summary { color: var(--soft); font-size: 0.875rem; }
li { margin: 4px 0; overflow-wrap: anywhere; }
ul { margin: 8px 0; padding-left: 20px; }
.verdict { margin: 18px 0 0; padding: 14px 18px; background: var(--card); font-size: 1.05rem;
           border-left: 4px solid var(--accent); border-radius: 4px; }
.figure { background: #ffffff; border: 1px solid var(--line); border-radius: 6px; padding: 8px;
          margin: 10px 0; overflow: hidden; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.84rem; font-variant-numeric: tabular-nums; }
.wide { width: 100%; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
.wide th { white-space: pre; }
th.left, td.left { text-align: left; }
.words th, .words td { text-align: left; vertical-align: top; }
.words td:last-child { white-space: normal; min-width: 150px; overflow-wrap: anywhere; }
.named th:first-child, .named td:first-child { text-align: left; }
.facts td:first-child { color: var(--soft); }
.facts thead { display: none; }
tbody tr:last-child td { border-bottom: 0; }
pre { margin: 8px 0; padding: 12px 14px; background: var(--card); border-radius: 6px;
      white-space: pre-wrap; overflow-wrap: anywhere;
      font: 0.84rem/1.5 "DejaVu Sans Mono", Menlo, Consolas, monospace; }
@media (max-width: 700px) { body { padding: 16px 10px 40px; } th, td { padding: 4px 3px; }
  table, pre { font-size: 0.7rem; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } .figure, table { break-inside: avoid; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page; nothing in it is fetched from elsewhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n'
        "<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; ``kind`` is its CSS class."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """A list, or nothing if there is nothing to list."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def code(text: str) -> str:
    """A block of code."""
    return f"<pre>{escape(text)}</pre>"


def folded(summary: str, text: str) -> str:
    """A block of code that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{code(text)}</details>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls sideways where the page is too narrow; ``kind`` is its CSS class."""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    opening = f'<table class="{kind}">' if kind else "<table>"
    return f'<div class="scroll">{opening}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(drawn: go.Figure, name: str, *, with_library: bool) -> str:
    """A figure on white in any colour scheme; the page's first one brings plotly's library along."""
    html = drawn.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        div_id=f"{name}-figure",
        config={"displaylogo": False, "modeBarButtons": [["toImage", "resetScale2d"]], "responsive": True},
    )
    return f'<div class="figure">{html}</div>'
