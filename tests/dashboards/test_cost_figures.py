import json
import math
import statistics

import pytest

from dashboards.figures.cost import cost_figure
from oracle.results.costs import PolicyCost, shared_cycles
from tests.dashboards.conftest import with_parts


def cost(policy, trainings, accuracies, **changes):
    given = {"worker_hours": trainings / 40, "measured": False, "explanation": "said so <b>"}
    return PolicyCost(policy=policy, trainings=trainings, test_accuracies=accuracies, **{**given, **changes})


@pytest.fixture
def priced(results):
    costs = (
        cost("Oracle", 435, (0.98, 0.97, 0.96, 0.95, 0.94), measured=True),
        cost("SILO", 15, (0.97, 0.96, 0.95, 0.9, None)),
        cost("hill climb", 105, (None,) * 5),
    )
    return with_parts(results, policy_costs=costs)


def test_each_policy_lies_at_its_cost_and_mean_over_the_cycles_known_of_all(priced):
    figure = cost_figure(priced)
    oracle, silo, climb = figure.data
    assert (oracle.x, oracle.y) == ((435,), (pytest.approx(96.5),))
    assert (silo.x, silo.y) == ((15,), (pytest.approx(94.5),))
    assert figure.layout.yaxis.title.text == "mean test accuracy, 4 cycles (%)"
    assert climb.x == (105, 105) and climb.mode == "lines"
    assert climb.y == figure.layout.yaxis.range


def test_bars_are_the_standard_errors_of_the_replicates(results):
    each = ({0: 0.9, 1: 0.94}, {0: 0.92, 1: 0.94, 2: 0.1}, {})
    known = cost("Oracle", 9, (0.92, 0.93, None), by_replicate=each)  # means of 0.91 and 0.94
    alone = cost("SILO", 3, (0.9, 0.9, None), by_replicate=({0: 0.9}, {0: 0.9}, {}))
    oracle, silo = cost_figure(with_parts(results, policy_costs=(known, alone))).data
    assert oracle.error_y.array == (pytest.approx(1.5),)
    assert silo.error_y.array is None


def test_a_real_search_has_them(results):
    figure = cost_figure(results)
    costs, cycles = results.policy_costs, shared_cycles(results.policy_costs)
    assert cycles and all(len(each.by_replicate) == len(results.decided) for each in costs)
    for trace, each in zip(figure.data, costs, strict=True):
        by_hand = [sum(each.by_replicate[cycle][r] for cycle in cycles) / len(cycles) for r in range(3)]
        error = 100 * statistics.stdev(by_hand) / math.sqrt(3)
        assert trace.error_y.array[0] == pytest.approx(error, rel=1e-4)
        low, high = figure.layout.yaxis.range
        assert low < trace.y[0] - error and trace.y[0] + error < high


def test_what_was_run_is_filled_and_what_is_estimated_open(priced):
    oracle, silo, _ = cost_figure(priced).data
    assert "open" not in oracle.marker.symbol and silo.marker.symbol.endswith("-open")
    assert oracle.marker.symbol != silo.marker.symbol.removesuffix("-open")


def test_pointing_at_a_policy_tells_every_cycle(priced):
    _, silo, climb = cost_figure(priced).data
    assert "SILO, estimated<br>15 trainings, 0.375 worker-hours<br>said so &lt;b&gt;" in silo.text[0]
    assert silo.text[0].endswith("m=0: 97.00, m=1: 96.00, m=2: 95.00, m=3: 90.00")
    assert climb.text[0].endswith("accuracy not known")


def test_the_buttons_count_in_trainings_or_hours(priced):
    trainings, hours = cost_figure(priced).layout.updatemenus[0].buttons
    assert trainings.args[0]["x"] == [[435], [15], [105, 105]]
    assert hours.args[0]["x"] == [[10.875], [0.375], [2.625, 2.625]]
    assert hours.args[1]["xaxis.title.text"] == "cost (worker-hours)"
    low, high = hours.args[1]["xaxis.range"]
    assert low < math.log10(0.375) and high > math.log10(10.875)
    figure = cost_figure(priced, measure="worker_hours")
    assert figure.data[0].x == (10.875,) and figure.layout.updatemenus[0].active == 1


def test_a_cost_of_nothing_and_no_costs_at_all_are_drawn(any_results):
    free = (cost("free", 0, ()),)
    for costs in ((), free):
        text = cost_figure(with_parts(any_results, policy_costs=costs)).to_json()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "No cycle is decided" in cost_figure(with_parts(any_results, policy_costs=())).to_json()
