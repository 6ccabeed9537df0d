"""Tables, figures and pages of a search that left trainings out."""

import json
import math
from dataclasses import replace

import pytest

from dashboards.figures.rates import comparison_figure
from dashboards.figures.trainings import landscape_figure
from dashboards.optuna.summary_study import cycle_trial
from dashboards.report.compare_report import compare_report, report_text
from dashboards.report.report import report_html
from dashboards.tables.comparison import latex, markdown, to_json
from dashboards.tables.searches import cost_table
from oracle.results import Results
from silo.measured import cycles_in_words
from tests.dashboards.test_report import run
from tests.oracle.invented import invent, peak, took

GRID = {"low": 0.005, "high": 0.64, "points": 12}


@pytest.fixture(scope="module", params=["adaptive", "edge"])
def results(request):
    def accuracy(cycle, replicate, rate):
        return 0.1 if rate > 0.2 + 0.02 * replicate else peak(cycle, replicate, rate)

    spec, search = invent(
        accuracy, policy=request.param, decide="posterior", grid=GRID, change=took(lambda cycle: 36.0)
    )
    return Results.of(spec, search, draws=20)


def test_the_heatmap_leaves_blank_what_was_not_trained(results):
    cells = landscape_figure(results).data[0].z
    trained = sum(len(each.candidates) for each in results.decided)
    blank = sum(cell is None for row in cells for cell in row)
    assert len(cells) == max(len(each.grid) for each in results.decided) >= 12
    assert blank == len(cells) * len(results.decided) - trained > 0


def test_figures_and_tables_call_the_interval_what_it_is(results):
    names = [trace.name for trace in comparison_figure(results).data]
    assert "likeliest interval" in names and "point estimate" not in names
    assert "likelier within 0.5 % of the best than not" in markdown(results)
    assert "By likeliest intervals alone" in results.point_verdict()


def test_where_it_can_not_tell_it_says_how_the_search_goes_on():
    curve = {"q": 1, "beta": 5, "epsilon": 0.03, "delta": 0.06}
    for arguments, now, then in (({"share": 0.2}, "0.2", "0.4"), ({"trainings": 9}, "9", "18")):
        policy = {"name": "adaptive", "arguments": arguments}
        spec, search = invent(noisy, policy=policy, decide="posterior", grid=GRID, silo=curve)
        found = Results.of(spec, search, draws=0)
        unknown = found.judged(found.predicted.max_lr).cycles("unknown")
        name, budget = next(iter(arguments)), found.policy.expected(3)
        assert unknown and found.advice_text() == (
            f"To know more of what SILO's curve loses in {cycles_in_words(unknown)}: with a larger budget, "
            f"such as {name}: {then} in place of {now}, the same search goes on, with about "
            f"{budget * len(found.decided):.0f} more trainings where they tell most."
        )
    policy = {"name": "adaptive", "arguments": {"share": 1.0}}
    spec, search = invent(noisy, policy=policy, decide="posterior", grid=GRID, silo=curve)
    assert Results.of(spec, search, draws=0).advice_text() == ""


def noisy(cycle, replicate, rate):
    """A peak that the noise of three replicates hides."""
    return peak(cycle, replicate, rate) + 0.02 * math.sin(1e4 * rate + 97 * replicate + 31 * cycle)


def test_every_form_has_it(results):
    page = report_html(results)
    assert "Traceback" not in page and results.name in page
    assert latex(results) and json.loads(json.dumps(to_json(results)))["rows"][1]["candidates"]
    for each in results.decided:
        assert cycle_trial(each, {}, log=True).params["max_lr"] == each.chosen


def test_what_searches_took_stands_side_by_side_as_it_was_run(results):
    spec, search = invent(change=took(lambda cycle: 36.0), name="all")
    whole = Results.of(spec, search, draws=0)
    table = cost_table([results, whole])
    assert [record["trainings"] for record in table.records] == [len(results.outcomes), 4 * 6 * 3]
    assert [record["worker_hours"] for record in table.records] == pytest.approx(
        [len(results.outcomes) / 100, 4 * 6 * 3 / 100]
    )
    assert all(list(record) == list(table.columns) for record in table.records)
    assert "What each search took" in report_text(compare_report([results, whole]), "markdown")
    assert table.records[0]["wall_hours"] is None


def test_wall_time_is_that_of_all_runs_and_of_a_killed_one_until_its_last_training():
    spec, search = invent(change=took(lambda cycle: 36.0))
    last = max(trial.ended for trial in search.outcomes())
    runs = (run(started=0.0, ended=100.0), run(started=last - 50, ended=None, state="running"))
    found = Results.of(spec, search, draws=0)

    assert replace(found, recorded_runs=runs).wall_seconds == 150.0
    assert replace(found, recorded_runs=(run(started=last + 9, ended=None),)).wall_seconds == 0.0
