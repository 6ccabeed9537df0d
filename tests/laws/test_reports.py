"""Whatever a search has found, all that is shown of it is shown: no figure, table or sentence fails.

By default the same few each time; ``ORACLE_TESTS_THOROUGH=1`` takes two hundred others.
"""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from dashboards.figures.fit_view import FitView, fit_figure, fit_table
from dashboards.optuna.summary_study import summary_attributes
from dashboards.report import figures_of, report_html
from dashboards.tables.comparison import csv_text, latex, markdown, terminal_table, to_json
from tests.effort import THOROUGH, tries
from tests.laws.searches import small_searches


@pytest.mark.timeout(600 * tries(1))
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a search that fails
@settings(
    max_examples=tries(20),
    derandomize=not THOROUGH,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(small_searches())
def test_whatever_was_found_is_shown(results):
    for drawn in figures_of(results).values():
        json.loads(drawn.to_json())
    html = report_html(results)
    assert html.rstrip().endswith("</html>")
    assert markdown(results) and latex(results) and csv_text(results)
    json.dumps(to_json(results), allow_nan=False)
    terminal_table(results)
    assert results.verdict() and summary_attributes(results, "done")
    results.advice_text(), results.gpus_text()
    results.frames()
    if results.fit is not None:
        view = FitView(
            title=results.name,
            intervals=results.intervals_found,
            fit=results.fit,
            rivals=results.rival_curves,
            beliefs=results.beliefs,
            curve=results.predicted,
        )
        fit_figure(view), fit_table(view)
        assert view.verdict()
