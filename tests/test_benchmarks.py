"""The reckoning in the benchmarks."""

import dataclasses
import itertools
import math
import weakref
from functools import partial

import pytest
import torch
from torch import nn

from oracle.testing.replay import replayed_trial
from tests.benchmarks import steps
from tests.benchmarks.breakdown import breakdown, share_once_warm
from trials.tasks import Execution


def pack(worker, cycle, started, ended, size=2):
    trials = (replayed_trial(cycle, 0, 0.1 + rate, 0.5) for rate in range(size))
    changes = {"worker": worker, "started": started, "ended": ended, "pack": size}
    return [dataclasses.replace(trial, **changes) for trial in trials]


TRIALS = [
    *pack("b", 1, 121.0, 125.0),
    *pack("a", 0, 106.0, 112.0, size=3),
    *pack("b", 0, 107.0, 117.0),
    *pack("a", 0, 112.5, 114.5),
    *pack("a", 1, 120.0, 124.0),
]


def test_the_parts_of_the_workers_time_add_up():
    parts = breakdown(TRIALS, 2, begin=100.0, prepared=103.0, end=126.0)
    assert dataclasses.asdict(parts) == {
        "preflight": 6.0,
        "start_up": 3.0 + 4.0,
        "first_pack": 6.0 + 10.0,
        "training": 2.0 + 4.0 + 4.0,
        "waiting": 0.5,
        "cycle_end": 5.5 + 4.0,
        "after": 2.0 + 1.0,
    }
    assert parts.total == 2 * 26.0
    assert parts.training_share == pytest.approx(26 / 52)
    assert sum(parts.shares().values()) == pytest.approx(1)


def test_a_worker_that_never_trained_is_start_up():
    parts = breakdown(TRIALS, 3, begin=100.0, prepared=103.0, end=126.0)
    assert parts.start_up == 7.0 + 23.0
    assert parts.total == 3 * 26.0


def test_the_warm_share_begins_with_the_end_of_the_last_first_pack():
    assert share_once_warm(TRIALS, 2) == pytest.approx((4 + 4) / (2 * (125 - 117)))


def test_the_steps_that_are_timed_are_those_of_one_training(monkeypatch):
    opened = []
    genuine = steps.computing

    def computing(precision, device):
        opened.append(precision)
        return genuine(precision, device)

    monkeypatch.setattr(steps, "computing", computing)
    cpu, module, taken = torch.device("cpu"), nn.Linear(4, 3), []
    module.register_forward_pre_hook(lambda *given: taken.append(1))
    inputs, labels = torch.randn(5, 4), torch.randint(3, (5,))
    step = steps.stepping(module, inputs, labels, "bf16", Execution())
    clock = itertools.count()
    monkeypatch.setattr(steps.time, "perf_counter", lambda: next(clock) / 1000)
    assert steps.timed(step, cpu) > 0
    assert len(taken) == 1 + 200 and opened == ["bf16"] * 2


def test_the_ways_of_a_gpu_record_few_graphs():
    for images in (True, False):
        ways = steps.ways(torch.device("cuda"), steps.COPIES["cuda"], images=images, compiles=not images)
        counts = [way.pack_size if way.streams else 1 for way in ways if way.captured]
        assert 16 in counts and sum(counts) <= 40


def test_each_way_is_gone_before_the_next_and_a_broken_one_stops_nothing(capsys):
    alive = weakref.WeakSet()

    class Way:
        def __call__(self):
            pass

    def make(broken):
        assert not alive
        way = Way()
        alive.add(way)
        if broken:
            raise torch.OutOfMemoryError("no room")
        return way

    made = {name: partial(make, name == "b") for name in "abc"}
    found = steps.one_by_one("net", made, torch.device("cpu"), 2, math.inf)
    assert list(found) == ["a", "c"]
    assert capsys.readouterr().out == "net, b: left out (OutOfMemoryError: no room)\n"
    assert steps.one_by_one("net", made, torch.device("cpu"), 2, -math.inf) == {}
