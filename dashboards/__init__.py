"""Views of a search: tables, figures, a report, and the summary study in Optuna's dashboard.

    results = oracle.load("digits")
    write_report(results, Path("digits-report"))

Everything here is made from :class:`oracle.results.Results` and changes nothing in it.
"""

from dashboards.figures.accuracy import accuracy_figure
from dashboards.figures.cost import cost_figure
from dashboards.figures.distributions import distributions_figure
from dashboards.figures.rates import comparison_figure
from dashboards.figures.region import region_figure, slice_figure
from dashboards.figures.trainings import curves_figure, landscape_figure
from dashboards.optuna.summary_study import SummaryStudy, write_summary
from dashboards.report import report_html, write_report
from dashboards.tables.accuracy import accuracy_table
from dashboards.tables.comparison import (
    COLUMNS,
    comparison_table,
    csv_text,
    latex,
    markdown,
    terminal_table,
    to_json,
)
from dashboards.tables.paper import paper_table
from oracle.results.frames import comparison_rows

__all__ = [
    "COLUMNS",
    "SummaryStudy",
    "accuracy_figure",
    "accuracy_table",
    "comparison_figure",
    "comparison_rows",
    "comparison_table",
    "cost_figure",
    "csv_text",
    "curves_figure",
    "distributions_figure",
    "landscape_figure",
    "latex",
    "markdown",
    "paper_table",
    "region_figure",
    "report_html",
    "slice_figure",
    "terminal_table",
    "to_json",
    "write_report",
    "write_summary",
]
