"""Which networks go on to the next cycle: by the landscape's posterior or by the means, and that it stays."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import delete, update

from oracle.cycles import Choice, Grid, PosteriorChoice
from oracle.errors import Refused
from oracle.ledger import Ledger, tables
from oracle.ledger.tables import add_choices, forget_choices, read_choices
from oracle.policies import FixedPolicy, OraclePolicy
from oracle.results import Results
from oracle.search import Rules, Search
from oracle.testing.replay import replay
from silo.landscape import Landscape
from tests.support import results, run_in_process, small_spec

RATES = tuple(0.01 * 1.3**k for k in range(12))
RULES = Rules(
    policy=OraclePolicy(grid=Grid(values=RATES, scale="log", limit=0)),
    cycles=3,
    replicates=3,
    tolerance=0.005,
    decide="posterior",
    pack_size=12,
)
LUCKY = RATES[9]


def lucky(cycle, replicate, max_lr):
    """One hump around the sixth rate; far from it a rate is lucky in one replicate."""
    steps = math.log(max_lr / RATES[5]) / math.log(1.3)
    noise = 0.004 * math.sin(7 * replicate + 3 * cycle + 1000 * max_lr)
    luck = 0.026 if max_lr == LUCKY and replicate == cycle % 3 else 0.0
    return 0.9 - 0.0003 * steps**2 + noise + luck


def two_humps(cycle, replicate, max_lr):
    steps = math.log(max_lr / RATES[0]) / math.log(1.3)
    return 0.9 - 0.02 * min(abs(steps - 2), abs(steps - 9)) + 0.0005 * math.sin(1000 * max_lr + replicate)


def test_a_lucky_rate_is_the_optimum_and_its_networks_do_not_go_on():
    by_posterior, by_means = replay(RULES, lucky), replay(dataclasses.replace(RULES, decide="point"), lucky)
    for one, other in zip(by_posterior.decisions, by_means.decisions, strict=True):
        assert one.interval == other.interval and one.interval.optimum == LUCKY
        assert other.choice == Choice(cycle=one.cycle, max_lr=LUCKY, rule="point", replicates=3)
        assert one.choice.rule == "posterior" and one.chosen < LUCKY
        assert one.selected.max_lr == one.chosen and one.best.max_lr == LUCKY
        assert by_posterior.checkpoint(one.cycle, 1) == one.selected.trials[1].checkpoint


def test_what_the_posterior_chooses_loses_less_than_the_best_of_noisy_means():
    truth = {rate: 0.9 - 0.0004 * (k - 5) ** 2 for k, rate in enumerate(RATES)}
    lost = {"point": 0.0, "posterior": 0.0}
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 0.005, (3, 3, len(RATES)))

        def accuracy(cycle, replicate, max_lr, noise=noise):
            return truth[max_lr] + noise[cycle, replicate, RATES.index(max_lr)]

        for rule in lost:
            for decision in replay(dataclasses.replace(RULES, decide=rule), accuracy).decisions:
                lost[rule] += 0.9 - truth[decision.chosen]
    assert lost["posterior"] < 0.6 * lost["point"]


@pytest.mark.parametrize(
    ("accuracy", "changes"),
    [
        (two_humps, {}),
        (lucky, {"chance": 0.95}),
        (lucky, {"tolerance": 0.0}),
        (lucky, {"policy": FixedPolicy(max_lr=0.1)}),
    ],
    ids=["two humps", "nothing learned", "no tolerance", "one rate"],
)
def test_where_the_model_has_nothing_to_say_the_means_decide(accuracy, changes):
    for decision in replay(dataclasses.replace(RULES, **changes), accuracy).decisions:
        assert decision.choice.rule == "point" and decision.chosen == decision.interval.optimum


def test_what_was_chosen_is_the_same_from_any_part_of_the_outcomes_and_on_growing_grids():
    rules = dataclasses.replace(
        RULES, policy=OraclePolicy(grid=Grid(values=RATES[:7], scale="log", limit=4)), pack_size=2
    )
    whole = replay(rules, lucky)
    assert len({len(decision.candidates) for decision in whole.decisions} | {7}) > 1
    outcomes = whole.outcomes()
    for kept in (0, 40, len(outcomes)):
        search = Search(rules)
        search.restore(reversed(outcomes[:kept]), [p for c in range(3) for p in whole.prunings(c)])
        search.restore(outcomes, [])
        assert [each.choice for each in search.decisions] == [each.choice for each in whole.decisions]
    late = PosteriorChoice(rules.tolerance, None)
    assert late(whole.decisions) == whole.decisions[-1].chosen


def test_losses_that_differ_by_roundings_are_equal_and_the_smaller_rate_wins(monkeypatch):
    means = np.full(len(RATES), 0.1)
    means[[4, 6, 8]] = 0.01 + 1e-9, 0.01, 0.01 + 1e-5
    belief = SimpleNamespace(silent=False, two_humps=False, means=means)
    monkeypatch.setattr(Landscape, "beliefs", lambda *given: (belief,))
    assert {each.chosen for each in replay(RULES, lucky).decisions} == {RATES[4]}


def test_a_recorded_choice_stays_whatever_the_rule_would_choose():
    recorded = Choice(cycle=1, max_lr=RATES[0], rule="posterior", replicates=3)
    whole = replay(RULES, lucky)
    search = Search(RULES, [recorded])
    search.restore(whole.outcomes(), [p for c in range(3) for p in whole.prunings(c)])
    assert search.decisions[1].choice == recorded
    assert [search.decisions[c].choice for c in (0, 2)] == [whole.decisions[c].choice for c in (0, 2)]


def test_choices_are_in_the_ledger_before_anything_is_pruned_and_are_read_again(tmp_path):
    spec, seen = small_spec(tmp_path), []

    class Watches:
        def __getattr__(self, event):
            return lambda *given: None

        def decided(self, session, decision):
            seen.append(read_choices(session.ledger, session.spec.name)[-1] == decision.choice)

    session = run_in_process(spec, observers=[Watches()])
    assert seen == [True] * 3
    ledger = Ledger(spec.ledger)
    other = dataclasses.replace(session.search.decisions[2].choice, max_lr=0.4)
    add_choices(ledger, spec.name, [other])
    assert read_choices(ledger, spec.name) == tuple(each.choice for each in session.search.decisions)
    with ledger.engine.begin() as connection:
        connection.execute(update(tables.choices).where(tables.choices.c.cycle == 2).values(max_lr=0.4))
    with pytest.raises(
        Refused, match="cycle 2 of oracle_choices: its values are not those that were written"
    ):
        read_choices(ledger, spec.name)
    forget_choices(ledger, spec.name, [2])
    add_choices(ledger, spec.name, [other])
    found = Results.read(ledger, ledger.search(spec.name))
    ledger.close()
    assert found.decided[2].chosen == 0.4 and found.intervals.chosen.tolist()[2] == 0.4
    assert found.candidates[found.candidates.chosen].max_lr.tolist() == found.intervals.chosen.tolist()
    trials = found.trials
    assert set(trials[trials.selected & (trials.cycle == 2)].max_lr) == {0.4}


def old(spec):
    """Makes the ledger's search one of the time when there was no choice."""
    ledger = Ledger(spec.ledger)
    record = ledger.search(spec.name)
    for data in (record.spec, record.identity["spec"]):
        del data["decide"]
    ledger.register(record)
    with ledger.engine.begin() as connection:
        connection.execute(delete(tables.choices))
    ledger.close()


def test_a_search_of_before_goes_on_by_the_means(tmp_path):
    spec = small_spec(tmp_path, cycles=2, decide="point")
    run_in_process(spec)
    old(spec)
    session = run_in_process(small_spec(tmp_path))
    assert session.resumed > 0 and session.spec.decide == "point"
    assert {each.choice.rule for each in session.search.decisions} == {"point"}
    whole = run_in_process(small_spec(tmp_path / "whole", decide="point"))
    assert results(session) == results(whole)


def test_a_search_with_results_is_not_decided_otherwise(tmp_path):
    run_in_process(small_spec(tmp_path, cycles=1))
    with pytest.raises(Refused, match='changed: decide: "posterior" -> "point"'):
        run_in_process(small_spec(tmp_path, cycles=2, decide="point"))
