"""A search whose packs don't fit goes on with smaller ones, under the keys that it began with."""

import dataclasses

import pytest
import torch

import trials.runner
from oracle.cli.run import progress_observer
from oracle.drivers import in_process
from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.observers import Observer
from oracle.preflight import examine, open_runner, prepare
from oracle.search import Search, Signal
from tests.oracle.test_search import RULES, finish
from tests.support import open_session, results, run_in_process, small_spec
from trials.tasks import Failed
from trials.training import train_pack

TRAINING = {"epochs": 1, "batch_size": 64, "pack": 5, "compile": False}


@pytest.fixture
def room(monkeypatch):
    """Memory for so many candidates together; the sizes that were tried."""
    most, tried = [2], []

    def train(*, max_lrs, **arguments):
        tried.append(len(max_lrs))
        if len(max_lrs) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_pack(max_lrs=max_lrs, **arguments)

    monkeypatch.setattr(trials.runner, "train_pack", train)
    return most, tried


class Heard(Observer):
    def __init__(self):
        self.events = []

    def halved(self, session, task, together):
        self.events.append((task.cycle, together))

    def retried(self, session, task, reason):
        self.events.append(reason.splitlines()[-1])


def test_a_search_goes_on_with_smaller_packs_under_its_own_keys(tmp_path, room, capsys):
    most, tried = room
    heard = Heard()
    spec = small_spec(tmp_path / "a", cycles=2, training=TRAINING)
    session = run_in_process(spec, observers=[heard, progress_observer()])
    assert tried[:5] == [5, 3, 2, 2, 1] and set(tried[2:]) == {1, 2}
    assert heard.events == [(0, 2)]
    line = "cycle 0 of 0–1, replicate 0: a pack ran out of memory: at most 2 candidates are trained together"
    assert f"{line} from now on" in capsys.readouterr().err
    most[0] = 5
    other = run_in_process(small_spec(tmp_path / "b", cycles=2, training=TRAINING))
    ours, theirs = results(session), results(other)
    assert session.record.execution == other.record.execution
    cycle = {key for key in ours if key[0] == 0}
    assert session.keys.key(0, 1, 0.01) == other.keys.key(0, 1, 0.01)
    assert cycle == {key for key in theirs if key[0] == 0}
    assert all(abs(ours[key][0] - theirs[key][0]) < 0.02 for key in cycle)
    ledger = Ledger(spec.ledger)
    rows = ledger.outcomes("small").values()
    assert rows and all(trial.halved and trial.pack <= 2 for trial in rows)
    ledger.close()


def test_what_does_not_fit_alone_ends_the_search_in_a_line(tmp_path, room):
    most, tried = room
    most[0] = 0
    spec, heard = small_spec(tmp_path, cycles=1, replicates=1, training=TRAINING), Heard()
    with open_session(spec, observers=[heard], attempts=1) as session:
        assert in_process.run(session) is Signal.STUCK
        assert session.first_error.splitlines()[-1].startswith("out of memory: take a smaller batch_size")
    assert tried[:4] == [5, 3, 2, 1] and len(tried) < 20


def test_a_smaller_pack_is_no_other_search_and_a_larger_one_is(tmp_path, room):
    most, tried = room
    most[0] = 5
    spec = small_spec(tmp_path, cycles=1, training=TRAINING)
    first = run_in_process(spec)
    tried.clear()
    smaller = small_spec(tmp_path, cycles=2, training=TRAINING | {"pack": 3})
    again = run_in_process(smaller)
    assert again.record.execution == first.record.execution
    assert tried and max(tried) == 3
    assert {key: value for key, value in results(again).items() if key[0] == 0} == results(first)
    ledger = Ledger(spec.ledger)
    larger = small_spec(tmp_path, cycles=2, training=TRAINING | {"pack": 6})
    with pytest.raises(Refused, match=r"training.pack: 3 -> 6 \(it may shrink, from 5, not grow\)"):
        prepare(larger, examine(larger, open_runner(larger)), ledger)
    ledger.close()


def test_another_pack_of_a_search_without_results_is_its_pack(tmp_path):
    spec = small_spec(tmp_path, training=TRAINING)
    with open_session(spec) as session:
        session.start()
    other = small_spec(tmp_path, training=TRAINING | {"pack": 2})
    ledger = Ledger(spec.ledger)
    record = prepare(other, examine(other, open_runner(other)), ledger)
    assert record.execution.pack_size == 2
    ledger.close()


def test_a_worker_that_died_of_memory_has_its_task_asked_for_with_fewer_at_a_time():
    search = Search(dataclasses.replace(RULES, pack_size=5))
    task, sizes = search.ask(), []
    while not search.failed:
        sizes.append(task.together)
        search.tell(task, Failed(error="low on memory", memory=True))
        again = search.ask()
        assert isinstance(again, Signal) or again == task or search.failed
        task = again
    assert sizes == [None, 3, 2, 1, 1, 1]  # three failures of what can't be made smaller


def test_tasks_that_are_out_are_the_same_when_packs_shrink():
    search = Search(dataclasses.replace(RULES, pack_size=5))
    one, other = search.ask(), search.ask()
    assert search.hold_together(2) and not search.hold_together(2) and not search.hold_together(0)
    assert search.ask() is Signal.WAIT
    search.tell(other, Failed(error="died"))
    again = search.ask()
    assert again == other and again.together == 2
    search.tell(one, finish(one))
    search.tell(again, finish(again))
    assert search.ask().cycle in (0, 1)
