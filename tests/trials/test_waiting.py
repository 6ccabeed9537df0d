"""A training's steps don't wait for an accelerator, which here is a pretended one."""

import dataclasses
import os
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trials.accelerator import DEVICE, NoWaiting, Waited
from tests.trials.toys import toy_data, toy_network, toy_recipe
from trials.datasets import Dataset, augment
from trials.datasets.augment import AUGMENTATIONS, changes
from trials.engine import Engine, StackedNetwork, named_tensors
from trials.engine.graphs import Captured
from trials.runner import Runner
from trials.tasks import Execution
from trials.training import BestWeights, batches

SHAPE = (3, 8, 8)
EXECUTIONS = {
    "eager": Execution(),
    "packed": Execution(pack_size=2),
    "a graph": Execution(pack_size=2, captured=True),
    "a graph for each": Execution(pack_size=2, captured=True, streams=True),
}


def data_of(augmentation="pad_crop_flip"):
    data = toy_data(shape=SHAPE, augment=True, kind=Dataset)
    return dataclasses.replace(data, augmentation=augmentation).to(DEVICE)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_what_is_drawn_for_batches_comes_ahead_in_one_copy(augmentation):
    data = data_of(augmentation)
    data.normalise(data.train.first(2)[0])
    with NoWaiting() as copies:
        found = list(batches(data, toy_recipe(), cycle=0, replicate=0, steps=20))
    assert len(found) == 20 and copies.copies == 5  # and the orders of four epochs


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_no_step_waits(execution, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which the pretended one hasn't
    data, recipe = data_of(), toy_recipe(execution=EXECUTIONS[execution])
    module, count = toy_network("fc", shape=SHAPE).to(DEVICE), recipe.execution.pack_size
    copies = StackedNetwork.of(module, named_tensors(module), count, DEVICE)
    rates = torch.zeros(count, device=DEVICE)
    step = Engine(module, recipe).begin(copies, torch.ones_like(copies.flat[0]), data)
    best = BestWeights(module, copies, 1.0)
    sums = torch.zeros_like(rates)
    with NoWaiting():
        for inputs, labels in batches(data, recipe, cycle=0, replicate=0, steps=20):
            sums = sums + step(inputs, labels, rates * 0.5)
        step.settle()
        best.update(copies, 20, sums.double(), sums.isfinite(), sums)


class Operations(TorchDispatchMode):
    """Counts the operations that compute something."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if not operator.is_view:
            self.found.append(operator.name())
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("count", [2, 5])
def test_a_step_of_many_graphs_is_three_copies_and_the_replays(count, monkeypatch):
    data = toy_data(kind=Dataset)
    module = toy_network("fc")
    recipe = toy_recipe(execution=Execution(pack_size=count, captured=True, streams=True))
    copies = StackedNetwork.of(module, named_tensors(module), count, torch.device("cpu"))
    rates = torch.full((count,), 0.1)
    batch = data.train.first(recipe.batch_size)
    batch = (data.normalise(batch[0]), batch[1])
    step = Engine(module, recipe).begin(copies, torch.ones_like(copies.flat[0]), data)
    losses = step(*batch, rates)
    step.leave([1])
    monkeypatch.setattr(Captured, "__call__", lambda self: ())
    with Operations() as operations:
        again = step(*batch, rates)
    assert operations.found == ["aten::copy_"] * 3
    assert again.isnan().tolist() == [index == 1 for index in range(count)]
    assert losses.shape == (count,) and not losses[0].isnan()


@pytest.mark.parametrize(
    "work",
    [
        lambda there: there.sum().item(),
        lambda there: there.cpu(),
        lambda there: there.tolist(),
        lambda there: there.nonzero(),
        lambda there: there[there > 0],
        lambda there: torch.zeros(3).to(DEVICE),
        lambda there: torch.zeros(3).to(DEVICE, non_blocking=True),  # out of memory that isn't pinned
        lambda there: torch.zeros(3).pin_memory().to(DEVICE),
        lambda there: there.copy_(torch.zeros(3)),
    ],
)
def test_what_waits_is_refused(work):
    there = torch.zeros(3, device=DEVICE)
    with pytest.raises((Waited, RuntimeError, NotImplementedError)), NoWaiting():
        work(there)


def test_a_gpu_gets_as_many_queues_as_there_are_streams(monkeypatch, tmp_path):
    name = "CUDA_DEVICE_MAX_CONNECTIONS"
    monkeypatch.setenv(name, "8")
    Runner(toy_recipe(), storage=str(tmp_path), device="cuda")
    assert os.environ[name] == "8"
    monkeypatch.delenv(name)
    Runner(toy_recipe(), storage=str(tmp_path), device="cpu")
    assert name not in os.environ
    Runner(toy_recipe(), storage=str(tmp_path), device="cuda")
    assert os.environ[name] == "32"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_what_is_drawn_ahead_is_what_is_drawn_batch_by_batch(name, dtype, monkeypatch):
    monkeypatch.setattr(augment, "sent", lambda tensor, device: tensor)
    monkeypatch.setattr(augment, "_AHEAD", 3)
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (4, 3, 6, 9), generator=draw).to(dtype)
    ahead = changes(AUGMENTATIONS[name], 4, inputs.shape[-2:], torch.Generator().manual_seed(1), DEVICE)
    one_by_one = torch.Generator().manual_seed(1)
    for _ in range(8):
        assert torch.equal(next(ahead)(inputs), AUGMENTATIONS[name](inputs, one_by_one))
