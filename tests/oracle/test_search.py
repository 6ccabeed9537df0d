"""The state machine: what it asks for, and that decisions depend on the outcomes alone."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.cycles import Grid
from oracle.policies import OraclePolicy
from oracle.search import Rules, Search, Signal
from oracle.testing.replay import replay, replayed_trial
from trials.tasks import Damaged, Failed, PrunedNetwork, PruneNetwork, StoredFile, TrainPack

RULES = Rules(
    policy=OraclePolicy(grid=Grid(values=(0.01, 0.02, 0.04, 0.08, 0.16), scale="log", limit=3)),
    cycles=4,
    replicates=2,
    tolerance=0.005,
    pack_size=2,
)


def peaked(at=lambda cycle: 0.04 * 1.5**cycle, width=1.0):
    """Accuracy falls with the distance from a peak that moves with the cycle; replicates differ a little."""

    def accuracy(cycle, replicate, max_lr):
        distance = math.log(max_lr / at(cycle)) / width
        return round(0.9 - 0.1 * distance**2 - 0.001 * replicate, 6)

    return accuracy


def finish(task, accuracy=None, sha="0"):
    """What a worker would answer."""
    accuracy = accuracy or peaked()
    if isinstance(task, PruneNetwork):
        file = StoredFile(path=f"start/{task.cycle}/{task.replicate}", sha256=sha)
        return PrunedNetwork(
            cycle=task.cycle, replicate=task.replicate, start=file, alive=8, prunable=10, parameters=12
        )
    return tuple(
        replayed_trial(task.cycle, task.replicate, lr, accuracy(task.cycle, task.replicate, lr))
        for lr in task.max_lrs
    )


def test_what_cannot_succeed_is_tried_once():
    search = Search(RULES)
    first, second = search.ask(), search.ask()
    search.tell(first, Failed(error="no such file", final=True))
    assert search.failed == (first,) and search.ask() is Signal.WAIT  # none has succeeded: so would all fail
    search.tell(second, finish(second))
    while not isinstance(task := search.ask(), Signal):
        assert task != first
        search.tell(task, Failed(error="no such file", final=True))
    assert task is Signal.STUCK and len(search.failed) == 5


def test_nothing_more_is_tried_where_the_first_fails_as_all_would():
    search = Search(RULES)
    task = search.ask()
    search.tell(task, Failed(error="it may pass"))
    assert search.ask() == task
    search.tell(task, Failed(error="no such file", final=True))
    assert search.ask() is Signal.STUCK and search.failed == (task,)


def decided(search):
    return [dataclasses.replace(d.interval) for d in search.decisions]


def test_a_search_asks_for_packs_of_a_cycle_then_waits():
    search = Search(RULES)
    asked = [search.ask() for _ in range(6)]
    assert [(t.replicate, t.max_lrs) for t in asked] == [
        (0, (0.01, 0.02)),
        (1, (0.01, 0.02)),
        (0, (0.04,)),
        (1, (0.04,)),
        (0, (0.08, 0.16)),
        (1, (0.08, 0.16)),
    ]
    assert search.ask() is Signal.WAIT


def test_the_next_cycle_prunes_each_replicates_selected_network_first():
    search = Search(RULES)
    while isinstance(task := search.ask(), TrainPack):
        search.tell(task, finish(task))
    assert isinstance(task, PruneNetwork)
    assert task.parent.path == f"replayed/0/0/{search.decisions[0].interval.optimum!r}"
    other = search.ask()
    assert isinstance(other, PruneNetwork)
    assert (task.replicate, other.replicate) == (0, 1)
    assert search.ask() is Signal.WAIT
    search.tell(task, finish(task))
    pack = search.ask()  # replicate 0 goes on while replicate 1 is still being pruned
    assert isinstance(pack, TrainPack)
    assert (pack.cycle, pack.replicate) == (1, 0)
    assert pack.start.path == "start/1/0"


def test_the_grid_extends_until_optimum_and_interval_are_interior():
    search = replay(RULES, peaked(at=lambda cycle: 0.3))
    for decision in search.decisions:
        assert not decision.interval.high_cut
        assert decision.interval.high < decision.candidates[-1].max_lr
        assert [c.max_lr for c in decision.candidates][-2:] == [0.32, 0.64]


def test_an_extension_that_meets_its_limit_says_that_the_interval_is_cut_off():
    search = replay(RULES, lambda cycle, replicate, max_lr: max_lr)
    interval = search.decisions[0].interval
    assert interval.high_cut
    assert interval.optimum == 1.28
    assert len(search.decisions[0].candidates) == 8


def test_a_failed_task_is_tried_again_and_then_the_search_is_stuck():
    search = Search(dataclasses.replace(RULES, attempts=2))
    first = search.ask()
    search.tell(first, Failed(error="once"))
    assert search.ask() == first
    search.tell(first, Failed(error="twice"))
    assert search.failed == (first,)
    while isinstance(task := search.ask(), TrainPack):
        assert task != first
        search.tell(task, finish(task))
    assert task is Signal.STUCK
    assert not search.decisions


def test_a_lost_checkpoint_is_trained_again_and_pruned_then():
    search = Search(RULES)
    while isinstance(task := search.ask(), TrainPack):
        search.tell(task, finish(task))
    search.tell(task, Damaged(file=task.parent))
    again = search.ask()
    if again.replicate != task.replicate or isinstance(again, PruneNetwork):
        again = search.ask()
    assert isinstance(again, TrainPack)
    assert again.cycle == 0
    assert search.decisions[0].interval.optimum in again.max_lrs
    rewritten = tuple(
        dataclasses.replace(trial, checkpoint=StoredFile(path="again", sha256="1"), score=0.0)
        for trial in finish(again)
    )
    before = decided(search)
    search.tell(again, rewritten)
    assert decided(search) == before  # the outcome stays as it was first told
    pruning = search.ask()
    while pruning.replicate != task.replicate:
        pruning = search.ask()
    assert isinstance(pruning, PruneNetwork)
    assert pruning.parent.path == "again"


def test_a_lost_start_is_pruned_again_down_to_the_cycle_that_is_whole():
    search = replay(dataclasses.replace(RULES, cycles=2), peaked())
    longer = Search(RULES)
    longer.restore(search.outcomes(), [p for c in range(2) for p in search.prunings(c)])
    assert longer.cycle == 2
    pruning = longer.ask()
    assert isinstance(pruning, PruneNetwork)
    assert pruning.cycle == 2
    longer.tell(pruning, Damaged(file=pruning.parent_start))
    asked = [longer.ask() for _ in range(2)]
    assert PruneNetwork in {type(t) for t in asked}
    assert any(t.cycle == 1 and t.replicate == pruning.replicate for t in asked)


def in_any_order(data, search, answer, restarted=lambda search: search):
    """Runs a search to its end: outcomes come in any order, some twice, some fail; it may be killed, too."""
    out, told, failures = [], [], 0
    while not search.done:
        asked = search.ask()
        if not isinstance(asked, Signal):
            out.append(asked)
            if data.draw(st.booleans()):
                continue
        assert out, asked
        task = out.pop(data.draw(st.integers(0, len(out) - 1)))
        if failures < 3 and data.draw(st.integers(0, 9)) == 0:
            failures += 1
            search.tell(task, Failed(error="now and then"))
            continue
        told.append((task, answer(task)))
        search.tell(*told[-1])
        if data.draw(st.integers(0, 4)) == 0:
            search.tell(*told[data.draw(st.integers(0, len(told) - 1))])
        if data.draw(st.integers(0, 19)) == 0 and (again := restarted(search)) is not search:
            search, out = again, []  # what was out is lost
    return search


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_outcomes_in_any_order_with_duplicates_and_failures_give_the_same_decisions(data):
    accuracy = peaked(at=lambda cycle: 0.05 * 2.0**cycle)
    search = Search(dataclasses.replace(RULES, attempts=4))
    found = in_any_order(data, search, lambda task: finish(task, accuracy))
    assert decided(found) == decided(replay(RULES, accuracy))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.randoms())
def test_a_search_restored_from_any_part_of_its_outcomes_ends_the_same(count, random):
    accuracy = peaked(at=lambda cycle: 0.05 * 2.0**cycle)
    whole = replay(RULES, accuracy)
    outcomes = list(whole.outcomes())
    kept = outcomes[:count]  # by cycle: what a search has when it is killed
    random.shuffle(kept)
    resumed = Search(RULES)
    resumed.restore(kept, [])
    trained = 0
    while not isinstance(task := resumed.ask(), Signal):
        trained += len(task.max_lrs) if isinstance(task, TrainPack) else 0
        resumed.tell(task, finish(task, accuracy))
    assert decided(resumed) == decided(whole)
    assert trained <= len(outcomes) - len(kept) + RULES.pack_size * RULES.replicates


@pytest.mark.parametrize("pack_size", [1, 3, 16])
def test_the_pack_size_decides_nothing(pack_size):
    rules = dataclasses.replace(RULES, pack_size=pack_size)
    assert decided(replay(rules, peaked())) == decided(replay(RULES, peaked()))


def test_what_is_missing_is_looked_at_a_few_times_a_cycle_and_not_for_every_result(monkeypatch):
    grid = Grid(values=tuple(0.01 * 1.01**k for k in range(100)), scale="log", limit=0)
    search = Search(dataclasses.replace(RULES, policy=OraclePolicy(grid=grid), cycles=2, pack_size=1))
    looked, pack, out = [], Search._pack, []
    monkeypatch.setattr(Search, "_pack", lambda *given: looked.append(given) or pack(*given))
    while not search.done:
        while not isinstance(task := search.ask(), Signal):
            out.append(task)
        task = out.pop()
        search.tell(task, finish(task))
    assert len(looked) < 10 * len(search.outcomes())
