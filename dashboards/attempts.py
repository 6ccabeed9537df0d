"""What fails of all that is shown takes nothing else with it: its place says why."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable
from typing import TypeVar

import plotly.graph_objects as go
from jinja2.runtime import Macro
from markupsafe import Markup

from dashboards.style import say, template
from dashboards.tables.table import Table

T = TypeVar("T")

_WIDTH, _HEIGHT = 90, 180


def attempt(what: str, make: Callable[[], T], instead: Callable[[str], T]) -> T:
    """Makes something to be shown, or what stands in its place.

    Args:
        what: What it is, such as ``"the figure 'region'"``.
        make: Makes it.
        instead: Makes what stands in its place, of a sentence that says why.
    """
    try:
        return make()
    except Exception as error:
        return instead(failed(what, error))


def failed(what: str, error: Exception) -> str:
    """A sentence on something that can't be shown; it is logged, too."""
    reason = " ".join(str(error).split())[:300] or "no reason given"
    text = f"{what} can't be shown ({type(error).__name__}: {reason})"
    logger = logging.getLogger("oracle")
    logger.warning("%s; all else is there, and no result is lost", text)
    logger.debug("where it failed:", exc_info=error)
    return f"{text[0].upper()}{text[1:]}."


def failed_figure(text: str) -> go.Figure:
    """A figure that only says why there is none."""
    figure = go.Figure(layout={"template": template(), "height": _HEIGHT})
    say(figure, "<br>".join(textwrap.wrap(text.replace("<", "‹"), _WIDTH)))
    return figure


def failed_table(title: str, text: str) -> Table:
    """A table that only says why there is none."""
    columns = {"error": "why there is no table"}
    return Table(
        title=title,
        headers=("",),
        rows=(),
        align="l",
        notes=(text,),
        columns=columns,
        records=({"error": text},),
    )


def section(what: str, caller: Macro) -> Markup:
    """A section of a page, for ``{% call section("…") %}`` in its template."""
    return attempt(what, lambda: Markup(caller()), failed_paragraph)


def failed_paragraph(text: str) -> Markup:
    """A paragraph that says why something isn't there."""
    return Markup('<p class="soft">{}</p>').format(text)
