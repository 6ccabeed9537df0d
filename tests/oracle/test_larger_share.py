"""An adaptive search that goes on with a larger budget: what was chosen stays, and more is known of it."""

import pytest

import oracle
from oracle.drivers import in_process
from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.ledger.tables import read_rounds
from oracle.observers import Observer
from oracle.results import Results
from oracle.search import Search
from oracle.testing.replay import replay
from tests.oracle.test_adaptive import CYCLES, RATES, REPLICATES, accuracies, adaptive, asked, go_on, rules
from tests.support import open_session, results, run_in_process, small_spec


def grown(before, share, growth, replicates=REPLICATES):
    """The search with a larger share, as far as the one with the smaller goes."""
    larger = rules(adaptive(share), growth=growth, replicates=replicates)
    choices = [each.choice for each in before.decisions]
    search = Search(larger, choices, {cycle: before.rounds(cycle) for cycle in range(len(choices))})
    search.restore(before.outcomes(), [p for cycle in range(CYCLES) for p in before.prunings(cycle)])
    return search


def test_every_cycle_gets_its_part_and_what_was_chosen_stays():
    before = replay(rules(adaptive(0.2)), accuracies())
    after = grown(before, 0.6, 3.0)
    pairs = go_on(after, accuracies())
    assert [each.choice for each in after.decisions] == [each.choice for each in before.decisions]
    assert len(pairs) == len(set(pairs)) and not {
        (each.cycle, each.replicate, each.max_lr) for each in before.outcomes()
    } & set(pairs)
    assert len({cycle for cycle, *_ in pairs}) >= CYCLES - 1  # but for one whose ends are sure
    for cycle in range(CYCLES):
        assert after.rounds(cycle)[: len(before.rounds(cycle))] == before.rounds(cycle)
    assert len(after.outcomes()) <= 0.6 * CYCLES * RATES * REPLICATES + 9
    sure = [
        sum(decision.belief.sure for decision in search.decisions if decision.belief)
        for search in (before, after)
    ]
    assert sure[1] > sure[0] + 0.3


def test_it_goes_on_from_any_of_its_trainings():
    before = replay(rules(adaptive(0.2)), accuracies())
    whole = grown(before, 0.6, 3.0)
    pairs = go_on(whole, accuracies())
    for count in range(0, len(pairs), 7):
        search = grown(before, 0.6, 3.0)
        search.restore([t for t in whole.outcomes() if (t.cycle, t.replicate, t.max_lr) in pairs[:count]], ())
        assert sorted(go_on(search, accuracies())) == sorted(pairs[count:])
        assert search.decisions == whole.decisions


def test_more_replicates_join_first():
    before = replay(rules(adaptive(0.2)), accuracies())
    after = grown(before, 0.5, 2.5, replicates=5)
    go_on(after, accuracies(replicates=5))
    assert [each.choice for each in after.decisions] == [each.choice for each in before.decisions]
    for decision in after.decisions:
        assert len(decision.selected.trials) == 5
    assert len(after.outcomes()) > len(before.outcomes()) * 5 / 3


def budget(**arguments):
    return {"name": "adaptive", "arguments": arguments}


class Stops(Observer):
    """Ends a search once it has trained so many packs."""

    def __init__(self, packs):
        self.left = packs

    def trained(self, session, trials):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_in_the_ledger_too_also_where_the_growth_is_cut_off(tmp_path):
    first = run_in_process(small_spec(tmp_path, policy=budget(trainings=4), replicates=3))
    trained = {(t.cycle, t.replicate, t.max_lr): t.checkpoint.sha256 for t in first.search.outcomes()}
    larger = small_spec(tmp_path, policy=budget(trainings=14), replicates=3)
    with open_session(larger, observers=[Stops(2)]) as session, pytest.raises(KeyboardInterrupt):
        in_process.run(session)
    last = run_in_process(larger)
    assert [d.choice for d in last.search.decisions] == [d.choice for d in first.search.decisions]
    after = {(t.cycle, t.replicate, t.max_lr): t.checkpoint.sha256 for t in last.search.outcomes()}
    assert len(after) > len(trained) and trained.items() <= after.items()
    again = run_in_process(larger)  # it is done
    assert results(again) == results(last) and asked(again.search) == asked(last.search)
    found = Results.read(*Ledger.open_search("small", larger.ledger))
    assert found.done and len(found.outcomes) == len(after)


def test_a_smaller_one_is_refused(tmp_path):
    run_in_process(small_spec(tmp_path, policy=budget(share=0.5), replicates=3))
    with pytest.raises(Refused, match=r"changed: policy\.arguments\.share: 0\.5 -> 0\.3"):
        run_in_process(small_spec(tmp_path, policy=budget(share=0.3), replicates=3))
    with pytest.raises(Refused, match=r"changed: .*trainings"):
        run_in_process(small_spec(tmp_path, policy=budget(trainings=9), replicates=3))


def test_what_has_not_grown_is_asked_for_nothing():
    before = replay(rules(adaptive(0.2)), accuracies())
    search = Search(before.rules, [each.choice for each in before.decisions], dict(enumerate(asked(before))))
    search.restore(before.outcomes(), [p for cycle in range(CYCLES) for p in before.prunings(cycle)])
    assert search.done


def test_what_was_asked_for_and_never_trained_is_forgotten_with_another_grid(tmp_path):
    class Interrupts(oracle.Observer):
        def started(self, session):
            raise KeyboardInterrupt

    first = small_spec(tmp_path, policy=budget(share=0.5), cycles=1)
    with pytest.raises(KeyboardInterrupt):
        oracle.run(first, driver="in-process", observers=[Interrupts()])
    assert read_rounds(Ledger(first.ledger), "small")
    grid = {"low": 0.03, "high": 0.3, "points": 4}
    found = oracle.run(
        small_spec(tmp_path, policy=budget(share=0.5), cycles=1, grid=grid), driver="in-process"
    )
    fresh = small_spec(tmp_path / "fresh", policy=budget(share=0.5), cycles=1, grid=grid)
    expected = oracle.run(fresh, driver="in-process")
    assert found.trials.sha256.tolist() == expected.trials.sha256.tolist()
    assert found.intervals.equals(expected.intervals)
