"""Cycles in which no rate trains the network better than guessing: they are named wherever results are."""

import json
from dataclasses import replace
from typing import ClassVar

import pytest

from oracle.measure import Chance, chance_of
from oracle.results import Results
from oracle.session import search_rules
from oracle.testing.replay import replay
from tests.support import small_spec
from trials.tasks import Execution

DEAD = """
from torch import nn
class Net(nn.Module):
    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.head = nn.Linear(64, num_classes)
    def forward(self, x):
        return 0 * self.head(x.flatten(1))
"""


class Record:
    spec: ClassVar = {}
    identity: ClassVar = {}
    execution = Execution()


def compared(tmp_path, dead, **changes):
    """Four cycles of four classes, those of ``dead`` as good as 260 right guesses of 1,000."""
    spec = small_spec(tmp_path, cycles=4, **changes)
    peak = spec.policy_of_rates().span(4).low
    search = replay(
        search_rules(spec, Record),
        lambda cycle, _, max_lr: 0.26 if cycle in dead else 0.8 - abs(max_lr - peak),
    )
    return replace(Results.of(spec, search, draws=0), chance=Chance(classes=4, validation=1000))


@pytest.mark.parametrize(
    ("dead", "sentence"),
    [
        ((0, 3), "At cycles 0 and 3 no rate trained the network better than chance (25 %): their intervals"),
        (
            (2,),
            "At cycle 2 no rate trained the network better than chance (25 %): its interval says nothing.",
        ),
    ],
)
def test_the_verdict_names_the_cycles(tmp_path, dead, sentence):
    assert sentence in compared(tmp_path, dead).verdict()


def test_a_policy_without_a_search_has_no_intervals_to_doubt(tmp_path):
    verdict = compared(tmp_path, (1,), policy="silo", grid=None).verdict()
    assert verdict.endswith("At cycle 1 the network was not trained better than chance (25 %).")


def test_what_was_learned_is_not_doubted(tmp_path):
    assert "chance" not in compared(tmp_path, ()).verdict()


def test_guesses_scatter_the_more_the_fewer_examples_there_are():
    assert Chance(classes=4, validation=1000).highest == pytest.approx(0.25 + 3 * (0.1875 / 1000) ** 0.5)
    assert Chance(classes=10, validation=10**9).highest == pytest.approx(0.1, abs=1e-4)
    assert chance_of({"data": "x"}) is None


def test_a_dead_network_is_named_in_every_output(call, write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dead.py").write_text(DEAD)
    spec_file = write(network="dead:Net", training={"epochs": 1, "batch_size": 64, "pack": 1}, cycles=2)
    code, out, err = call("run", spec_file, "--driver", "in-process")
    assert code == 0, err
    sentence = "At cycles 0 and 1 no rate trained the network better than chance (10 %)"
    assert sentence in out
    report = tmp_path / "networks/small/report"
    for name in ("report.html", "comparison.md"):
        assert sentence in (report / name).read_text()
    assert sentence in json.loads((report / "comparison.json").read_text())["verdict"]
    assert sentence in call("status", spec_file)[1]
