"""The demo, reduced: each way to train finds the same table, and none costs accuracy."""

import pytest

from tests.oracle.tables_of_ways import (
    EAGER,
    TIE,
    Table,
    demo,
    disagreements,
    equivalent,
    losses,
    mean_interval,
    search,
)
from tests.support import needs_compiler

pytestmark = pytest.mark.slow

WAYS = {
    "packs": EAGER | {"pack": 4},
    "alone, compiled": {"pack": 1, "compile": True},
    "packs, larger than the candidates, compiled": {"pack": 8, "compile": True},
    "bf16": EAGER | {"pack": 4, "precision": "bf16"},
}
CASES = [pytest.param(name, marks=[needs_compiler] * ("compiled" in name)) for name in WAYS]

SHORT = {"epochs": 3, "schedule": {"name": "warmup_drops", "arguments": {"warmup": 1, "drops": [2]}}}

MARGIN = 0.01
"""A loss that would matter, of the best accuracy. The Oracle calls rates equal within half of it, and the
best accuracies of the demo's own replicates differ by more."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Name of a way to what the search finds with it; each is run once."""
    found: dict[str, Table] = {}

    def of(name: str) -> Table:
        if name not in found:
            found[name] = search(demo(tmp_path_factory.mktemp("search"), **WAYS.get(name, EAGER)))
        return found[name]

    return of


def test_the_search_has_something_to_find(table):
    lone = table("alone")
    assert lone.execution == "each candidate alone" and len(lone.best) == 9
    for optimum, means in zip(lone.optima, lone.means, strict=True):
        assert min(means) < optimum < max(means)
        best, *others = sorted(means.values(), reverse=True)
        assert others[0] < best - TIE and others[-1] < best - 0.02
        assert best > 0.9


@pytest.mark.parametrize("name", [case for case in CASES if case.values != ("bf16",)])
def test_each_way_finds_the_same_optima_and_the_same_accuracies(table, name):
    lone, other = table("alone"), table(name)
    assert ("together" in other.execution) == ("pack" in name) and ("compiled" in other.execution) == (
        "compiled" in name
    )
    assert disagreements(other, lone) == []
    for optimum, means, theirs in zip(lone.optima, lone.means, other.means, strict=True):
        for rate, accuracy in means.items():  # beyond the optimum a rounding grows fast
            assert theirs[rate] == pytest.approx(accuracy, abs=0.01 if rate <= optimum else 0.05), rate


@pytest.mark.parametrize("name", CASES)
def test_no_way_costs_accuracy(table, name):
    assert equivalent(losses(table(name), table("alone")), MARGIN)


def test_a_loss_of_accuracy_would_be_seen(table, tmp_path):
    short = search(demo(tmp_path, **EAGER | {"pack": 8}, **SHORT))
    lost = losses(short, table("alone"))
    assert not equivalent(lost, MARGIN) and mean_interval(lost)[0] > 0


def toy_table(*means):
    rates = (0.1, 0.2, 0.3)
    found = [dict(zip(rates, each, strict=True)) for each in means]
    return Table(execution="", optima=[max(each, key=each.get) for each in found], means=found, best={})


def test_optima_agree_if_they_are_the_same_or_tie():
    one = toy_table((0.5, 0.9, 0.8), (0.5, 0.9, 0.897))
    assert disagreements(one, one) == []
    assert disagreements(one, toy_table((0.5, 0.9, 0.8), (0.5, 0.896, 0.9))) == []
    other = toy_table((0.89, 0.9, 0.91), (0.5, 0.896, 0.9))
    apart = ["cycle 0: optimum 0.2 against 0.3, 10.00% apart"]
    assert disagreements(one, other) == apart
    # A tie in one table alone is none: the other one has seen a difference.
    assert disagreements(toy_table((0.5, 0.9, 0.899)), toy_table((0.5, 0.8, 0.9)))


def test_equivalence_takes_a_small_mean_and_a_small_spread():
    assert equivalent([0.001, -0.001, 0.002, 0.0], 0.01) and equivalent([0.0, 0.0, 0.0], 0.01)
    assert not equivalent([0.011, 0.012, 0.013, 0.012], 0.01)
    assert not equivalent([-0.011, -0.012, -0.013, -0.012], 0.01)
    assert not equivalent([0.05, -0.05, 0.05, -0.05], 0.01)
    # Student's t for 90 % and three degrees of freedom is 2.353.
    assert mean_interval([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5 - 1.519, 2.5 + 1.519), abs=1e-3)
