"""What fails of a report says so in its place, and takes nothing else with it."""

import json
import logging
from dataclasses import replace

import pytest

from dashboards.optuna.summary_study import _figures, _note
from dashboards.report import figures_of, report_html, write_report
from dashboards.report.compare_report import compare_report, report_text
from dashboards.report.report import _FIGURES, _FILES
from tests.dashboards.test_report import Page
from tests.oracle.invented import invent, write_ledger

pytestmark = pytest.mark.shows_failures


def broken(*_, **__):
    raise ValueError("min() <arg> is\nempty")


WHY = "can't be shown (ValueError: min() <arg> is empty)"


@pytest.fixture(scope="module")
def two_rates(make_results):
    """What a first try gives: two rates, each the best of a cycle, at either end of the grid."""
    grid = {"values": [0.02, 0.2], "extend": False}
    best = {0: 0.02, 1: 0.2}
    return make_results(
        lambda cycle, _, rate: 0.9 if rate == best[cycle] else 0.7,
        grid=grid,
        cycles=2,
        replicates=1,
        silo=None,
    )


def test_two_cycles_at_either_end_of_two_rates(two_rates):
    assert [i.low_cut or i.high_cut for i in two_rates.intervals_found] == [True, True]
    slices = figures_of(two_rates)["slices"]
    assert "rises by more than is shown" in slices.layout.annotations[0].text


@pytest.mark.parametrize("name", _FIGURES)
def test_a_figure_that_fails_says_so_in_its_place(two_rates, monkeypatch, caplog, tmp_path, name):
    monkeypatch.setitem(_FIGURES, name, broken)
    page = write_report(two_rates, tmp_path).read_text()
    words = Page(page).words
    assert f'id="{name}-figure"' in page or name == "distributions"
    assert "How to reproduce it" in words and two_rates.verdict() in words
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1 and f"the figure '{name}' {WHY}; all else is there" in said[0]
    drawn = figures_of(two_rates)
    assert "empty" in drawn[name].layout.annotations[0].text and "<arg" not in drawn[name].to_json()
    assert all(figure.data for other, figure in drawn.items() if other not in (name, "slices"))


def test_a_figure_that_cannot_be_written_either(two_rates, monkeypatch):
    drawn = figures_of(two_rates)
    monkeypatch.setattr(drawn["comparison"], "to_html", broken, raising=False)
    html = report_html(two_rates, figures=drawn)
    assert f"The figure 'comparison' {WHY}." in Page(html).words
    assert html.count("plotly.js v") == 1  # with the next one


@pytest.mark.parametrize("name", _FILES)
def test_a_table_that_fails_says_so_in_its_file(two_rates, monkeypatch, tmp_path, name):
    monkeypatch.setitem(_FILES, name, (broken, _FILES[name][1]))
    write_report(two_rates, tmp_path)
    text = (tmp_path / name).read_text()
    assert "ValueError" in text and "\n" not in text.partition("ValueError")[2].strip()
    if name.endswith("json"):
        assert WHY in json.loads(text)["error"]
    others = [(tmp_path / other).read_text() for other in [*_FILES, "report.html"] if other != name]
    assert not any("ValueError" in other for other in others)


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("dashboards.report.report._losses", "Would a simpler curve do?"),
        ("dashboards.report.report.comparison_table", "The fitted curve"),
        ("dashboards.report.report._curves", "Use the fitted curve"),
        ("dashboards.report.report._cost", "Use the fitted curve"),
        ("dashboards.report.report.provenance", "What it costs"),
        ("dashboards.report.report.usage", "What was searched"),
        ("oracle.results.results.verdict", "What was searched"),
        ("oracle.results.results.compare_rivals", "What each curve loses"),
        ("oracle.results.results.fit_curve", "What was searched"),
        ("oracle.results.results.learn", "What was searched"),
        ("oracle.results.results.policy_costs", "What was searched"),
    ],
)
def test_a_section_that_fails_leaves_the_others(two_rates, monkeypatch, tmp_path, place, left):
    monkeypatch.setattr(place, broken)
    words = Page(write_report(replace(two_rates), tmp_path).read_text()).words
    assert WHY in words and left in words


def test_a_template_that_fails_leaves_a_page_that_says_so(two_rates, monkeypatch, tmp_path):
    monkeypatch.setattr("dashboards.report.report.page", broken)
    assert "The report can&#39;t be shown" in write_report(two_rates, tmp_path).read_text()


def test_the_command_ends_well(call, tmp_path, monkeypatch):
    url = write_ledger(tmp_path, *invent(cycles=2, replicates=1))
    for place in (
        "dashboards.tables.comparison.terminal_table",
        "dashboards.figures.rates.comparison_figure",
        "oracle.results.results.fit_curve",
        "oracle.results.results.verdict",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, broken)
            patch.setitem(_FIGURES, "comparison", broken)
            code, out, err = call("report", "invented", "--ledger", url)
        assert code == 0 and "Report: " in out, err
        assert "Traceback" not in err and err.count("the figure 'comparison' can't be shown") == 1
    with monkeypatch.context() as patch:
        patch.setattr("dashboards.tables.comparison.to_json", broken)
        code, out, err = call("report", "invented", "--ledger", url, "--json")
    assert code == 0 and WHY in json.loads(out)["error"]


def test_so_do_searches_side_by_side(two_rates, monkeypatch):
    for name in ("accuracy_table", "search_table", "cost_table", "accuracy_figure"):
        with monkeypatch.context() as patch:
            patch.setattr(f"dashboards.report.compare_report.{name}", broken)
            report = compare_report([two_rates, two_rates])
            texts = [report_text(report, form) for form in ("html", "markdown", "latex", "csv", "json")]
        assert "ValueError" in texts[0] and len(report.tables) == 3
        assert all("ValueError" in text for text in texts[1:3]) or name == "accuracy_figure"


def test_and_the_dashboards_own_page(two_rates, monkeypatch):
    monkeypatch.setattr("dashboards.optuna.summary_study.landscape_figure", broken)
    monkeypatch.setattr("dashboards.optuna.summary_study.markdown", broken)
    figures = _figures(two_rates)
    assert figures["oracle-and-silo"].data and not figures["validation-accuracy"].data
    assert "The table can't be shown" in _note(two_rates, "done", 1)
