"""What a running search shows: its cycles counted as in the tables, and only what its policy means."""

import io
from types import SimpleNamespace

import pytest

from oracle.cli import run
from oracle.cli.run import progress_observer
from oracle.drivers import in_process
from tests.support import open_session, small_spec
from trials.runner import Runner
from trials.tasks import Execution, Failed, TrainPack

SHORT = {"training": {"epochs": 1, "batch_size": 64, "pack": 5}}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(tmp_path, stream=None, **changes):
    stream = stream or io.StringIO()
    with open_session(small_spec(tmp_path, **SHORT | changes)) as session:
        observer = progress_observer(stream)
        session.observers = [observer]
        observer.started(session)
        in_process.run(session)
        observer.ended(session, "done")
    return stream.getvalue().splitlines()


def test_cycles_are_counted_as_in_the_tables(tmp_path):
    opening, *lines = shown(tmp_path)
    assert opening.startswith("search small: 3 cycles × 5 rates × 2 replicates, ")
    assert [line.partition(":")[0] for line in lines] == [f"cycle {m} of 0–2" for m in range(3)]
    assert all(", optimum 0." in line and ", interval [" in line for line in lines)


def test_a_terminal_counts_them_the_same_way(tmp_path):
    lines = "\n".join(shown(tmp_path, Terminal(), cycles=2))
    assert "cycle 0 of 0–1:" in lines and "cycle 1 of 0–1:" in lines and "2/2" not in lines


@pytest.mark.parametrize("policy", ["silo", {"name": "fixed", "arguments": {"max_lr": 0.03}}])
def test_what_is_not_searched_has_neither_optimum_nor_interval(tmp_path, policy):
    opening, line = shown(tmp_path, policy=policy, grid=None, cycles=1, replicates=1)
    assert opening.startswith("search small: 1 cycle × 1 rate × 1 replicate, ")
    assert line.startswith("cycle 0: 100.0% of weights left, max_lr 0.0")
    assert "optimum" not in line and "interval" not in line and "±" not in line


def test_a_failure_names_the_cycle_and_whether_it_is_the_last(tmp_path, monkeypatch):
    run = Runner.run

    def broken(self, task):
        if isinstance(task, TrainPack) and (task.cycle, task.replicate) == (1, 0):
            return Failed(error="Traceback\nRuntimeError: the GPU fell off")
        return run(self, task)

    monkeypatch.setattr(Runner, "run", broken)
    lines = [line for line in shown(tmp_path, grid={"values": [0.1, 0.2]}) if "replicate 0" in line]
    place = "cycle 1 of 0–2, replicate 0: training"
    assert lines == [
        *[f"{place} is tried again: RuntimeError: the GPU fell off"] * 2,
        f"{place} has failed too often: RuntimeError: the GPU fell off",
    ]


def test_the_opening_says_how_it_trains_and_what_kept_it_from_another_way():
    record = SimpleNamespace(
        execution=Execution(pack_size=7, compiled=True), execution_reason="measured: 7 together 3 s"
    )
    assert run._way(SimpleNamespace(record=record)) == "up to 7 candidates together, compiled"
    record = SimpleNamespace(
        execution=Execution(), execution_reason="measured: alone 9 s; this network can't be packed: why"
    )
    shown = run._way(SimpleNamespace(record=record))
    assert shown == "each candidate alone (this network can't be packed: why)"


def test_the_time_that_is_left_is_that_of_what_is_missing_of_new_replicates():
    finished = {0: 10, 1: 10, 2: 15}
    rules = SimpleNamespace(
        cycles=3, replicates=3, policy=SimpleNamespace(expected=lambda replicates: 5 * replicates)
    )
    search = SimpleNamespace(rules=rules, cycle=0, planned=lambda: 15, finished=finished.get)
    counter = run._Counter()
    counter.count, counter.rate = 1, lambda: 1.0
    assert counter.left(SimpleNamespace(search=search)) == "0:00:10"
