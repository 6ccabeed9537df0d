"""What the ways to set the rates cost and reach: by hand, and by the laws that the counts keep."""

from dataclasses import replace

import pytest

from oracle.cycles import Candidate
from oracle.results import Results
from oracle.results.costs import climb, policy_costs, worker_seconds
from oracle.testing.replay import replayed_trial
from silo.cost import silo_tuning_cost
from silo.curve import SiloCurve
from tests.oracle.invented import invent, took


def costs_of(spec, search, **curves):
    found = Results.of(spec, search, draws=0)
    if not curves:
        return found.policy_costs
    fitted = found.fit.curve if found.fit else None
    given = {"policy": "oracle", "grid": found.policy.rates, "known": found.predicted, "fitted": fitted}
    return policy_costs(found.decided, **{**given, **curves})


def candidates(accuracies, rates=(0.01, 0.02, 0.04, 0.08, 0.16)):
    return [
        Candidate(max_lr=rate, trials=(replayed_trial(0, 0, rate, accuracy),))
        for rate, accuracy in zip(rates, accuracies, strict=True)
    ]


def timed(worker, started, ended, replicate=0):
    trial = replayed_trial(0, replicate, 0.1, 0.5)
    return replace(trial, worker=worker, started=started, ended=ended)


def test_a_packs_time_counts_once():
    pack = [timed("a:1", 0.0, 10.0)] * 3
    assert worker_seconds(pack) == 10.0
    assert worker_seconds([*pack, timed("a:1", 10.0, 14.0, replicate=1)]) == 14.0
    assert worker_seconds([*pack, timed("b:1", 0.0, 10.0)]) == 20.0, "two workers at the same time"
    assert worker_seconds([timed("a:1", 5.0, 3.0)]) == 0.0, "a clock that was set back"
    assert worker_seconds([]) == 0.0


def test_the_oracle_is_measured_with_its_extensions():
    grid = {"low": 0.04, "high": 0.32, "points": 4, "limit": 3}
    spec, search = invent(change=took(lambda cycle: 36.0), grid=grid)
    oracle = costs_of(spec, search)[0]
    assert (oracle.policy, oracle.measured) == ("Oracle", True)
    assert oracle.trainings == len(search.outcomes()) > 4 * 4 * 3
    assert oracle.worker_hours == pytest.approx(oracle.trainings / 100)
    assert oracle.test_accuracies == tuple(d.selected.test_score for d in search.decisions)


def test_what_is_estimated_takes_the_means_of_the_cycles():
    spec, search = invent(change=took(lambda cycle: 3600.0 * (1 + cycle)))
    curve = SiloCurve(q=1, beta=5, epsilon=0.02, delta=0.06, pruning_rate=0.2)
    _, known, tuned, _ = costs_of(spec, search, fitted=curve)
    assert (known.trainings, known.worker_hours) == (12, pytest.approx(3 * (1 + 2 + 3 + 4)))
    assert tuned.trainings == 3 * (6 + 1 + 6 + 6)
    assert tuned.worker_hours == pytest.approx(3 * (6 * 1 + 1 * 2 + 6 * 3 + 6 * 4))
    assert not known.measured and not tuned.measured


@pytest.mark.parametrize("q", [0, 1, 2, 9])
@pytest.mark.parametrize("cycles", [1, 2, 4])
def test_at_a_second_each_the_hours_are_the_trainings(q, cycles):
    spec, search = invent(change=took(lambda cycle: 1.0), cycles=cycles, replicates=2)
    curve = SiloCurve(q=q, beta=5, epsilon=0.02, delta=0.06, pruning_rate=0.2)
    found = costs_of(spec, search, fitted=curve)
    assert [3600 * cost.worker_hours for cost in found] == pytest.approx([c.trainings for c in found])
    assert found[2].trainings == silo_tuning_cost(6, cycles, 2, q_values=(q,)).trainings


def test_packs_are_shared_out():
    spec, search = invent(change=took(lambda cycle: 60.0, pack=10**9))
    oracle, known, *_ = costs_of(spec, search)
    assert oracle.worker_hours == pytest.approx(4 * 3 / 60)
    assert known.worker_hours == pytest.approx(4 * 3 / 60 / 6)


def test_a_curve_reaches_what_the_nearest_candidate_does_and_nothing_beyond_the_grid():
    spec, search = invent(cycles=2)
    accuracy = {c.max_lr: c.test_score for c in search.decisions[0].candidates}
    edge = accuracy[0.32]
    for rate, expected in [
        (0.0279, accuracy[0.02]),
        (0.0286, accuracy[0.04]),
        (0.6399, edge),
        (0.64, edge),
        (0.65, None),
        (0.005, accuracy[0.01]),
        (0.0049, None),
    ]:
        curve = SiloCurve(q=5, beta=5, epsilon=rate, delta=0.0, pruning_rate=0.2)
        known = costs_of(spec, search, known=curve)[1]
        assert known.test_accuracies[0] == expected, rate


def test_a_rate_of_zero_is_outside_every_grid():
    spec, search = invent(cycles=1)
    curve = SiloCurve(q=1, beta=5, epsilon=0.0, delta=0.1, pruning_rate=0.2)
    assert costs_of(spec, search, known=curve)[1].test_accuracies == (None,)


def test_without_the_specs_numbers_the_fitted_ones_stand_for_them():
    spec, search = invent(silo=None)
    _, known, tuned, _ = costs_of(spec, search)
    assert "the numbers fitted here" in known.explanation
    assert known.test_accuracies == tuned.test_accuracies


CLIMBS = {
    "up": ([0.1, 0.2, 0.3, 0.4, 0.3], 0.04, 0.08, 4),
    "to the edge": ([0.1, 0.2, 0.3, 0.4, 0.5], 0.01, 0.16, 5),
    "a local peak": ([0.9, 0.2, 0.3, 0.2, 0.8], 0.04, 0.04, 3),
    "a plateau": ([0.1, 0.1, 0.1, 0.1, 0.8], 0.02, 0.02, 3),
    "a rounding": ([0.1, 0.2, 0.3, 0.1 + 0.2, 0.8], 0.04, 0.04, 3),
    "the lower of two": ([0.3, 0.3, 0.2, 0.3, 0.4], 0.04, 0.02, 4),
    "from below": ([0.5, 0.2, 0.1, 0.1, 0.1], 0.001, 0.01, 2),
    "nearest": ([0.1, 0.2, 0.3, 0.2, 0.1], 0.029, 0.04, 3),
}


@pytest.mark.parametrize(("accuracies", "start", "found", "evaluated"), CLIMBS.values(), ids=CLIMBS)
def test_a_climb_goes_to_the_better_neighbour(accuracies, start, found, evaluated):
    best, count = climb(candidates(accuracies), start)
    assert (best.max_lr, count) == (found, evaluated)


def test_a_climb_with_one_candidate_stays():
    assert climb(candidates([0.5], rates=[0.1]), 3.0)[1] == 1


def test_the_hill_climb_goes_on_from_the_last_cycle():
    spec, search = invent(lambda cycle, _, rate: 0.9 - abs(rate - (0.04, 0.04, 0.16, 0.32)[cycle]))
    climbed = costs_of(spec, search)[-1]
    # 0.02 to 0.16 from 0.08; 0.02 to 0.08; 0.02 to 0.32 from 0.04; 0.08 to 0.64 from 0.16.
    assert climbed.trainings == 3 * (4 + 3 + 5 + 4)
    assert climbed.test_accuracies == pytest.approx((0.9, 0.9, 0.9, 0.9))
    assert "Replayed, not run" in climbed.explanation


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("silo", "SILO's curve"),
        ({"name": "fixed", "arguments": {"max_lr": 0.1}}, "one fixed rate"),
        ({"name": "allr", "arguments": {"max_lr": 0.1}}, "ALLR"),
    ],
)
def test_another_policy_is_measured_alone(policy, name):
    spec, search = invent(policy=policy, grid=None, change=took(lambda cycle: 360.0))
    (cost,) = costs_of(spec, search)
    assert (cost.policy, cost.trainings, cost.measured) == (name, 12, True)
    assert cost.worker_hours == pytest.approx(1.2)


def test_nothing_decided_costs_nothing_yet():
    spec, search = invent(decided=0)
    assert costs_of(spec, search) == ()
