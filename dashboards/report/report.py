"""The report of a search: one HTML page that needs no network, and tables and figures beside it as files."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import plotly.graph_objects as go

from dashboards.figures.cost import cost_figure
from dashboards.figures.distributions import distributions_figure
from dashboards.figures.landscape import landscape_figure
from dashboards.figures.rates import comparison_figure
from dashboards.figures.region import region_figure
from dashboards.figures.slices import slice_figure
from dashboards.files import images, replace_file
from dashboards.report.findings import findings
from dashboards.report.pages import figure_html, page
from dashboards.report.provenance import provenance
from dashboards.tables.comparison import csv_text, latex, markdown, to_json
from oracle.results import Results
from silo.errors import InvalidInput


def write_report(results: Results, folder: Path, *, kinds: Collection[str] = ()) -> Path:
    """Writes ``report.html``, and ``comparison`` as Markdown, LaTeX, CSV and JSON.

    A file is replaced as a whole or not at all.

    Args:
        results: The search; a search without decided cycles is, too.
        folder: Where to; made if it does not exist.
        kinds: Which images of each figure are written as well: ``png``, ``svg``, ``pdf``. They need kaleido
            and a browser.

    Returns:
        The path of ``report.html``.

    Raises:
        InvalidInput: The folder can't be written, or an image can't be made; the other files are there then.
    """
    report = folder / "report.html"
    data = json.dumps(to_json(results), indent=2, ensure_ascii=False, allow_nan=False)
    figures = figures_of(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "comparison.md", markdown(results).encode())
        replace_file(folder / "comparison.tex", latex(results).encode())
        replace_file(folder / "comparison.csv", csv_text(results).encode())
        replace_file(folder / "comparison.json", f"{data}\n".encode())
        replace_file(report, report_html(results, figures=figures).encode())
        if kinds:
            named = {f"{name}.{kind}": figure for kind in kinds for name, figure in figures.items()}
            for name, content in images(named).items():
                replace_file(folder / name, content)
    except OSError as error:
        raise InvalidInput(
            f"report: {folder} can't be written ({error.strerror or error}); name another folder"
        ) from error
    return report


def figures_of(results: Results) -> dict[str, go.Figure]:
    """The figures that there is something to show in, in the order of the page."""
    fit = results.fit
    found = {"comparison": comparison_figure(results)}
    if not results.decided:
        return found
    if results.searched:
        found["landscape"] = landscape_figure(results)
    if fit is not None:
        found["region"] = region_figure(fit, predicted=results.predicted, title=results.name)
        if fit.hitting is not None:
            found["slices"] = slice_figure(
                fit, results.intervals_fitted, predicted=results.predicted, title=results.name
            )
    if len(results.policy_costs) > 1:
        found["cost"] = cost_figure(results)
    if results.distributions:
        found["distributions"] = distributions_figure(results)
    return found


def report_html(results: Results, *, figures: dict[str, go.Figure] | None = None) -> str:
    """The page as a text: the verdict first, then what it rests on, then how to use and to repeat it.

    Args:
        results: The search.
        figures: Of :func:`figures_of`, if they are there already.
    """
    drawn = figures_of(results) if figures is None else figures
    plots = {
        name: figure_html(figure, name, with_library=index == 0)
        for index, (name, figure) in enumerate(drawn.items())
    }
    return page("report.html", results=results, figures=plots, **findings(results), **provenance(results))
