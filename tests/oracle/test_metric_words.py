"""Everything shown names the search's metric and its unit: per cent are of accuracies, less may be better."""

import io
import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dashboards.figures.accuracy import accuracy_figure
from dashboards.figures.cost import cost_figure
from dashboards.figures.trainings import landscape_figure
from dashboards.optuna.summary_study import SummaryStudy
from dashboards.report.compare_report import ENDINGS, compare_report, report_text
from dashboards.report.report import figures_of, report_html
from dashboards.tables.accuracy import accuracy_table
from dashboards.tables.comparison import latex, markdown, terminal_table, to_json
from oracle.cli.export import write_export
from oracle.cli.run import progress_observer
from oracle.ledger import Ledger
from oracle.measure import BY_ACCURACY, Floor, Measure
from oracle.observers import cycle_numbers
from oracle.results import Results
from oracle.results.verdict import loss_text
from silo.errors import InvalidInput
from silo.landscape import Loss
from tests.dashboards.printing import printed
from tests.oracle.invented import invent, make_record, make_spec, peak, took, write_ledger
from trials.tasks import Metric

RMSE = {"name": "rmse", "function": "mine:rmse", "goal": "min"}
IOU = {"name": "Mean IoU", "function": "mine:iou"}


def error(cycle: int, replicate: int, max_lr: float) -> float:
    """The less the nearer to the peak: 1.3 and up."""
    return 2.2134 - peak(cycle, replicate, max_lr)


METRICS = {
    "accuracy": (peak, {}),
    "rmse": (error, {"metric": RMSE, "tolerance": "2 %"}),
    "iou": (peak, {"metric": IOU, "tolerance": 0.005}),
}


def invented(kind: str, **more):
    scores, fields = METRICS[kind]
    return invent(scores, **{**fields, **more})


def results_of(kind: str, **more) -> Results:
    return Results.of(*invented(kind, **more), draws=0)


@pytest.fixture(scope="module", params=METRICS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def results(kind):
    return results_of(kind, change=took(lambda cycle: 3.0))


def texts_of(results, folder):
    """Everything that is written about a search and about two of them, by what it is."""
    other = replace(results, search_spec=results.search_spec.model_copy(update={"name": "other"}))
    figures = figures_of(results)
    page = re.sub(r"<script.*?</script>", "", report_html(results, figures=figures), flags=re.DOTALL)
    page = page.partition("<h2>Spec</h2>")[0]
    report = compare_report([results, other])
    found = {
        "page": page,
        "markdown": markdown(results),
        "latex": latex(results),
        "terminal": printed(terminal_table(results), 110),
        "json": json.dumps({k: v for k, v in to_json(results).items() if k not in ("spec", "rows")}),
        "rows": " ".join(key for row in to_json(results)["rows"] for key in row),
        "accuracy figure": accuracy_figure([results, other]).to_json(),
        **{f"compare.{form}": report_text(report, form) for form in ENDINGS if form != "html"},
        **{f"figure {name}": figure.to_json() for name, figure in figures.items()},
    }
    for path in write_export(results, folder, "csv"):
        if path.name != "search.json":
            found[path.name] = path.read_text()
    return found


def test_no_text_says_accuracy_or_per_cent_of_another_metric(results, kind, tmp_path):
    texts = texts_of(results, tmp_path)
    assert len(texts) > 20 and {"page", "candidates.csv", "figure landscape", "compare.json"} <= set(texts)
    name, measure = results.measure.metric.name, results.measure
    told = {where for where, text in texts.items() if name in text or measure.key in text}
    shown = measure.text(results.decided[0].selected.test_score)
    assert {"page", "markdown", "latex", "terminal", "json", "figure landscape", "figure cost"} <= told
    assert {"candidates.csv", "README.md", "compare.csv", "compare.latex", "rows"} <= told
    assert shown in texts["terminal"] and shown in texts["markdown"] and shown in texts["compare.latex"]
    if kind == "accuracy":
        return
    hundredfold = [f"{100 * each.score:.2f}" for row in results.decided for each in row.candidates]
    for where, text in texts.items():
        assert "accurac" not in text.lower(), where
        assert f"{name} (%)" not in text and f"{name}<br>(%)" not in text and "in %" not in text, where
        assert not [number for number in hundredfold if number in text], where


def test_losses_are_shares_of_the_best_only_where_the_tolerance_is_one(results, kind):
    rate = r"loses (-?[\d.]+)( %)? \[(-?[\d.]+), (-?[\d.]+)\]"
    unit = re.search(rate, results.verdict())[2]
    assert bool(unit) == (kind != "iou") == (" %" in results.recommendation.text)
    means = [float(mean) for belief in results.beliefs for mean in belief.means]
    lost = [math.exp(mean) - 1 if kind == "rmse" else mean for mean in means]
    assert results.candidates.loss.tolist() == pytest.approx(lost)
    curve = results.judged(results.fitted.max_lr).mean
    loss = results.fits.loss[results.fits.curve == "least squares"].item()
    assert loss == pytest.approx(math.exp(curve.mean) - 1 if kind == "rmse" else curve.mean)
    told = results.intervals[["silo_loss", "fitted_loss"]].to_numpy().ravel()
    assert all(math.isnan(each) or each >= 0 for each in told)


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (BY_ACCURACY, "0.16 % [0.05, 0.30]"),
        (Measure(metric=Metric(name="iou"), tolerance=0.01), "0.0016 [0.00050, 0.0030]"),
        (
            Measure(metric=Metric(name="rmse", goal="min"), tolerance=0.1, relative=True),
            "0.16 % [0.05, 0.30]",
        ),
    ],
)
def test_a_loss_has_the_unit_of_its_tolerance(measure, text):
    assert loss_text(Loss(mean=0.0016, low=0.0005, high=0.003, within=1.0), measure) == text
    assert loss_text(Loss(*[math.nan] * 4), measure) == "–"


@pytest.mark.parametrize("goal", ["max", "min"])
def test_a_share_that_is_lost_is_that_of_the_best(goal):
    measure = Measure(metric=Metric(name="x", goal=goal), tolerance=0.2, relative=True)
    best, worse = (2.0, 1.6) if goal == "max" else (2.0, 2.4)
    assert measure.lost(measure.comparable(best) - measure.comparable(worse)) == pytest.approx(0.2)
    assert measure.distance(measure.within) == "20 %" == str(measure)


SCORES = [
    (0.318249, 0.0123, "0.3182 ± 0.012"),
    (12345.678, 120.4, "12350 ± 120"),
    (0.3, None, "0.3000"),
    (-2.5, 0.0, "-2.500 ± 0"),
    (1.5e-9, None, "1.500e-09"),
    (math.nan, math.nan, "–"),
    (1.0, math.nan, "1.000"),
]


@pytest.mark.parametrize(("score", "std", "text"), SCORES)
def test_other_scores_have_four_digits_and_no_unit(score, std, text):
    measure = Measure(metric=Metric(name="perplexity", goal="min"))
    assert measure.text(score, std) == measure.quantity(score, std) == measure.in_line(score, std) == text


@pytest.mark.parametrize(
    ("name", "key"), [("Mean IoU", "mean_iou"), ("top-5/acc @ 1", "top_5_acc_1"), ("F1", "f1")]
)
def test_names_are_safe_in_columns(name, key):
    measure = Measure(metric=Metric(name=name))
    assert measure.key == key and measure.named("validation_{key}_mean") == f"validation_{key}_mean"


def test_the_best_of_a_density_has_the_least_error():
    good = results_of("rmse", name="good")
    bad = Results.of(*invent(lambda *place: error(*place) + 0.1, name="bad", **METRICS["rmse"][1]), draws=0)
    table = accuracy_table([bad, good], by_row=True)
    assert [(bool(row[2].bold), bool(row[3].bold)) for row in table.rows] == [(False, True)] * 4
    assert [record["best"] for record in table.records if record["search"] == "bad"] == [False] * 4
    assert list(table.records[0])[-3:] == ["test_rmse_mean", "test_rmse_std", "best"]


def test_different_metrics_are_not_set_side_by_side():
    searches = [results_of("accuracy", name="one"), results_of("rmse", name="two", cycles=1)]
    said = r"different metrics .*: accuracy \(max\): one; rmse \(min\): two: name searches of one metric$"
    for show in (accuracy_table, accuracy_figure, compare_report):
        with pytest.raises(InvalidInput, match=said):
            show(searches)


def test_a_missing_test_score_is_left_out(kind, tmp_path):
    results = results_of(kind, change=lambda trial: replace(trial, test_score=math.nan))
    csv = next(path for path in write_export(results, tmp_path, "csv") if path.name == "trials.csv")
    texts = [markdown(results), json.dumps(to_json(results)), csv.read_text(), cost_figure(results).to_json()]
    texts += [
        report_text(compare_report([results]), "markdown"),
        report_text(compare_report([results]), "csv"),
    ]
    assert not [text for text in texts if re.search(r"\bnan\b", text, re.IGNORECASE)]
    assert all(math.isnan(score) for score in results.candidates[f"test_{results.measure.key}_mean"])
    assert accuracy_table([results], by_row=True).rows[0][2].text == "–"
    assert all(score is None for cost in results.policy_costs for score in cost.test_accuracies)
    assert {trace.mode for trace in cost_figure(results).data} == {"lines"}  # not a marker in sight
    numbers = cycle_numbers(
        SimpleNamespace(search=SimpleNamespace(prunings=lambda _: ())), results.decided[0]
    )
    assert f"validation_{results.measure.key}" in numbers and f"test_{results.measure.key}" not in numbers


def test_the_brighter_the_better(results, kind):
    heat = landscape_figure(results).data[0]
    selected = [results.measure.shown(row.selected.score) for row in results.decided]
    assert heat.reversescale == (kind == "rmse")
    best, worst = (heat.zmin, heat.zmax) if kind == "rmse" else (heat.zmax, heat.zmin)
    assert best == pytest.approx((min if kind == "rmse" else max)(selected), rel=1e-5)
    assert heat.zmin < heat.zmax and list(heat.colorbar.ticktext)
    bound = "≥" if kind == "rmse" else "≤"
    clipped = any(
        results.measure.comparable(c.score) < results.measure.comparable(worst / results.measure.shown(1.0))
        for row in results.decided
        for c in row.candidates
    )
    assert clipped and heat.colorbar.ticktext[0].startswith(bound)
    assert all(heat.zmin - 1e-6 <= value <= heat.zmax + 1e-6 for value in heat.colorbar.tickvals)


@pytest.fixture
def session_of(tmp_path):
    def make(kind, **more):
        spec, search = invented(kind, **more)
        ledger = Ledger(write_ledger(tmp_path, spec, search))
        return SimpleNamespace(spec=spec, search=search, ledger=ledger, record=make_record(spec), resumed=0)

    return make


def test_optunas_best_trial_is_the_best_one(session_of, kind):
    session = session_of(kind)
    SummaryStudy().ended(session, "done")
    measure, ledger = session.search.rules.measure, session.ledger
    for m, row in enumerate(session.search.decisions):
        study = ledger.cycle_study(session.spec.name, m)
        best = max((t for t in row.trials), key=lambda trial: measure.comparable(trial.score))
        assert study.best_trial.params["max_lr"] == best.max_lr and study.best_value == best.score
        assert study.metric_names == [f"validation {measure.metric.name}"]
        assert study.user_attrs[f"validation {measure.metric.name}"] == pytest.approx(
            row.selected.score, rel=1e-5
        )
    summary = ledger.summary_study(session.spec.name)
    chosen = max(session.search.decisions, key=lambda row: measure.comparable(row.selected.score))
    assert summary.best_value == chosen.selected.score
    written = json.dumps([ledger.storage.get_study_system_attrs(s._study_id) for s in (summary, study)])
    assert measure.metric.name in written and f"plot_data:validation-{measure.key[:4]}" in written
    assert kind == "accuracy" or "accurac" not in written.lower()
    ledger.close()


def test_a_search_that_begins_anew_by_another_metric_has_its_direction(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/anew.db", create=True)
    ledger.register(make_record(make_spec()))
    assert ledger.summary_study("invented").direction.name == "MAXIMIZE"
    ledger.cycle_study("invented", 0)
    ledger.begin_anew(make_record(make_spec(**METRICS["rmse"][1])))
    for study in (ledger.summary_study("invented"), ledger.cycle_study("invented", 0)):
        assert study.direction.name == "MINIMIZE" and study.metric_names == ["validation rmse"]
    ledger.close()


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_progress_has_the_metrics_name_and_numbers(kind, stream):
    (spec, search), out = invented(kind), stream()
    session = SimpleNamespace(spec=spec, search=search, record=make_record(spec), resumed=0)
    observer = progress_observer(out)
    observer.started(session)
    observer.decided(session, session.search.decisions[0])
    observer.ended(session, "done")
    selected = session.search.decisions[0].selected
    score, std = selected.score, selected.score_std
    expected = {
        "accuracy": f"validation {score:.2%} ± {std:.2%}",
        "rmse": f"validation rmse {score:.4g} ± {std:.2g}",
        "iou": f"validation Mean IoU {score:.4g} ± {std:.2g}",
    }[kind]
    assert expected in " ".join(out.getvalue().split())


def test_a_wrong_goal_is_asked_about_where_nothing_was_learned():
    results = results_of("rmse", metric={**RMSE, "goal": "max"}, tolerance=0.01)
    chance = Floor(score=9.0, highest=results.measure.comparable(9.0))
    said = (
        "no rate trained the network better than outputs that are all zero (rmse 9.000): their intervals say "
    )
    assert replace(results, chance=chance).verdict().endswith(f"{said}nothing. Is goal: max what was meant?")


def test_a_mean_lies_in_the_range_that_is_shown():
    measure = Measure()
    assert measure.distances(0.0002, 0.0, 0.0) == "0.02 % [0.00, 0.02]"
    assert measure.distances(0.0002, 0.0001, 0.0005) == "0.02 % [0.01, 0.05]"
    assert measure.distances(float("nan"), 0.0, 0.0) == "–"
