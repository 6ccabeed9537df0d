"""What the report says of an analysis: uncertainty, rivals, costs, what is inside, where it is from."""

import math
import re
import sys
from dataclasses import replace

import numpy as np
import plotly.io
import pytest

from dashboards.report import figures_of, report_html, write_report
from oracle.results import Results
from oracle.results.verdict import loss_text
from silo.measured import cycles_in_words
from tests.dashboards.conftest import with_parts
from tests.dashboards.test_report import Page, made, run
from tests.oracle.invented import invent, noted, peak, took


def found_by(*arguments, runs=(), draws=50, **options):
    return Results.of(*invent(*arguments, **options), runs=runs, draws=draws)


def words(found):
    return Page(report_html(found)).words


@pytest.fixture(scope="module")
def whole():
    return found_by(change=lambda trial: noted(took(lambda cycle: 36.0)(trial)), runs=[run()])


def test_every_figure_is_there_in_the_order_of_the_page(whole):
    slices = ["slices"] if whole.fit.hitting else []
    names = ["comparison", "landscape", "region", *slices, "cost", "distributions"]
    assert list(figures_of(whole)) == names
    html = report_html(whole)
    places = [html.index(f'id="{name}-figure"') for name in figures_of(whole)]
    assert places == sorted(places)
    assert html.count("Plotly.newPlot(") >= len(names)


def test_the_page_says_how_sure_the_fit_is_and_whether_simpler_curves_do(whole):
    text = words(whole)
    low, high = whole.fit.drawn.interval("epsilon")
    assert "90 % of 50 fits, each to a draw of what the trainings tell, have q " in text
    assert f"ε {low:.3g}" in text and f"{high:.3g}" in text
    assert text.count(whole.rival_curves.verdict) == 2
    spread = replace(whole.fit.drawn, feasible=np.arange(500) < 1)
    rare = words(with_parts(whole, fit=replace(whole.fit, drawn=spread)))
    assert "in 0.2 % of the draws some SILO curve lies in every interval" in rare
    assert (
        f"best constant, {whole.constant.rates[0]:.2g} {loss_text(whole.constant.mean, whole.measure)}"
        in text
    )
    assert "What the data can and cannot say" in text
    for rival in whole.rival_curves.rivals:
        assert f"{rival.name} {rival.parameters} {rival.weighted_rmse:.3g}" in text


def test_the_page_says_what_each_policy_costs(whole):
    oracle, *others = whole.policy_costs
    assert len(others) >= 3
    text = words(whole)
    shares = [share for share in oracle.test_accuracies if share is not None]
    mean = 100 * math.fsum(shares) / len(shares)
    assert f"{oracle.policy} {oracle.trainings} {oracle.worker_hours:.3g} {mean:.2f} as run" in text
    for cost in others:
        assert re.search(rf"{re.escape(cost.policy)} {cost.trainings} \S+ \S+ estimated", text)
        assert f"{cost.policy}: {cost.explanation}" in text


def test_a_small_searchs_hours_have_no_exponent():
    found = found_by(cycles=1, change=took(lambda cycle: 1e-3))
    assert found.policy_costs[1].worker_hours < 1e-6
    assert not re.search(r"\de-\d", words(found).partition("What it costs")[2].partition("Decided")[0])
    assert not any(re.search(r"\de-\d", trace.text[0]) for trace in figures_of(found)["cost"].data)


def test_the_policies_accuracies_are_means_over_the_same_cycles():
    silo = {"q": 0, "beta": 1, "epsilon": 0.001, "delta": 0.1}
    found = found_by(silo=silo, grid={"low": 0.01, "high": 0.32, "points": 6, "extend": False})
    oracle, known, *_ = found.policy_costs
    cycles = [cycle for cycle, share in enumerate(known.test_accuracies) if share is not None]
    assert 0 < len(cycles) < 4
    mean = 100 * math.fsum(oracle.test_accuracies[cycle] for cycle in cycles) / len(cycles)
    assert f"{mean:.2f}" != f"{25 * math.fsum(oracle.test_accuracies):.2f}"
    text = words(found)
    assert f"Oracle {oracle.trainings} {oracle.worker_hours:.3g} {mean:.2f} as run" in text
    assert f"Test accuracy: mean over {cycles_in_words(cycles)}, where every policy has one." in text
    (marker,) = (trace for trace in figures_of(found)["cost"].data if trace.name == "Oracle")
    assert marker.y[0] == pytest.approx(mean, rel=1e-5)


def test_the_page_says_what_was_searched_and_how_to_repeat_it():
    versions = {"python": "3.11.7", "silo-oracle": "0.1.0", "torch": "2.13.0+cpu"}
    found = found_by(runs=[run(host="a", versions=versions), run(host="b", ended=None, versions=versions)])
    text = words(found)
    assert "network fc data set digits rates 6 candidates for max_lr, 0.01 to 0.32, log, 3 replicates" in text
    assert (
        "4 cycles: global_magnitude, 20 % of the remaining weights each time, then weight rewinding" in text
    )
    assert "machines a, b dates 2023-11-14 versions python 3.11.7, silo-oracle 0.1.0" in text
    assert (
        "pip install . 'torch==2.13.0' # in the source of silo-oracle 0.1.0 oracle run invented.yaml" in text
    )
    assert "pruning 1 cycle: " in words(found_by(cycles=1))


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (run(ended=None, state="running"), "Its last run has not ended as this was written."),
        (run(state="interrupted"), "Its last run was interrupted."),
        (run(state="failed", error="no space"), "Its last run has failed: see its error below."),
    ],
)
def test_a_search_that_is_not_done_says_how_it_stands(last, said):
    found = found_by(decided=2, runs=[run(state="failed", error="earlier"), last])
    assert f"2 of 4 cycles decided, 36 trials finished. {said}" in words(found)


CASES = {
    "nothing decided": {"decided": 0},
    "one cycle": {"cycles": 1},
    "one replicate": {"replicates": 1},
    "all diverged": {"accuracy": lambda *_: 0.1, "change": lambda trial: replace(trial, diverged=True)},
    "a policy": {"policy": {"name": "fixed", "arguments": {"max_lr": 0.02}}},
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_the_search_found_is_reported(case, tmp_path):
    options = dict(CASES[case])
    found = found_by(options.pop("accuracy", peak), **options)
    page = Page(write_report(found, tmp_path).read_text(encoding="utf-8"))
    assert found.verdict() in page.words
    assert ("The fitted curve" in page.words) == (case not in ("nothing decided", "a policy"))
    assert ("What it costs" in page.words) == (case != "nothing decided")
    assert "nan" not in re.findall(r"[a-z]+", page.words)


def test_a_large_search_stays_a_small_page(tmp_path):
    grid = {"low": 0.001, "high": 1.0, "points": 50, "extend": False}

    def shallow(cycle, replicate, max_lr):
        return 0.8 + 0.1 * peak(cycle, replicate, max_lr)

    found = found_by(shallow, cycles=25, replicates=5, grid=grid, draws=10)
    assert len(found.decided[0].candidates) == 50 and len(found.outcomes) == 25 * 50 * 5
    assert write_report(found, tmp_path).stat().st_size < 6e6


def test_each_figure_is_written_as_each_image(whole, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", sys)
    monkeypatch.setattr(plotly.io, "write_images", made)
    write_report(whole, tmp_path, kinds=["svg", "pdf"])
    for name in figures_of(whole):
        assert [(tmp_path / f"{name}.{kind}").read_bytes() for kind in ("svg", "pdf")] == [b"svg", b"pdf"]


def test_a_cycle_that_two_kinds_of_gpu_trained_is_named():
    def on_gpus(odd):
        return lambda trial: replace(trial, gpu="B" if trial.cycle in odd and trial.replicate else "A")

    sentence = "In cycles 1 and 3 candidates are compared that different kinds of GPU trained (A, B)"
    text = words(found_by(change=on_gpus((1, 3))))
    assert sentence in text and "GPUs A, B" in text
    assert "kinds of GPU" not in words(found_by(change=on_gpus(())))
    assert found_by().gpus_text() == ""
