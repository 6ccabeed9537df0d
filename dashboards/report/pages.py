"""HTML pages from templates: every text is escaped, whoever wrote it, and nothing is fetched."""

from __future__ import annotations

from functools import cache

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dashboards.attempts import attempt, failed_paragraph, section
from dashboards.tables.table import Table


def page(template: str, **content: object) -> str:
    """A page of one of the templates."""
    return _templates().get_template(template).render(content)


def figure_html(drawn: go.Figure, name: str, *, with_library: bool) -> Markup:
    """A figure; the page's first one brings plotly's library along. The page's style inverts it in the dark.

    One that can't be written says so in its place.
    """
    return attempt(
        f"the figure {name!r}", lambda: _figure(drawn, name, with_library=with_library), failed_paragraph
    )


def _figure(drawn: go.Figure, name: str, *, with_library: bool) -> Markup:
    html = drawn.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        div_id=f"{name}-figure",
        config={"displaylogo": False, "modeBarButtons": [["toImage", "resetScale2d"]], "responsive": True},
    )
    return Markup('<div class="figure">{}</div>').format(Markup(html))


def table_html(table: Table) -> str:
    """A table, scrolling sideways where the page is too narrow, and its notes."""
    parts = _templates().get_template("parts.html").module
    return str(parts.full_table(table)).strip()  # type: ignore[attr-defined]


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("dashboards.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals["section"] = section
    return found
