"""The curves of trainings: kept with each trial in few bytes, exported, drawn, and handed to observers."""

import json
import math
import sqlite3
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import optuna
import pytest

import oracle
from dashboards.figures.trainings import curves_figure
from dashboards.optuna.summary_study import SummaryStudy
from dashboards.report.report import figures_of, report_html
from oracle.cli.export import write_export
from oracle.ledger import Ledger, rows
from oracle.ledger.rows import Axis
from oracle.observers import Observer
from oracle.results import Results
from oracle.testing.replay import replayed_trial
from silo.errors import InvalidInput
from tests.oracle.invented import invent, make_record, make_spec, peak, write_ledger
from tests.support import small_spec
from trials.tasks import MOST_POINTS, NO_CURVE, TrainingCurve, Validation, thinned

AXIS = Axis(low=0.01, high=0.1, log=True)
RMSE = {"metric": {"name": "rmse", "function": "mine:rmse", "goal": "min"}, "tolerance": "2 %"}


def rising(trial, count=5):
    """Validations every ten steps that rise to what the trial reaches."""
    points = [
        Validation(step=10 * k, score=trial.score * k / count, train_loss=2.0 / k + trial.replicate)
        for k in range(1, count + 1)
    ]
    return replace(trial, curve=TrainingCurve.of(points))


def results_of(change=rising, **fields):
    score = (lambda *place: 2.2 - peak(*place)) if "metric" in fields else peak
    return Results.of(*invent(score, change=change, **fields), draws=0)


def curve_of(count):
    """Points of as many digits as there may be."""
    third = 1 / 3
    return TrainingCurve.of([Validation(step=k * 391, score=third, train_loss=third) for k in range(count)])


def test_a_curve_comes_back_rounded_and_what_is_not_finite_is_missing():
    given = [
        Validation(step=5, score=0.123456789, train_loss=math.inf),
        Validation(step=9, score=math.nan, train_loss=1234567.0),
    ]
    first, last = TrainingCurve.of(given).validations
    assert (first.step, first.score, last.step, last.train_loss) == (5, 0.12346, 9, 1234600.0)
    assert math.isnan(first.train_loss) and math.isnan(last.score)
    assert TrainingCurve.of([]) == NO_CURVE and NO_CURVE.validations == ()


@pytest.mark.parametrize("count", [1, 2, 199, 200, 201, 399, 5000])
def test_a_long_curve_is_thinned_evenly_from_the_first_to_the_last(count):
    steps = [point.step // 391 for point in curve_of(count).validations]
    assert len(steps) == min(count, MOST_POINTS) and steps[0] == 0 and steps[-1] == count - 1
    gaps = {b - a for a, b in pairwise(steps)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert thinned(range(10), 2) == [0, 9]


def test_a_row_stays_small():
    assert len(curve_of(20).text) < 500  # the demo's, in which an epoch is a point
    assert len(curve_of(10**4).text) < 25 * MOST_POINTS


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    opened.register(make_record(make_spec()))
    yield opened
    opened.close()


@pytest.mark.parametrize("layout", [rows.TRIED_LAYOUT, "another"])
def test_a_ledger_keeps_curves_and_rows_of_before_have_none(ledger, monkeypatch, layout):
    monkeypatch.setattr(rows, "TRIED_LAYOUT", layout)
    trial = rising(replayed_trial(0, 0, 0.05, 0.75))
    old = replayed_trial(0, 1, 0.05, 0.5)
    ledger.add_outcomes("invented", {"new": trial, "old": old}, axis=AXIS)
    assert ledger.outcomes("invented") == {"new": trial, "old": old}
    study = optuna.load_study(study_name="invented/cycle-00", storage=ledger.storage)
    told = [row.user_attrs.get("curve") for row in study.get_trials()]
    assert told[1] is None and json.loads(told[0])[0] == [10, 20, 30, 40, 50]


def test_reading_a_ledger_parses_no_curve(ledger, monkeypatch):
    ledger.add_outcomes("invented", {"key": rising(replayed_trial(0, 0, 0.05, 0.75))}, axis=AXIS)
    monkeypatch.setattr(TrainingCurve, "validations", property(lambda curve: pytest.fail("parsed")))
    assert ledger.outcomes("invented")["key"].curve.text


def test_a_ledger_grows_by_little(tmp_path):
    spec, search = invent(change=rising)
    url = write_ledger(tmp_path, spec, search)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        query = "SELECT key, SUM(LENGTH(value_json)), COUNT(*) FROM trial_user_attributes GROUP BY key"
        sizes = {key: (size, count) for key, size, count in database.execute(query)}
    database.close()
    size, count = sizes["curve"]
    assert count == len(search.outcomes()) and size / count < 120  # of five points


@pytest.mark.parametrize(("fields", "key"), [({}, "accuracy"), (RMSE, "rmse")])
def test_curves_are_a_frame_and_a_file(tmp_path, fields, key):
    results = results_of(cycles=2, **fields)
    frame = results.curves
    assert list(frame) == ["cycle", "replicate", "max_lr", "step", f"validation_{key}", "train_loss"]
    assert len(frame) == 5 * len(results.outcomes)
    one = frame.query("cycle == 1 and replicate == 2 and max_lr == 0.04")
    trial = next(t for t in results.outcomes if (t.cycle, t.replicate, t.max_lr) == (1, 2, 0.04))
    assert one.step.tolist() == [10, 20, 30, 40, 50]
    assert one[f"validation_{key}"].iloc[-1] == pytest.approx(trial.score, rel=1e-4)
    written = {path.name: path for path in write_export(results, tmp_path, "csv")}
    assert written["curves.csv"].read_text().count("\n") == len(frame) + 1


@pytest.mark.parametrize("fields", [{}, RMSE])
def test_a_figure_shows_the_mean_of_each_rate(fields):
    results = results_of(cycles=2, **fields)
    figure, row = curves_figure(results), results.decided[-1]
    above, below = figure.data[::2], figure.data[1::2]
    assert len(above) == len(row.candidates) and {trace.yaxis for trace in below} == {"y2"}
    for trace, loss, candidate in zip(above, below, row.candidates, strict=True):
        assert trace.x == (10, 20, 30, 40, 50) and float(trace.name) == candidate.max_lr
        assert trace.y[-1] == pytest.approx(results.measure.shown(candidate.score), rel=1e-4)
        assert loss.y[-1] == pytest.approx(2 / 5 + 1)
        assert (trace.line.width == 4) == (candidate.max_lr == row.chosen)
    assert len({trace.line.color for trace in above}) == len(above)
    name = results.measure.label("validation")
    assert figure.layout.yaxis.title.text.startswith(name) and name in above[0].hovertemplate
    assert ("%" in figure.layout.yaxis.title.text) == (not fields)
    assert "cycle 0" in curves_figure(results, cycle=0).layout.legend.title.text
    for wrong in (9, -1, "last"):
        with pytest.raises(InvalidInput, match="cycle"):
            curves_figure(results, cycle=wrong)


def test_what_diverged_hides_no_other():
    def wild(trial):
        bad = trial.max_lr > 0.3
        points = [Validation(step=k, score=trial.score - 1000 * k * bad, train_loss=1.0) for k in (1, 2)]
        points += [Validation(step=3, score=math.nan, train_loss=math.nan)] * bad
        return replace(trial, curve=TrainingCurve.of(points))

    figure = curves_figure(results_of(wild, cycles=1))
    assert 0 < figure.layout.yaxis.range[0] < figure.layout.yaxis.range[1] < 100
    assert figure.data[-2].x == (1, 2) and "NaN" not in figure.to_json()


def test_a_mean_ends_where_the_first_replicate_does():
    figure = curves_figure(results_of(lambda trial: rising(trial, count=5 - trial.replicate), cycles=1))
    assert {trace.x for trace in figure.data} == {(10, 20, 30)}


def test_the_page_shows_curves_where_there_are_any():
    results = results_of(cycles=1)
    figures = figures_of(results)
    assert list(figures).index("curves") == list(figures).index("landscape") + 1
    assert "<h2>Training curves</h2>" in report_html(results, figures=figures)
    bare = results_of(lambda trial: trial, cycles=1)
    assert "curves" not in figures_of(bare) and bare.curves.empty
    assert curves_figure(bare).layout.annotations[0].text == "No training has noted a curve."


def test_each_cycles_study_shows_its_curves(tmp_path):
    spec, search = invent(change=rising, cycles=2)
    ledger = Ledger(write_ledger(tmp_path, spec, search))
    SummaryStudy().ended(
        SimpleNamespace(spec=spec, search=search, ledger=ledger, record=make_record(spec)), "done"
    )
    for m in range(2):
        attributes = ledger.storage.get_study_system_attrs(ledger.cycle_study(spec.name, m)._study_id)
        pieces = sorted(
            (key for key in attributes if ":training-curves:" in key),
            key=lambda key: int(key.rpartition(":")[2]),
        )
        figure = json.loads("".join(attributes[key] for key in pieces))
        assert f"training curves of cycle {m}" in figure["layout"]["legend"]["title"]["text"]
    ledger.close()


class Notes(Observer):
    """Notes the curves that it is handed."""

    heard: list = []  # noqa: RUF012 - a spec names the class, and makes it itself

    def trained(self, session, outcomes):
        self.heard.extend(trial.curve for trial in outcomes)


def test_a_search_notes_curves_and_hands_them_to_observers(tmp_path):
    Notes.heard.clear()
    grid = {"values": [0.05, 0.1], "extend": False}
    spec = small_spec(tmp_path, cycles=1, replicates=1, grid=grid, observers=[f"{__name__}:Notes"])
    trials = oracle.run(spec, driver="in-process").outcomes
    assert [trial.curve for trial in trials] == Notes.heard and len(trials) == 2
    for trial in trials:
        best = max(point.score for point in trial.curve.validations)
        assert best == pytest.approx(trial.score, rel=1e-4)
        assert trial.curve.validations[-1].train_loss == pytest.approx(trial.train_loss, rel=1e-4)
