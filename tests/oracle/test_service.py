"""A search from Python: the same search, checks and results as the command's."""

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

import oracle
from oracle import interrupts
from oracle.errors import Refused, TrialsFailed
from oracle.results.frames import COLUMNS
from silo.errors import InvalidInput
from tests.support import small_data, small_spec

HERE = {"driver": "in-process"}
BROKEN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.layer = nn.Linear(64, num_classes)

    def forward(self, inputs):
        if self.training and len(inputs) > 4:  # no few examples show it
            raise RuntimeError("no such device")
        return self.layer(inputs.flatten(1))
"""


def test_a_script_runs_a_search_and_goes_on_with_it(write, call, tmp_path):
    path = write(cycles=1)
    first = oracle.run(path, driver="in-process")
    assert first.name == "small" and len(first.intervals) == 1 and first.runs.state.tolist() == ["done"]
    again = oracle.run(str(write(cycles=2)), driver="in-process")
    found = ["cycle", "optimum", "low", "high", "validation_accuracy_mean"]
    assert len(again.intervals) == 2 and again.intervals[found].loc[0].equals(first.intervals[found].loc[0])
    assert oracle.run(oracle.load_spec(path), driver="in-process").trials.equals(again.trials)
    code, out, err = call("status", path)
    assert code == 0 and "2/2" in out, err


def test_it_finds_what_the_command_finds(write, call, tmp_path):
    ours = oracle.run(small_spec(tmp_path / "python", cycles=2), driver="in-process")
    code, _, err = call("run", write(cycles=2), "--driver", "in-process")
    assert code == 0, err
    theirs = oracle.load("small", f"sqlite:///{tmp_path}/ledger.db")
    assert ours.intervals.equals(theirs.intervals)
    assert ours.trials.sha256.tolist() == theirs.trials.sha256.tolist()


@pytest.mark.parametrize(
    ("changes", "options", "error", "said"),
    [
        ({}, {"driver": "slurm"}, InvalidInput, "there is no driver 'slurm'"),
        ({}, {"driver": "in-process", "address": "auto"}, InvalidInput, "an address goes with driver 'ray'"),
        ({"network": "nope"}, HERE, InvalidInput, "unknown network 'nope'"),
        ({"resources": {"gpus": 1}}, HERE, Refused, "torch finds no CUDA device"),
        ({"storage": "/proc/none"}, HERE, Refused, "storage"),
        ({"ledger": "sqlite:////proc/none/ledger.db"}, HERE, Refused, "ledger"),
        ({"variants": {"one": {}, "two": {"seed": 1}}}, {}, InvalidInput, "oracle.run_variants runs them"),
    ],
)
def test_what_refuses_the_command_refuses_the_call(write, changes, options, error, said, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(error, match=said):
        oracle.run(write(**changes), **options)


def test_results_are_loaded_by_name_spec_or_file(write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mynet.py").write_text(BROKEN.replace("raise RuntimeError", "print"))
    path = write(network="mynet:Net", cycles=1, replicates=1)
    spec = oracle.load_spec(path)
    found = oracle.run(spec, driver="in-process")
    for loaded in (oracle.load(spec), oracle.load(path), oracle.load(str(path))):
        assert loaded.trials.equals(found.trials)
        assert type(loaded.network()).__name__ == "Net"  # the user's own spec names what runs
    with pytest.raises(Refused, match="whoever can write the ledger chooses it"):
        oracle.load("small", spec.ledger).network()
    with pytest.raises(
        InvalidInput, match=r"has several variants; name one of their searches: small.a, small.b"
    ):
        oracle.load(write(variants={"a": {}, "b": {}}))


@pytest.mark.parametrize("given", [{"name": "small"}, None, 3])
def test_what_is_no_spec_is_refused(given):
    for call in (oracle.run, oracle.load, lambda spec: oracle.submit(spec, address="http://host:8265")):
        with pytest.raises(InvalidInput, match=r"give an oracle.Spec, .* or the path of its YAML file; got"):
            call(given)


def test_a_copy_of_a_spec_is_looked_at_before_anything_is_written(tmp_path):
    spec = small_spec(tmp_path / "folder").model_copy(update={"cycles": 0, "replicates": "three"})
    for call in (oracle.run, oracle.load, lambda spec: oracle.submit(spec, address="http://host:8265")):
        with pytest.raises(InvalidInput, match=r"cycles: .* got 0\nreplicates: .* got 'three'"):
            call(spec)
    assert not (tmp_path / "folder").exists()


def test_changed_specs_are_refused_and_nothing_is_lost(write):
    found = oracle.run(write(cycles=1), driver="in-process")
    with pytest.raises(Refused, match="seed: 0 -> 1"):
        oracle.run(write(cycles=1, seed=1), driver="in-process")
    assert oracle.run(write(cycles=1), driver="in-process").trials.equals(found.trials)


def test_a_number_of_a_trial_reaches_the_export_with_its_meaning(tmp_path):
    trials = oracle.run(small_spec(tmp_path, cycles=1), driver="in-process").trials
    assert (trials.peak_memory > 10 * 2**20).all()  # torch alone takes more
    assert "most bytes" in COLUMNS["trials"]["peak_memory"]


def test_variants_run_side_by_side(write):
    path = write(cycles=1, variants={"low": {"seed": 1}, "high": {"seed": 2}})
    found = oracle.run_variants(path, driver="in-process")
    assert {name: results.name for name, results in found.items()} == {
        "low": "small.low",
        "high": "small.high",
    }


def test_trials_that_fail_raise_with_the_first_error(write, tmp_path, monkeypatch, caplog):
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    path = write(network={"name": "broken:Net"}, training={"epochs": 1, "batch_size": 64, "pack": 1})
    with caplog.at_level(logging.INFO, logger="oracle"), pytest.raises(TrialsFailed, match="no such device"):
        oracle.run(path, driver="in-process")
    ended = oracle.load("small", f"sqlite:///{tmp_path}/ledger.db")
    assert ended.runs.state.tolist() == ["failed"] and len(ended.trials) == 0


class Fails(oracle.Observer):
    """Fails at the first event that it hears of."""

    heard = 0

    def started(self, session):
        self.heard += 1
        raise RuntimeError("no network\nmore")

    decided = ended = trained = started


def test_an_observer_that_fails_is_named_once_and_ends_no_search(write, caplog):
    path = write(cycles=1, variants={"low": {"seed": 1}, "high": {"seed": 2}})
    failing = Fails()
    with caplog.at_level(logging.WARNING, logger="oracle"):
        found = oracle.run_variants(path, driver="in-process", observers=[failing])
    assert [results.runs.state.tolist() for results in found.values()] == [["done"], ["done"]]
    assert failing.heard == 1
    (said,) = [record.getMessage() for record in caplog.records if "observer" in record.getMessage()]
    assert said == "observer 'Fails' fails and hears no more, the search goes on: RuntimeError: no network"


def test_what_is_no_observer_is_refused(write):
    with pytest.raises(InvalidInput, match=r"observers: got dict, which is no oracle\.observers\.Observer"):
        oracle.run(write(), driver="in-process", observers=[{}])


def test_an_interrupt_keeps_what_has_finished(tmp_path):
    class Interrupts(oracle.Observer):
        def decided(self, session, decision):
            raise KeyboardInterrupt

    spec = small_spec(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        oracle.run(spec, driver="in-process", observers=[Interrupts()])
    kept = oracle.load("small", spec.ledger)
    assert kept.runs.state.tolist() == ["interrupted"] and len(kept.intervals) == 1
    whole = oracle.run(spec, driver="in-process")
    undisturbed = oracle.run(small_spec(tmp_path / "other"), driver="in-process")
    assert whole.intervals.equals(undisturbed.intervals)
    assert whole.trials.sha256.tolist() == undisturbed.trials.sha256.tolist()


SWALLOWING = """
import os
import signal

import torch


def loop(network, training, how):
    torch.optim.SGD(network.parameters(), lr=0.0).step()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
    except KeyboardInterrupt as interrupt:
        if how == "turned":
            raise RuntimeError("an assertion of a library has failed") from interrupt
    return 0.5
"""


@pytest.mark.parametrize("how", ["turned", "swallowed"])
def test_an_interrupt_that_a_library_swallows_comes_through(tmp_path, monkeypatch, how):
    (tmp_path / "swallowing.py").write_text(SWALLOWING)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    spec = small_spec(tmp_path, training={"loop": "swallowing:loop", "arguments": {"how": how}})
    with pytest.raises(KeyboardInterrupt):
        oracle.run(spec, driver="in-process")
    kept = oracle.load("small", spec.ledger)
    assert kept.runs.state.tolist() == ["interrupted"]
    assert len(kept.trials) == (how == "swallowed")  # and nothing that counts as a failure
    assert signal.getsignal(signal.SIGINT) is before
    interrupts.check()  # the next search begins anew


def test_it_says_what_it_knows(tmp_path):
    runs = {"run", "run_variants", "submit", "status", "stop", "Observer"}
    assert runs | {"load", "read_export", "Results", "Spec", "load_spec"} == set(oracle.__all__)
    assert all(getattr(oracle, name).__doc__ for name in oracle.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = oracle.runn
    assert small_data(tmp_path)["name"] == "small"


STOPPED = """
import sys
import oracle
from pathlib import Path
from tests.support import small_spec

spec = small_spec(Path(sys.argv[1]), training={"iterations": 3000, "batch_size": 64, "pack": 1})
try:
    oracle.run(spec, driver="in-process")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_script_is_stopped_through_the_ledger(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    spec = small_spec(tmp_path)
    arguments = [sys.executable, "-c", STOPPED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as script:
        while script.poll() is None and not ((tmp_path / "ledger.db").exists() and stopped(spec)):
            threading.Event().wait(0.2)
        assert script.communicate(timeout=120)[0] == "interrupted\n"
    assert oracle.load("small", spec.ledger).runs.state.tolist() == ["interrupted"]
    assert not oracle.stop(spec)
    with pytest.raises(Refused, match="no search 'other' in this ledger"):
        oracle.stop("other", ledger=spec.ledger)


def stopped(spec):
    """Stops the search, once it runs."""
    try:
        return oracle.stop(spec)
    except Refused:  # its ledger is being made
        return False
