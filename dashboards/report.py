"""The report of a search: one HTML page that needs no network, and tables and figures beside it as files."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import plotly.graph_objects as go

from dashboards import _page, _provenance, _sections
from dashboards._cells import progress, subject
from dashboards.cost_figures import cost_figure
from dashboards.distribution_figures import distributions_figure
from dashboards.figure_files import images, replace_file
from dashboards.figures import comparison_figure, landscape_figure
from dashboards.region_figures import region_figure
from dashboards.slice_figures import slice_figure
from dashboards.tables import csv_text, latex, markdown, to_json
from oracle.analysis import Analysis
from silo.errors import InvalidInput


def write_report(analysis: Analysis, folder: Path, *, kinds: Collection[str] = ()) -> Path:
    """Writes ``report.html``, and ``comparison`` as Markdown, LaTeX, CSV and JSON.

    A file is replaced as a whole or not at all.

    Args:
        analysis: What is reported; a search without decided cycles is, too.
        folder: Where to; made if it does not exist.
        kinds: Which images of each figure are written as well: ``png``, ``svg``, ``pdf``. They need kaleido
            and a browser.

    Returns:
        The path of ``report.html``.

    Raises:
        InvalidInput: The folder can't be written, or an image can't be made; the other files are there then.
    """
    report, comparison = folder / "report.html", analysis.comparison
    data = json.dumps(to_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    figures = figures_of(analysis)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "comparison.md", markdown(comparison).encode())
        replace_file(folder / "comparison.tex", latex(comparison).encode())
        replace_file(folder / "comparison.csv", csv_text(comparison).encode())
        replace_file(folder / "comparison.json", f"{data}\n".encode())
        replace_file(report, report_html(analysis, figures=figures).encode())
        if kinds:
            named = {f"{name}.{kind}": figure for kind in kinds for name, figure in figures.items()}
            for name, content in images(named).items():
                replace_file(folder / name, content)
    except OSError as error:
        raise InvalidInput(
            f"report: {folder} can't be written ({error.strerror or error}); name another folder"
        ) from error
    return report


def figures_of(analysis: Analysis) -> dict[str, go.Figure]:
    """The figures that there is something to show in, in the order of the page."""
    comparison, fit = analysis.comparison, analysis.fit or analysis.comparison.fit
    found = {"comparison": comparison_figure(analysis)}
    if not comparison.rows:
        return found
    if comparison.spec.searched:
        found["landscape"] = landscape_figure(comparison)
    if fit is not None:
        found["region"] = region_figure(fit, predicted=comparison.predicted, title=comparison.name)
        if fit.hitting is not None:
            intervals = [row.interval for row in comparison.rows]
            found["slices"] = slice_figure(
                fit, intervals, predicted=comparison.predicted, title=comparison.name
            )
    if len(analysis.costs) > 1:
        found["cost"] = cost_figure(analysis)
    if analysis.distributions:
        found["distributions"] = distributions_figure(analysis)
    return found


def report_html(analysis: Analysis, *, figures: dict[str, go.Figure] | None = None) -> str:
    """The page as a text: the verdict first, then what it rests on, then how to use and to repeat it.

    Args:
        analysis: What is reported.
        figures: Of :func:`figures_of`, if they are there already.
    """
    comparison = analysis.comparison
    drawn = figures_of(analysis) if figures is None else figures
    plots = {
        name: _page.figure(figure, name, with_library=index == 0)
        for index, (name, figure) in enumerate(drawn.items())
    }
    parts = [
        _page.heading(comparison.name, level=1),
        _page.paragraph(f"{progress(comparison)} {_sections.state(analysis)}".strip(), "soft"),
        *_sections.verdict(analysis),
        *_sections.comparison(analysis, plots),
        *_sections.landscape(analysis, plots),
        *_sections.fit(analysis, plots),
        *_sections.cost(analysis, plots),
        *_sections.distributions(analysis, plots),
        *_provenance.usage_of_curves(analysis),
        *_provenance.searched(analysis),
        *_provenance.reproduction(analysis),
        *_provenance.runs(analysis),
    ]
    return _page.page(f"{comparison.name}: {subject(comparison)}", parts)
