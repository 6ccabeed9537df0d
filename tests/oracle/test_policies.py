"""What sets the rates besides the Oracle: one candidate per cycle, known without a search."""

import math
from dataclasses import replace

import pytest

from oracle.execution import turns
from oracle.policies import AllrPolicy, CurvePolicy, FixedPolicy, make_policy
from oracle.results import Results
from oracle.search import Rules, Search, Signal
from oracle.testing.replay import replayed_trial
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from tests.support import results, run_in_process, small_spec
from trials.tasks import Failed, PrunedNetwork, PruneNetwork, StoredFile

CURVE = SiloCurve(q=1, beta=5, epsilon=0.04, delta=0.06, pruning_rate=0.2)
DROPS = {(1, 0): 0.1, (1, 1): 0.2, (2, 0): 0.9, (2, 1): 0.8, (3, 0): 0.001, (3, 1): 0.0}


def rules(policy):
    return Rules(
        cycles=4,
        replicates=2,
        tolerance=0.005,
        policy=policy,
    )


def finish(task, left=0.8):
    if isinstance(task, PruneNetwork):
        return PrunedNetwork(
            cycle=task.cycle,
            replicate=task.replicate,
            start=StoredFile(path=f"{task.cycle}/{task.replicate}", sha256="0"),
            alive=round(1000 * left**task.cycle),
            prunable=1000,
            parameters=1200,
            norm_drop=DROPS[task.cycle, task.replicate],
        )
    return tuple(replayed_trial(task.cycle, task.replicate, lr, 0.5) for lr in task.max_lrs)


def run(policy, *, fail_first=False, left=0.8):
    search, seen = Search(rules(policy)), set()
    while not isinstance(task := search.ask(), Signal):
        failed = fail_first and task not in seen
        seen.add(task)
        search.tell(task, Failed(error="x") if failed else finish(task, left))
    return search


@pytest.mark.parametrize("fail_first", [False, True])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (CurvePolicy(curve=CURVE), [CURVE.max_lr(m) for m in range(4)]),
        (FixedPolicy(max_lr=0.03), [0.03] * 4),
        (
            AllrPolicy(max_lr=0.1, pruning_rate=0.2),
            [0.1, 0.1 * 0.15 / math.sqrt(0.2), 0.1, 0.1 * 0.01],
        ),
    ],
)
def test_each_cycle_has_the_policys_one_rate(policy, expected, fail_first):
    search = run(policy, fail_first=fail_first)
    assert search.done and not search.rules.policy.searches and search.rules.policy.candidates == 1
    assert len({(t.cycle, t.max_lr) for t in search.outcomes()}) == 4 and len(search.outcomes()) == 8
    assert [decision.interval.optimum for decision in search.decisions] == pytest.approx(expected)


def planned(*densities):
    return replace(CURVE, densities=densities)


@pytest.mark.parametrize(
    ("curve", "left", "followed"),
    [
        (CURVE, 0.5, planned(1.0, 0.5, 0.25, 0.125)),
        (CURVE, 0.799, CURVE),  # a pruner rounds
        (planned(1.0, 0.5, 0.25, 0.125), 0.5, planned(1.0, 0.5, 0.25, 0.125)),
        (planned(1.0, 0.5, 0.25, 0.125), 0.8, planned(1.0, 0.8, 0.64, 0.512)),
    ],
)
def test_silo_goes_by_what_the_pruner_left(curve, left, followed):
    search = run(CurvePolicy(curve=curve), left=left)
    expected = [followed.max_lr(m) for m in range(4)]
    assert [decision.interval.optimum for decision in search.decisions] == pytest.approx(expected)


def test_restored_from_any_part_it_goes_on_as_if_nothing_had_been():
    whole = run(AllrPolicy(max_lr=0.1, pruning_rate=0.2))
    prunings = [pruned for cycle in range(4) for pruned in whole.prunings(cycle)]
    outcomes = whole.outcomes()
    for kept in range(len(outcomes) + 1):
        for pruned in range(len(prunings) + 1):
            search = Search(whole.rules)
            search.restore(outcomes[:kept], prunings[:pruned])
            while not isinstance(task := search.ask(), Signal):
                search.tell(task, finish(task))
            assert search.outcomes() == outcomes


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "orcale",
            {},
            "there is no policy 'orcale': known are oracle, adaptive, edge, silo, fixed, allr; did you mean "
            "'oracle'?",
        ),
        ("oracle", {}, "oracle needs a grid"),
        ("oracle", {"max_lr": 1}, "oracle takes no argument 'max_lr'"),
        ("silo", {}, "silo needs the field silo"),
        ("fixed", {}, "fixed needs the argument 'max_lr'"),
        ("fixed", {"max_lr": 0}, "max_lr must be a number above 0, not 0"),
        ("fixed", {"max_lr": "0.1"}, "max_lr must be a number above 0, not '0.1'"),
        (
            "fixed",
            {"maxlr": 0.1},
            "fixed takes no argument 'maxlr': known are max_lr; did you mean 'max_lr'?",
        ),
        ("allr", {"max_lr": 0.1, "minimum": 2}, "allr.minimum must be a share of max_lr"),
    ],
)
def test_bad_policies_are_named(name, arguments, message):
    with pytest.raises(InvalidInput) as raised:
        make_policy(name, arguments, grid=None, curve=None, pruning_rate=0.2)
    assert message in str(raised.value) and "\n" not in str(raised.value)


FIXED = {"name": "fixed", "arguments": {"max_lr": 0.1}}
ALLR = {"name": "allr", "arguments": {"max_lr": 0.1}}


@pytest.mark.parametrize("policy", ["silo", FIXED, ALLR], ids=["silo", "fixed", "allr"])
def test_a_search_with_a_policy_runs_and_its_comparison_says_so(tmp_path, policy):
    session = run_in_process(small_spec(tmp_path, policy=policy, grid=None))
    assert session.search.done
    rates = [decision.interval.optimum for decision in session.search.decisions]
    if policy == "silo":
        assert rates == [session.spec.silo_curve().max_lr(m) for m in range(3)]
    elif policy == FIXED:
        assert rates == [0.1] * 3
    else:
        drops = [session.search.prunings(m) for m in (1, 2)]
        assert all(0 < pruned.norm_drop < math.sqrt(0.2) for found in drops for pruned in found)
        expected = [0.1 * sum(p.norm_drop for p in found) / len(found) / math.sqrt(0.2) for found in drops]
        assert rates == pytest.approx([0.1, *expected])
    results = Results.of(session.spec, session.search)
    assert results.fit is None and results.predicted is None and results.done
    assert "nothing is searched" in results.verdict()


@pytest.mark.parametrize(("share", "expected"), [(0.1, 1), (0.25, 1), (0.5, 2), (1.0, 5)])
def test_an_adaptive_cycle_asks_as_often_as_its_budget_allows(share, expected, tmp_path):
    policy = {"name": "adaptive", "arguments": {"share": share}}
    grid = {"low": 0.01, "high": 0.4, "points": 14}
    found = small_spec(tmp_path, grid=grid, policy=policy).policy_of_rates()
    assert turns(found, 3) == expected
    assert turns(small_spec(tmp_path, grid=grid).policy_of_rates(), 3) == 1


def test_the_same_rate_gives_the_same_trial_whatever_chose_it(tmp_path):
    shared = {"cycles": 1, "training": {"epochs": 2, "batch_size": 64, "pack": 1}}
    alone = run_in_process(small_spec(tmp_path / "a", policy=FIXED, grid=None, **shared))
    grid = {"values": [0.05, 0.1], "extend": False}
    searched = run_in_process(small_spec(tmp_path / "b", grid=grid, **shared))
    found = [{key: value for key, value in results(s).items() if key[2] == 0.1} for s in (alone, searched)]
    assert found[0] == found[1] and len(found[0]) == 2
