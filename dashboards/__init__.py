"""What people see of a search: tables, figures, a report, and the summary study in Optuna's dashboard.

    comparison = load_comparison(ledger, ledger.search("digits"))
    write_report(comparison, Path("digits-report"), runs=ledger.runs("digits"))

Everything here is made from an ``oracle.comparison.Comparison`` or an ``oracle.analysis.Analysis`` and
changes nothing in it.
"""

from dashboards.accuracies import accuracy_figure
from dashboards.cost_figures import cost_figure
from dashboards.distribution_figures import distributions_figure
from dashboards.figures import comparison_figure, landscape_figure
from dashboards.paper import paper_table
from dashboards.region_figures import region_figure
from dashboards.report import report_html, write_report
from dashboards.side_by_side import accuracy_table
from dashboards.slice_figures import slice_figure
from dashboards.summary_study import SummaryStudy, write_summary
from dashboards.tables import (
    COLUMNS,
    comparison_rows,
    comparison_table,
    csv_text,
    latex,
    markdown,
    terminal_table,
    to_json,
)

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
