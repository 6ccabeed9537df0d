"""What people see of a search: tables, figures, a report, and the summary study in Optuna's dashboard.

    comparison = load_comparison(ledger, ledger.search("digits"))
    write_report(comparison, Path("digits-report"), runs=ledger.runs("digits"))

Everything here is made from an ``oracle.comparison.Comparison`` and changes nothing in it.
"""

from dashboards.figures import comparison_figure, landscape_figure
from dashboards.report import report_html, write_report
from dashboards.summary_study import SummaryStudy, write_summary
from dashboards.tables import COLUMNS, comparison_rows, csv_text, markdown, terminal_table, to_json

__all__ = [
    "COLUMNS",
    "SummaryStudy",
    "comparison_figure",
    "comparison_rows",
    "csv_text",
    "landscape_figure",
    "markdown",
    "report_html",
    "terminal_table",
    "to_json",
    "write_report",
    "write_summary",
]
