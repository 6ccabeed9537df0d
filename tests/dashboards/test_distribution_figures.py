import json
import math
from dataclasses import replace

import pytest

from dashboards.figures.distributions import distributions_figure
from oracle.results.networks import CycleDistributions
from tests.dashboards.conftest import with_parts
from tests.dashboards.printing import traces
from trials.diagnostics import Histogram
from trials.tasks import StoredFile, TrialDiagnostics


def histogram(scale):
    return Histogram(low=-2.0 * scale, high=2.0 * scale, counts=(1, 25, 100, 25, 0, 0, 0, 49))


def statistics(gradient_std, representation_std):
    return TrialDiagnostics(
        gradient_std=gradient_std,
        update_std=0.03 * gradient_std,
        representation_std=representation_std,
        activation_norm=1.0,
        gradient_norm=math.nan,
        flipped_signs=0.0,
        file=StoredFile(path="x", sha256=""),
    )


def distributions(cycles):
    return tuple(
        CycleDistributions(
            cycle=cycle,
            density=0.8**cycle,
            max_lr=0.03,
            means=statistics(0.1 / (1 + cycle), 0.5 + cycle),
            gradients=histogram(1 + cycle),
            representations=histogram(1.0),
        )
        for cycle in range(cycles)
    )


@pytest.fixture
def inside(results):
    return with_parts(
        results,
        distributions=distributions(5),
        diagnosed=(0.03, 0.035, 0.04, 0.045, 0.05),
    )


def test_a_ridge_is_the_histogram(inside):
    ridge = traces(distributions_figure(inside))["gradients, m = 1"]
    assert ridge.x == (-4, -3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4)
    base = ridge.y[0]
    assert base == ridge.y[-1] == 3  # the second of five from the top
    heights = [(y - base) / (max(ridge.y) - base) for y in ridge.y[1:-1]]
    assert heights == pytest.approx([0.1, 0.5, 1, 0.5, 0, 0, 0, 0.7], rel=1e-4)


def test_ridges_are_labelled_by_cycle_and_density(inside):
    axis = distributions_figure(inside).layout.yaxis
    assert axis.tickvals == (4, 3, 2, 1, 0)
    assert axis.ticktext[:2] == ("m=0, 100 %", "m=1, 80.0 %")


def test_deviations_are_multiples_of_the_first(inside):
    shown = traces(distributions_figure(inside))
    assert shown["std of gradients"].y == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5], rel=1e-5)
    assert shown["std of representations"].y == pytest.approx([1, 3, 5, 7, 9])
    assert shown["std of gradients"].text[1] == "0.05"


def test_the_predicted_rates_lie_beside_the_optima(inside):
    shown = traces(distributions_figure(inside))
    assert shown["from diagnostics"].y == inside.diagnosed
    optima = shown["Oracle optimum"]
    rows = inside.decided
    assert optima.y == tuple(row.interval.optimum for row in rows)
    tops = [y + up for y, up in zip(optima.y, optima.error_y.array, strict=True)]
    assert tops == pytest.approx([row.interval.high for row in rows])


def test_many_cycles_are_thinned_out_and_names_are_unique(make_results):
    results = make_results(cycles=25)
    figure = distributions_figure(with_parts(results, distributions=distributions(25)))
    names = [trace.name for trace in figure.data]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("gradients")] == [
        f"gradients, m = {cycle}" for cycle in range(0, 25, 2)
    ]
    assert len(traces(figure)["std of gradients"].x) == 25


def test_files_that_are_gone_and_networks_without_hidden_layers(inside):
    bare = [
        replace(one, gradients=None, representations=None, means=statistics(0.1, math.nan))
        for one in inside.distributions
    ]
    figure = distributions_figure(with_parts(inside, distributions=tuple(bare), diagnosed=(math.nan,) * 5))
    assert set(traces(figure)) == {"std of gradients", "Oracle optimum", "from diagnostics"}
    assert [note.text for note in figure.layout.annotations].count("no histograms") == 2


def test_every_kind_of_search_is_drawn(any_results):
    found = distributions(len(any_results.decided))
    for given in ((), found):
        text = distributions_figure(with_parts(any_results, distributions=given)).to_json()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
