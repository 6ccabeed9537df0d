"""Rules that set the rates by less than a search of every cycle: their rates, costs and losses."""

import pytest

from oracle.results import Results
from tests.oracle.invented import invent, noted, peak


@pytest.fixture(scope="module")
def results():
    return Results.of(*invent(cycles=8, change=noted), draws=0)


def test_each_rule_has_its_rates_and_what_they_take(results):
    rules = results.rules.set_index("rule")
    rates = {name: [float(rate) for rate in listed.split(";")] for name, listed in rules.rates.items()}
    best = [float(each.rates[each.optimum()]) for each in results.beliefs]
    assert best[0] != best[-1]
    assert rates["one rate: the dense network's best"] == [best[0]] * 8
    assert rates["one rate: the sparsest network's best"] == [best[-1]] * 8
    assert rates["the best rate of the cycle before"] == [best[0], *best[:-1]]
    assert rates["this search"] == list(results.rates)
    assert rates["SILO with the spec's numbers"] == [float(results.predicted.max_lr(m)) for m in range(8)]
    # Six rates in three replicates: 18 trainings where a cycle is searched, 3 where it is not.
    assert rules.trainings.to_dict() == {
        "SILO with the spec's numbers": 24,
        "one rate: the dense network's best": 39,
        "one rate: the sparsest network's best": 39,
        "updates as wide as with the dense network's best": 39,
        "SILO fitted to every other cycle, judged at the rest": 84,
        "the best rate of the cycle before": 144,
        "this search": 144,
    }
    assert list(rules.trainings) == sorted(rules.trainings)


def test_a_rule_is_judged_by_what_the_trainings_tell(results):
    rules = results.rules.set_index("rule")
    judged = results.judged(lambda cycle: float(results.beliefs[0].rates[results.beliefs[0].optimum()]))
    row = rules.loc["one rate: the dense network's best"]
    assert (row.loss, row.loss_low, row.loss_high, row.everywhere) == pytest.approx(judged.mean)
    listed = [row[name] for name in ("inside", "unknown", "outside") if isinstance(row[name], str)]
    assert sorted(int(cycle) for cycles in listed for cycle in cycles.split(";")) == [*range(8)]
    assert rules.loss.idxmin() == "this search"


def test_a_fitted_half_is_judged_at_the_other(results):
    """A curve that knows every cycle but its own: another rate in one cycle moves those of the other half."""
    name = "SILO fitted to every other cycle, judged at the rest"

    def rates(found):
        return [float(rate) for rate in found.rules.set_index("rule").rates[name].split(";")]

    def later(cycle, replicate, max_lr):
        return peak(cycle if cycle != 6 else 0, replicate, max_lr)

    one, other = rates(results), rates(Results.of(*invent(later, cycles=8), draws=0))
    assert one[0::2] == other[0::2] and one[1::2] != other[1::2]


@pytest.mark.parametrize("fields", [{"policy": "silo", "grid": None}, {"cycles": 1}, {"decided": 0}])
def test_where_nothing_can_be_compared_there_are_none(fields):
    assert len(Results.of(*invent(**fields), draws=0).rules) == 0
