"""A search that goes on with more replicates: nothing is trained twice, and what was chosen stays."""

import dataclasses

import pytest

from oracle.cycles import Choice, Grid, decide
from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.ledger.tables import read_choices
from oracle.policies import AllrPolicy, OraclePolicy
from oracle.results import Results
from oracle.search import Rules, Search, Signal
from oracle.session import Recorded
from oracle.testing.replay import replay, replayed
from tests.processes import raw_rows
from tests.support import results, run_in_process, small_spec
from trials.tasks import PruneNetwork, TrainPack

RULES = Rules(
    policy=OraclePolicy(grid=Grid(values=(0.01, 0.02, 0.04, 0.08, 0.16), scale="log", limit=3)),
    cycles=3,
    replicates=2,
    tolerance=0.005,
    decide="posterior",
    pack_size=2,
)


def moving(cycle, replicate, max_lr):
    """The first two replicates are best at a high rate past the grid's edge, the others at a low one."""
    low = max(0.9 - 10 * abs(max_lr - 0.02) ** 0.5 / (cycle + 5), 0.1)
    return 0.5 + max_lr / 4 if replicate < 2 else low


def go_on(search, accuracy):
    """Runs a search to its end; gives what was asked for."""
    asked = []
    while not isinstance(task := search.ask(), Signal):
        asked.append(task)
        search.tell(task, replayed(task, accuracy))
    assert task is Signal.DONE
    return asked


def with_more(whole, replicates):
    """The search with more replicates, as far as the one with fewer goes."""
    rules = dataclasses.replace(whole.rules, replicates=replicates)
    search = Search(rules, [each.choice for each in whole.decisions])
    search.restore(whole.outcomes(), [p for c in range(whole.rules.cycles) for p in whole.prunings(c)])
    return search


def test_new_replicates_train_the_candidates_of_the_others_and_follow_their_choices():
    whole = replay(RULES, moving)
    longer = with_more(whole, 5)
    asked = go_on(longer, moving)
    assert {task.replicate for task in asked} == {2, 3, 4}
    assert [d.choice for d in longer.decisions] == [d.choice for d in whole.decisions]
    for one, other in zip(longer.decisions, whole.decisions, strict=True):
        assert len(other.candidates) == 8, "the grid has grown by its limit"
        assert [c.max_lr for c in one.candidates] == [c.max_lr for c in other.candidates]
        everything = {c.max_lr: {t.replicate: t for t in c.trials} for c in one.candidates}
        assert one.interval == decide(one.cycle, everything, tolerance=RULES.tolerance).interval
        assert one.interval.optimum < other.interval.optimum
    packs = {(t.cycle, t.max_lrs) for t in asked if isinstance(t, TrainPack)}
    assert packs == {(c, rates) for c in range(3) for rates in _packs(whole)}
    parents = {t.parent.path for t in asked if isinstance(t, PruneNetwork)}
    assert parents == {f"replayed/{d.cycle}/{r}/{d.chosen!r}" for d in whole.decisions[:2] for r in (2, 3, 4)}


def test_replicates_that_grow_twice_follow_what_was_recorded_before_either(tmp_path):
    """Also where the first growth was cut off, so that fewer cycles are decided anew than were recorded."""

    class Stop:
        def __getattr__(self, event):
            return lambda *given: None

        def decided(self, session, decision):
            raise RuntimeError("killed")

    before = run_in_process(small_spec(tmp_path, replicates=1))
    choices = [each.choice for each in before.search.decisions]
    with pytest.raises(RuntimeError, match="killed"):
        run_in_process(small_spec(tmp_path, replicates=2), observers=[Stop()])
    after = run_in_process(small_spec(tmp_path, replicates=3))
    assert len(choices) > 1 and [each.choice for each in after.search.decisions] == choices
    ledger = Ledger(small_spec(tmp_path).ledger)
    assert read_choices(ledger, "small") == tuple(choices)
    ledger.close()


def test_a_choice_that_is_no_candidate_is_refused():
    search = Search(RULES, [Choice(cycle=0, max_lr=7.0, rule="point", replicates=2)])
    with pytest.raises(Refused, match="cycle 0 went on with max_lr 7, which is none of its candidates"):
        go_on(search, moving)


def _packs(whole):
    """The packs of a cycle: those of the grid, then one for each of its extensions."""
    rates = [candidate.max_lr for candidate in whole.decisions[0].candidates]
    return [tuple(rates[:2]), (rates[2],), tuple(rates[3:5]), *((rate,) for rate in rates[5:])]


def test_a_cycle_that_was_under_way_is_decided_by_all_replicates():
    whole = replay(RULES, moving)
    search = Search(dataclasses.replace(RULES, replicates=3), [whole.decisions[0].choice])
    outcomes = [t for t in whole.outcomes() if t.cycle == 0 or (t.cycle == 1 and t.max_lr < 0.05)]
    search.restore(outcomes, whole.prunings(1))
    go_on(search, moving)
    assert [d.choice.replicates for d in search.decisions] == [2, 3, 3]


def test_a_rate_that_was_derived_from_the_first_replicates_stays():
    policy = AllrPolicy(max_lr=0.1, pruning_rate=0.2)

    def answer(task):
        found = replayed(task, lambda *place: 0.5)
        return (
            dataclasses.replace(found, norm_drop=0.1 * (1 + task.replicate))
            if isinstance(task, PruneNetwork)
            else found
        )

    def run(search):
        while not isinstance(task := search.ask(), Signal):
            search.tell(task, answer(task))
        return search

    whole = run(Search(dataclasses.replace(RULES, policy=policy)))
    longer = run(with_more(whole, 3))
    assert [d.chosen for d in longer.decisions] == [d.chosen for d in whole.decisions]
    assert {len(d.selected.trials) for d in longer.decisions} == {3}


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Folder, the search with two replicates, its rows, and the same search gone on with three."""
    folder = tmp_path_factory.mktemp("grown")
    before = run_in_process(small_spec(folder))
    rows = raw_rows(folder)
    return folder, before, rows, run_in_process(small_spec(folder, replicates=3))


def test_old_trials_are_untouched_and_new_ones_are_those_of_a_search_that_chose_the_same(
    grown, tmp_path, monkeypatch
):
    folder, before, rows, after = grown
    assert set(rows) <= set(raw_rows(folder)) and results(before).items() <= results(after).items()
    assert after.resumed == len(results(before)) and after.search.done
    choices = [each.choice for each in before.search.decisions]
    assert [each.choice for each in after.search.decisions] == choices
    forced, read = small_spec(tmp_path, replicates=3), Recorded.read
    monkeypatch.setattr(
        Recorded, "read", lambda *given: dataclasses.replace(read(*given), choices=tuple(choices))
    )
    assert results(run_in_process(forced)) == results(after)


def test_they_are_read_as_one_search(grown):
    folder, _, _, after = grown
    ledger = Ledger(small_spec(folder).ledger)
    found = Results.read(ledger, ledger.search("small"))
    ledger.close()
    assert found.search_spec.replicates == 3 and found.done
    assert found.intervals.chosen.tolist() == [each.chosen for each in after.search.decisions]
    assert found.decided == tuple(after.search.decisions)


def test_fewer_are_refused(grown):
    folder = grown[0]
    with pytest.raises(Refused, match=r"changed: replicates: 3 -> 2 \(it may grow, not shrink\)\."):
        run_in_process(small_spec(folder))


def test_a_search_that_begins_anew_has_chosen_nothing(tmp_path):
    spec = small_spec(tmp_path, replicates=1)
    run_in_process(spec)
    ledger = Ledger(spec.ledger)
    assert read_choices(ledger, "small")
    ledger.begin_anew(ledger.search("small"))
    assert read_choices(ledger, "small") == ()
    ledger.close()
