"""What a search says beyond the comparison, from any state that a search can be in."""

import math
from dataclasses import replace

import pytest

from oracle.analysis import Analysis, analyse, analysis_of
from oracle.comparison import compare
from oracle.ledger import Ledger
from silo.fit import fit_curve
from silo.fit.rivals import compare_rivals
from tests.oracle.invented import invent, noted, write_ledger


def analysed(spec, search, **options):
    return analysis_of(compare(spec, search), search.decisions, **{"resamples": 50, **options})


def test_an_analysis_is_made_from_the_ledger(tmp_path):
    spec, search = invent(change=noted)
    ledger = Ledger(write_ledger(tmp_path, spec, search))
    found = analyse(ledger, ledger.search(spec.name), resamples=50, seed=3)
    ledger.close()
    expected = analysed(spec, search, seed=3)
    assert found.fit.to_dict() == expected.fit.to_dict()
    assert found.rivals == expected.rivals and found.costs == expected.costs
    assert found.diagnosed == expected.diagnosed and len(found.diagnosed) == 4
    assert [run.state for run in found.runs] == ["failed"]
    assert found.comparison.execution.pack_size == 3


def test_the_fit_is_that_of_the_accuracies_and_the_rivals_that_of_the_intervals():
    spec, search = invent()
    found = analysed(spec, search, seed=1)
    accuracies = [decision.accuracies for decision in search.decisions]
    expected = fit_curve(accuracies, pruning_rate=0.2, resamples=50, seed=1)
    assert found.fit.to_dict() == expected.to_dict()
    assert found.fit.bootstrap.resamples == 50 and found.fit.bootstrap.seed == 1
    intervals = [decision.interval for decision in search.decisions]
    assert found.rivals == compare_rivals(intervals, pruning_rate=0.2)
    assert found.fit.curve == found.comparison.fit.curve


def test_the_tolerance_is_the_specs():
    spec, search = invent(tolerance=0.05)
    found = analysed(spec, search)
    assert found.fit.inside == found.comparison.fit.inside
    assert found.fit.regions == found.comparison.fit.regions


def test_no_resamples_no_bootstrap():
    assert analysed(*invent(), resamples=0).fit.bootstrap is None


def diverged(trial):
    return replace(trial, accuracy=0.1, test_accuracy=0.1, diverged=True, train_loss=math.nan)


ODD = {
    "nothing decided": {"decided": 0},
    "one cycle decided": {"decided": 1},
    "one cycle in all": {"cycles": 1},
    "one replicate": {"replicates": 1},
    "two replicates": {"replicates": 2},
    "all diverged": {"change": diverged, "accuracy": lambda *_: 0.1},
    "no prediction": {"silo": None},
    "statistics without files": {"change": noted, "decided": 2},
    "two candidates": {"grid": {"values": [0.01, 0.02], "extend": False}},
    "followed a curve": {"policy": "silo", "grid": None},
    "one rate": {"policy": {"name": "fixed", "arguments": {"max_lr": 0.1}}, "grid": None, "decided": 1},
}


@pytest.mark.parametrize("fields", ODD.values(), ids=ODD)
def test_every_search_can_be_analysed(fields):
    spec, search = invent(**fields)
    found = analysed(spec, search)
    decided, searched = len(search.decisions), spec.searched
    assert (found.fit is None) == (found.rivals is None) == (not (searched and decided))
    assert bool(found.costs) == bool(decided)
    assert all(len(cost.test_accuracies) == decided for cost in found.costs)
    assert len(found.distributions) == len(found.diagnosed) in (0, decided)
    has_bootstrap = searched and decided and spec.replicates > 1
    assert bool(found.fit and found.fit.bootstrap) == bool(has_bootstrap)


def test_an_analysis_can_be_of_a_comparison_alone():
    comparison = compare(*invent(decided=0))
    assert Analysis(comparison=comparison) == analysis_of(comparison, ())
