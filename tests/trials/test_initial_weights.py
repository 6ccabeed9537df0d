"""The weights that a search begins with are made once: all that starts or rewinds takes them from a file."""

import random

import numpy
import pytest
import torch

from tests.support import harm
from tests.trials.workers import chain, opened, pack, pruning, runner
from trials.engine import named_tensors
from trials.runner import Runner
from trials.tasks import Component
from trials.weights import weights_fingerprint, weights_sha256

SHORT = {"length": 1, "pack_size": 1, "schedule": Component(name="constant")}
FILE = "cycle-00/replicate-0/start.safetensors"


def small(folder, network="Plain"):
    """A worker whose search has begun, and trains a network of the user's own."""
    worker = runner(folder, network=Component(name=f"tests.trials.selves:{network}"), **SHORT)
    worker.begin([weights_fingerprint(named_tensors(worker.network(0)))])
    return worker


def numbers(trials):
    return [(each.score, each.best_step, each.checkpoint) for each in trials]


def last_digits(monkeypatch):
    """Makes another processor of this one, which rounds the weights that it draws otherwise."""
    plainly = Runner.network

    def network(self, replicate):
        module = plainly(self, replicate)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1 + 1e-6)
        return module

    monkeypatch.setattr(Runner, "network", network)


def test_the_file_holds_them_and_is_known_by_what_it_holds(tmp_path):
    worker = small(tmp_path)
    stored = worker.store.read_unchecked(FILE)
    assert weights_sha256(stored) == worker._initial[0].sha256
    assert stored.keys() == named_tensors(worker.network(0)).keys()


@pytest.mark.parametrize("damage", ["deleted", "halved", "flipped"])
def test_a_file_that_is_missing_or_damaged_is_made_again(tmp_path, damage):
    worker = small(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    harm(tmp_path / FILE, damage)
    assert weights_sha256(worker.initial(0)) == worker._initial[0].sha256
    assert (tmp_path / FILE).read_bytes() == before


def test_every_worker_starts_from_it_and_goes_back_to_it_whatever_it_draws_itself(tmp_path, monkeypatch):
    worker = small(tmp_path)
    trained, pruned, *_ = chain(worker, 1)
    last_digits(monkeypatch)
    other = runner(tmp_path, network=worker.recipe.network, **SHORT)
    other._initial = worker._initial
    assert weights_sha256(named_tensors(other.network(0))) != worker._initial[0].sha256
    assert numbers(other.run(pack())) == numbers(trained)
    assert other.run(pruning(trained[-1].checkpoint)) == pruned
    (tmp_path / FILE).unlink()
    assert other.initial(0) and not (tmp_path / FILE).exists()  # others would take these for the search's


@pytest.mark.parametrize("network", ["Stale", "Gauss", "Narrow", "ComplexLayer"])
def test_what_plain_pytorch_trains_is_pruned_and_rewound(tmp_path, network):
    worker = small(tmp_path, network)
    again = small(tmp_path / "again", network)
    found = chain(worker, 2)
    for one, other in zip(found, chain(again, 2), strict=True):
        if isinstance(one, tuple):
            assert numbers(one) == numbers(other)
            assert all(each.best_step and not each.diverged for each in one)
        else:
            assert one == other
    start, masks = opened(worker, found[1])
    initial = worker.initial(0)
    assert start.keys() == initial.keys() and masks
    for name, tensor in start.items():
        expected = initial[name].masked_fill(~masks[name], 0) if name in masks else initial[name]
        assert torch.equal(tensor, expected), name


def test_what_others_draw_is_as_it_was(tmp_path):
    torch.manual_seed(1), numpy.random.seed(2), random.seed(3)
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), random.getstate()
    worker = small(tmp_path, "NumpyDropout")
    first = worker.run(pack())
    after = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    numpy.random.seed(4)
    (tmp_path / first[0].checkpoint.path).unlink()
    assert numbers(worker.run(pack())) == numbers(first)
