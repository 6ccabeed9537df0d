"""Searches that leave trainings out: ``adaptive`` and ``edge`` in the state machine and the ledger."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.tables.comparison import units
from oracle.cli.run import told
from oracle.cycles import Choice, Grid
from oracle.drivers import in_process
from oracle.ledger import Ledger
from oracle.ledger.tables import read_rounds
from oracle.observers import Observer
from oracle.policies import AdaptivePolicy, EdgePolicy, make_policy, restated
from oracle.results import Results
from oracle.search import Rules, Search, Signal
from oracle.testing.replay import replay, replayed
from silo.errors import InvalidInput
from silo.landscape import learn
from tests.oracle.test_search import in_any_order
from tests.silo.landscape.worlds import world
from tests.support import open_session, results, run_in_process, small_spec
from trials.tasks import TrainPack

CYCLES, RATES, REPLICATES = 5, 10, 3


def rules(policy, kind="moving", *, values=slice(None), limit=0, **changes):
    """Rules on a part of a world's grid."""
    grid = Grid(values=tuple(world(kind, RATES, CYCLES).rates.tolist()[values]), scale="log", limit=limit)
    given_rules = {"cycles": CYCLES, "replicates": REPLICATES, "tolerance": 0.005} | changes
    return Rules(policy=policy(grid=grid), **given_rules)


def accuracies(kind="moving", seed=0, replicates=REPLICATES):
    """What each trial of a world reaches; between its rates, and beyond them, what the nearest does."""
    true = world(kind, RATES, CYCLES)
    tables = [each.accuracies for each in true.search(replicates, seed)]
    rates = np.log(true.rates)
    return lambda cycle, replicate, rate: float(tables[cycle][abs(rates - np.log(rate)).argmin(), replicate])


def adaptive(share=0.3):
    return lambda grid: AdaptivePolicy(grid=grid, share=share)


def asked(search):
    return [search.rounds(cycle) for cycle in range(search.rules.cycles)]


def go_on(search, accuracy):
    """Runs a search to its end; gives the trainings that it asked for."""
    pairs = []
    while not isinstance(task := search.ask(), Signal):
        if isinstance(task, TrainPack):
            pairs += [(task.cycle, task.replicate, rate) for rate in task.max_lrs]
        search.tell(task, replayed(task, accuracy))
    return pairs


@pytest.mark.parametrize("policy", [adaptive(), EdgePolicy])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_order_duplicates_failures_and_stops_change_nothing(policy, data):
    given_rules, accuracy = rules(policy, attempts=5, cycles=3), accuracies()
    whole = replay(given_rules, accuracy)

    def restarted(search):
        known = {cycle: search.rounds(cycle) for cycle in range(3)}
        recorded = known if data.draw(st.booleans()) else None  # the same is worked out again without
        again = Search(given_rules, [each.choice for each in search.decisions], recorded)
        again.restore(
            reversed(search.outcomes()), [each for cycle in range(3) for each in search.prunings(cycle)]
        )
        return again

    search = in_any_order(data, Search(given_rules), lambda task: replayed(task, accuracy), restarted)
    assert search.decisions == whole.decisions
    assert asked(search) == asked(whole)


def test_it_takes_its_share_and_the_rate_that_goes_on_has_every_replicate():
    search = replay(rules(adaptive(0.3)), accuracies())
    counts = [len(each.trials) for each in search.decisions]
    assert counts[0] >= 7 * REPLICATES  # the first look, which the later cycles pay back
    assert sum(counts) <= 0.3 * CYCLES * RATES * REPLICATES + 9
    for decision in search.decisions:
        assert len(decision.selected.trials) == REPLICATES == decision.choice.replicates
        assert decision.choice.rule == "posterior" and decision.chosen == decision.interval.optimum
        assert len(decision.grid) == RATES > len(decision.candidates)
        assert sum(trained for trained in decision.scores.trained) == len(decision.trials)


def test_a_number_of_trainings_is_a_share():
    by_share = replay(rules(adaptive(0.4)), accuracies())
    by_number = replay(rules(lambda grid: AdaptivePolicy(grid=grid, trainings=12)), accuracies())
    assert asked(by_share) == asked(by_number)


def test_what_is_recorded_is_asked_whatever_the_model_says_here():
    whole = replay(rules(adaptive()), accuracies())
    rates = whole.decisions[0].grid
    other = {1: ({0: rates[2:4], 2: rates[2:3]}, {1: rates[2:3]})}
    choices = [whole.decisions[0].choice, Choice(cycle=1, max_lr=rates[2], rule="posterior", replicates=3)]
    search = Search(whole.rules, choices, {0: whole.rounds(0)} | other)
    go_on(search, accuracies())
    assert search.rounds(1) == other[1] and search.decisions[1].chosen == rates[2]
    # Without a choice the model goes on from what was asked.
    longer = Search(whole.rules, choices[:1], {0: whole.rounds(0)} | other)
    go_on(longer, accuracies())
    assert longer.rounds(1)[:2] == other[1] and len(longer.rounds(1)) > 2


def test_new_replicates_train_what_all_the_others_did_and_follow_them():
    whole = replay(rules(adaptive()), accuracies())
    more = dataclasses.replace(whole.rules, replicates=5)
    search = Search(more, [each.choice for each in whole.decisions], dict(enumerate(asked(whole))))
    search.restore(whole.outcomes(), [p for cycle in range(CYCLES) for p in whole.prunings(cycle)])
    pairs = go_on(search, accuracies(replicates=5))
    assert {replicate for _, replicate, _ in pairs} == {3, 4}
    assert [each.choice for each in search.decisions] == [each.choice for each in whole.decisions]
    for before, after in zip(whole.decisions, search.decisions, strict=True):
        full = [each.max_lr for each in before.candidates if len(each.trials) == REPLICATES]
        assert [each.max_lr for each in after.candidates if len(each.trials) == 5] == full


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_rounds_fill_the_workers_as_far_as_the_budget_goes(workers):
    search = replay(rules(adaptive(0.5), workers=workers), accuracies())
    sizes = [sum(map(len, each.values())) for cycle in asked(search)[1:] for each in cycle]
    share = 0.5 * RATES * REPLICATES
    assert sum(size % workers == 0 for size in sizes) >= (len(sizes) / 2 if workers < share else 0)
    assert len(sizes) <= {1: 20, 4: 16, 16: 12}[workers]  # fewer turns with more workers
    assert sum(sizes) <= share * CYCLES


def test_the_budget_counts_work_and_fills_packs():
    alone = replay(rules(adaptive(0.3)), accuracies())
    packed = replay(rules(adaptive(0.3), pack_size=4), accuracies())
    first = packed.rounds(1)[0]
    # Where a pack is trained for the rate that is likely to go on, others go with it.
    assert set.intersection(*map(set, first.values())) and sum(map(len, first.values())) > REPLICATES
    assert len(packed.rounds(1)) <= len(alone.rounds(1))
    assert packed._work(1) <= 0.3 * REPLICATES * (3 + RATES) / 2 + 3  # three packs of the whole grid


def test_the_grid_grows_past_an_edge_that_the_interval_reaches_and_later_cycles_begin_there():
    true = world("moving", RATES, CYCLES)
    search = replay(rules(adaptive(), values=slice(2, 6), limit=4), accuracies())
    for decision in search.decisions:
        low, high = (float(true.rates[ends[decision.cycle]]) for ends in true.ends)
        assert decision.grid[0] <= low * 1.001 and decision.grid[-1] >= high * 0.999
    grown = [len(decision.grid) for decision in search.decisions]
    assert 4 < grown[0] <= 12 and min(grown) > 4
    # A cycle that begins on a grown grid doesn't grow it anew, rate by rate.
    assert all(len(rounds) < len(search.rounds(0)) for rounds in asked(search)[1:])
    fixed = replay(rules(adaptive(), values=slice(2, 6)), accuracies())
    assert all(decision.interval.low_cut for decision in fixed.decisions[:3])


@pytest.mark.parametrize(("kind", "cycle"), [("collapse", 5), ("humps", 0)])
def test_what_is_odd_gets_a_closer_look_and_is_said(kind, cycle):
    true = world(kind, 14, 7)
    tables = [each.accuracies for each in true.search(REPLICATES)]
    rates = true.rates.tolist()
    policy = AdaptivePolicy(grid=Grid(values=tuple(rates), scale="log", limit=0))
    odd = dataclasses.replace(rules(AdaptivePolicy), cycles=7, policy=policy)
    search = replay(odd, lambda c, replicate, rate: float(tables[c][rates.index(rate), replicate]))
    counts = [len(decision.trials) for decision in search.decisions]
    assert counts[cycle] >= 7 * REPLICATES and counts[cycle] > np.median(counts)
    # Beside a coarse look at seven rates, two humps get one at twice as many.
    assert (len(search.decisions[cycle].candidates) > 9) == (kind == "humps")
    said = told(search.decisions[cycle], None)
    assert ("tell nothing of the rates" if kind == "collapse" else "two ranges of rates are good") in said


def test_a_jump_is_looked_at_and_said():
    rates = world("moving", 14, 1).rates

    def accuracy(cycle, replicate, rate):
        best = 0.02 if cycle < 3 else 0.25
        noise = 0.001 * np.sin(37 * cycle + 11 * replicate + 1000 * rate)
        return 0.95 - 0.02 * min(abs(np.log(rate / best)), 2.5) ** 2 + noise

    policy = AdaptivePolicy(grid=Grid(values=tuple(rates.tolist()), scale="log", limit=0))
    search = replay(dataclasses.replace(rules(AdaptivePolicy), policy=policy), accuracy)
    counts = [len(decision.trials) for decision in search.decisions]
    assert counts[3] > 2 * max(counts[1], counts[2])
    said = [told(after, before.chosen) for before, after in itertools.pairwise(search.decisions)]
    assert ["other rates" in each for each in said] == [False, False, True, False]
    assert abs(np.log(search.decisions[3].chosen / 0.25)) < 0.3


def test_the_edge_is_followed_with_one_rate_and_two_probes():
    search = replay(rules(EdgePolicy), accuracies())
    true = world("moving", RATES, CYCLES)
    first, *later = search.decisions
    assert len(first.trials) == RATES * REPLICATES
    for decision in later:
        assert len(decision.trials) == REPLICATES + 2 and len(decision.selected.trials) == REPLICATES
        lost = true.truth[decision.cycle].max() - true.truth[decision.cycle]
        assert lost[list(first.grid).index(decision.chosen)] <= 0.005
    probed = [trial.replicate for each in later for trial in each.trials if trial.max_lr > each.chosen]
    assert set(probed) == {0, 1, 2}  # by turns


def test_with_one_replicate_the_rules_rate_goes_on_and_no_probe():
    search = replay(rules(EdgePolicy, replicates=1), accuracies(replicates=1))
    for decision in search.decisions[1:]:
        assert len(decision.trials) == 3 and decision.chosen == min(t.max_lr for t in decision.trials)


def test_without_an_edge_the_rule_refuses_and_what_was_found_stays(tmp_path):
    search = replay(rules(EdgePolicy, "edge"), accuracies("edge"))
    assert len(search.decisions) == 1 and search.ask() is Signal.STUCK
    assert "most did not: take policy adaptive" in search.refusal
    spec = small_spec(tmp_path, policy="edge", grid={"low": 0.01, "high": 0.04, "points": 3, "extend": False})
    session = run_in_process(spec)
    assert session.first_error == session.search.refusal is not None
    found = Results.read(*Ledger.open_search("small", spec.ledger))
    assert len(found.decided) == 1 and not found.done


@pytest.mark.parametrize(("chance", "decided"), [(0.13, 1), (None, 3)])
def test_a_score_that_falls_slowly_has_no_edge_where_chance_is_known(chance, decided):
    def accuracy(cycle, replicate, rate):  # about as a small ResNet's with Adam: 0.43, at the top 0.31
        return 0.43 - 0.006 * math.log(rate / 0.0025) ** 2 + 0.003 * replicate

    grid = Grid(values=tuple(np.geomspace(0.0002, 0.2, 12)), scale="log", limit=0)
    terms = {"cycles": 3, "replicates": 3, "tolerance": 0.01, "chance": chance}
    search = replay(Rules(policy=EdgePolicy(grid=grid), **terms), accuracy)
    assert len(search.decisions) == decided
    assert (search.ask() is Signal.STUCK) == (decided == 1)


def test_rounds_are_in_the_ledger_before_they_are_trained_and_a_search_goes_on_from_them(tmp_path):
    spec = small_spec(tmp_path, policy={"name": "adaptive", "arguments": {"share": 0.5}}, replicates=3)
    stopped = []

    class Stops(Observer):
        def decided(self, session, decision):
            stopped.append(read_rounds(session.ledger, "small"))
            if decision.cycle == 1:
                raise KeyboardInterrupt

    with open_session(spec, observers=[Stops()]) as session:
        assert list(read_rounds(session.ledger, "small")) == [0]
        with pytest.raises(KeyboardInterrupt):
            in_process.run(session)
    assert 2 in stopped[1]  # the third cycle's first round, of which nothing was trained
    expected = run_in_process(small_spec(tmp_path / "whole", policy=spec.policy, replicates=3))
    resumed = run_in_process(spec)
    assert results(resumed) == results(expected) and asked(resumed.search) == asked(expected.search)
    assert read_rounds(Ledger(spec.ledger), "small") == dict(enumerate(asked(resumed.search)))


def test_results_state_what_all_cycles_tell_and_costs_what_was_left_out(tmp_path):
    spec = small_spec(tmp_path, policy="adaptive", replicates=3, cycles=2)
    session = run_in_process(spec)
    found = Results.of(session.spec, session.search, record=session.record)
    assert len(found.outcomes) < 2 * 5 * 3
    candidates = found.candidates
    assert (candidates.replicates == 3).any() and candidates.p_inside.notna().all()
    assert candidates.query("chosen").replicates.tolist() == [3, 3]
    names = [cost.policy for cost in found.policy_costs]
    assert names[0] == "adaptive Oracle" and names[-1] == "Oracle" and "hill climb on the grid" not in names
    assert found.policy_costs[0].trainings == len(found.outcomes)
    assert found.policy_costs[-1].trainings == 2 * 5 * 3 and not found.policy_costs[-1].measured
    assert "likelier within 0.5 % of the best than not" in units(found)


def test_later_cycles_move_the_intervals_that_results_state():
    search = replay(rules(adaptive()), accuracies())
    stated = restated(search.decisions, 0.005, None)
    beliefs = learn([each.scores for each in search.decisions], tolerance=0.005)
    for each, belief in zip(stated, beliefs, strict=True):
        low, high = (belief.rates[end] for end in belief.stated)
        assert each.interval.low <= low and each.interval.high >= high
        assert each.choice == search.decisions[each.cycle].choice
    assert [each.interval for each in stated] != [each.interval for each in search.decisions]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, "share must be a number above 0, not 0"),
        ({"share": 25}, r"in \(0, 1\], not 25: 25 % is 0.25"),
        ({"share": True}, "share must be a number above 0, not True"),
        ({"trainings": "ten"}, "trainings must be a number above 0, not 'ten'"),
        ({"share": 0.2, "trainings": 9}, "a share or a number of trainings, not both"),
        ({"shares": 0.2}, "adaptive takes no argument 'shares'.*did you mean 'share'"),
    ],
)
def test_budgets_that_are_none_are_named(arguments, message):
    grid = Grid(values=(0.1, 0.2), scale="log", limit=0)
    with pytest.raises(InvalidInput, match=message):
        make_policy("adaptive", arguments, grid=grid, curve=None, pruning_rate=0.2)


@pytest.mark.parametrize("policy", ["adaptive", "edge"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tolerance": 0}, "needs a tolerance above 0"),
        ({"decide": "point"}, "leaves trainings out, so that means don't compare"),
        ({"grid": None}, "needs a grid"),
    ],
)
def test_specs_that_make_no_sense_with_it_are_refused(tmp_path, policy, fields, message):
    with pytest.raises(ValueError, match=message):
        small_spec(tmp_path, policy=policy, **fields)
