"""Reports: the page of a search with its tables and figures as files, and that of several searches."""

from dashboards.report.report import figures_of, report_html, write_report

__all__ = ["figures_of", "report_html", "write_report"]
