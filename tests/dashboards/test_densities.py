"""SILO's columns where the pruner removes another share than ``pruning.rate``: the replays leave 0.8^m."""

import pytest

from dashboards.report.report import figures_of, usage
from silo import SiloCurve

DENSITIES = tuple(0.8**m for m in range(5))


@pytest.mark.parametrize("rate", [0.5, [0.2, 0.4]])
def test_silos_columns_go_by_the_densities_that_there_were_and_say_so(make_results, rate):
    results = make_results(pruning={"rate": rate})
    assert results.densities == pytest.approx(DENSITIES)
    gamma = 1 - DENSITIES[3] / DENSITIES[1]
    expected = 0.03 + 0.04 / (1 + (gamma / (1 - gamma)) ** -5)
    assert results.along(results.predicted)[3].rate == pytest.approx(expected)
    # All that p is good for is the prunings to come.
    assert results.fitted.densities == results.densities
    assert results.fitted.q == make_results().fitted.q
    assert [each.rate for each in results.along(results.fitted)] == pytest.approx(
        [each.rate for each in make_results().along(make_results().fitted)], rel=1e-6
    )
    assert "SILO's curves go by the densities λ that there were" in results.verdict()
    assert "densities=(1.0, 0.8" in usage(results.predicted)
    assert figures_of(results)


def test_where_the_rate_is_what_is_pruned_nothing_is_said(make_results):
    results = make_results()
    assert results.densities == () == results.predicted.densities
    assert "densities" not in results.verdict() and "densities" not in usage(results.predicted)


def test_densities_to_come_follow_from_the_rates(make_results):
    results = make_results(decided=2, pruning={"rate": [0.2, 0.5, 0.1]})
    assert results.densities == pytest.approx((1.0, 0.8, 0.4, 0.36, 0.324))


def test_what_is_taken_home_gives_the_same_rates(make_results):
    curve = make_results(pruning={"rate": 0.5}).predicted
    names = {"SiloCurve": SiloCurve}
    exec(usage(curve).split("max_lr = ")[0], names)
    assert names["curve"] == curve
