"""The report of a search: one HTML page that needs no network, and tables and figures beside it as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from dashboards.attempts import attempt, failed_figure, failed_paragraph
from dashboards.figures.cost import cost_figure
from dashboards.figures.curves import curves_figure, has_curves
from dashboards.figures.distributions import distributions_figure
from dashboards.figures.landscape import landscape_figure
from dashboards.figures.rates import comparison_figure
from dashboards.figures.region import region_figure
from dashboards.figures.slices import slice_figure
from dashboards.files import images, replace_file
from dashboards.paper_width import Columns
from dashboards.report.findings import Findings
from dashboards.report.pages import figure_html, page
from dashboards.report.provenance import provenance, usage
from dashboards.tables import forms
from dashboards.tables.comparison import csv_text, latex, markdown, to_json
from dashboards.tables.latex import comment
from oracle.results import Results
from silo.errors import InvalidInput


def write_report(
    results: Results,
    folder: Path,
    *,
    kinds: Collection[str] = (),
    columns: Columns | None = None,
    cycles: Collection[int] | None = None,
) -> Path:
    """Writes ``report.html``, and ``comparison`` as Markdown, LaTeX, CSV and JSON.

    A file is replaced as a whole or not at all. What can't be shown is named in its place, and in the log.

    Args:
        results: The search; a search without decided cycles is, too.
        folder: Where to; made if it does not exist.
        kinds: Which images of each figure are written as well: ``png``, ``svg``, ``pdf``. They need kaleido
            and a browser.
        columns: As wide as one or two columns of a paper the images are; by default as on the page.
        cycles: Which cycles the tables in Markdown and LaTeX show; by default all.

    Returns:
        The path of ``report.html``.

    Raises:
        InvalidInput: The folder can't be written, or an image can't be made; the other files are there then.
    """
    report = folder / "report.html"
    figures = figures_of(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (make, instead) in _FILES.items():
            text = attempt(f"the table in {name}", partial(make, results, cycles), instead)
            replace_file(folder / name, text.encode())
        html = attempt("the report", lambda: report_html(results, figures=figures), failed_paragraph)
        replace_file(report, html.encode())
        if kinds:
            named = {f"{name}.{kind}": figure for kind in kinds for name, figure in figures.items()}
            for name, content in images(named, columns).items():
                replace_file(folder / name, content)
    except OSError as error:
        raise InvalidInput(
            f"report: {folder} can't be written ({error.strerror or error}); name another folder"
        ) from error
    return report


def _csv(results: Results, _cycles: Collection[int] | None) -> str:
    return csv_text(results)


def _json(results: Results, _cycles: Collection[int] | None) -> str:
    return json.dumps(to_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


_Text = Callable[[str], str]

_FILES: dict[str, tuple[Callable[[Results, Collection[int] | None], str], _Text]] = {
    "comparison.md": (markdown, lambda why: f"{why}\n"),
    "comparison.tex": (latex, comment),
    "comparison.csv": (_csv, lambda why: forms.csv_text({"error": "why"}, [{"error": why}])),
    "comparison.json": (_json, lambda why: json.dumps({"error": why}) + "\n"),
}
"""The tables as files, and what they hold where one fails."""


def figures_of(results: Results) -> dict[str, go.Figure]:
    """The figures that there is something to show in, in the order of the page; one that fails says why."""
    found = {
        name: attempt(f"the figure {name!r}", partial(make, results), failed_figure)
        for name, make in _FIGURES.items()
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _landscape(results: Results) -> go.Figure | None:
    return landscape_figure(results) if results.decided and results.searched else None


def _curves(results: Results) -> go.Figure | None:
    return curves_figure(results) if results.decided and has_curves(results.decided[-1]) else None


def _region(results: Results) -> go.Figure | None:
    if (fit := results.fit) is None:
        return None
    return region_figure(fit, predicted=results.predicted, title=results.name)


def _slices(results: Results) -> go.Figure | None:
    if (fit := results.fit) is None or fit.hitting is None:
        return None
    return slice_figure(fit, results.intervals_fitted, predicted=results.predicted, title=results.name)


def _cost(results: Results) -> go.Figure | None:
    return cost_figure(results) if len(results.policy_costs) > 1 else None


def _distributions(results: Results) -> go.Figure | None:
    return distributions_figure(results) if results.distributions else None


_FIGURES: dict[str, Callable[[Results], go.Figure | None]] = {
    "comparison": comparison_figure,
    "landscape": _landscape,
    "curves": _curves,
    "region": _region,
    "slices": _slices,
    "cost": _cost,
    "distributions": _distributions,
}


def report_html(results: Results, *, figures: dict[str, go.Figure] | None = None) -> str:
    """The page as a text: the verdict first, then what it rests on, then how to use and to repeat it.

    Args:
        results: The search.
        figures: Of :func:`figures_of`, if they are there already.
    """
    drawn = figures_of(results) if figures is None else figures
    plots: dict[str, Markup] = {}
    for name, figure in drawn.items():
        first = not any('class="figure"' in plot for plot in plots.values())
        plots[name] = figure_html(figure, name, with_library=first)
    found = Findings(results)
    return page(
        "report.html",
        title=found.title,
        results=results,
        found=found,
        figures=plots,
        provenance=provenance,
        usage=usage,
    )
