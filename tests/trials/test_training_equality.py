"""Packed, alone, and a plain PyTorch loop: the same training three times, in double precision."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.trials.toys import (
    assert_same_outcome,
    double,
    random_masks,
    toy_data,
    toy_network,
    toy_recipe,
    train,
)
from trials.process import derive_seed
from trials.tasks import Component
from trials.training import TrainedCopy

STEPS, PER_EPOCH, BATCH = 30, 6, 8
WARMUP, DROPS = 10, (18, 25)
MOMENTUM, DECAY = 0.9, 5e-3


def recipe(**changes):
    fields = {
        "length": STEPS // PER_EPOCH,
        "batch_size": BATCH,
        "optimizer": Component(name="sgd", arguments={"momentum": MOMENTUM, "weight_decay": DECAY}),
        "schedule": Component(
            name="warmup_drops",
            arguments={"warmup": WARMUP / PER_EPOCH, "drops": [drop / PER_EPOCH for drop in DROPS]},
        ),
    }
    return toy_recipe(**fields | changes)


class Frozen(nn.Module):
    """A frozen layer, a shared weight, running statistics by assignment, and a constant of no state."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.stem.requires_grad_(False)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.head = nn.Linear(6, 4)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("shift", torch.full((6,), 0.25), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs.detach().mean(0)
        features = (self.stem(inputs - self.mean) + self.shift).relu()
        return self.head(self.second(self.first(features).relu()).relu())


# Network, shape of its inputs, rates: the first is tame, the last comes near to the edge.
CASES = {
    "fc": (lambda: toy_network("fc"), (6,), [0.02, 0.1, 0.4]),
    "resnet20": (lambda: toy_network("resnet20", shape=(1, 8, 8)), (1, 8, 8), [0.02, 0.1, 0.3]),
    "frozen, shared, assigned": (lambda: Frozen(), (6,), [0.02, 0.1, 0.4]),
}


@pytest.fixture(params=CASES)
def case(request):
    make, shape, rates = CASES[request.param]
    module = make()
    masks = random_masks(module)
    start = double(module.state_dict())
    with torch.no_grad():  # what a training starts from is given, the module's own weights play no part
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.fill_(float("nan"))
    data = toy_data(shape=shape, train=BATCH * PER_EPOCH + 3)
    return module, start, masks, data, rates


def count(network, split):
    network.eval()
    with torch.no_grad():
        return (network(split.inputs).argmax(1) == split.labels).sum().item()


def plain_training(module, start, masks, data, max_lr, *, cycle, replicate, seed=5) -> TrainedCopy:
    """One candidate, with nothing of what is tested but its seeds."""
    network = copy.deepcopy(module).double()
    network.load_state_dict(start)
    parameters = dict(network.named_parameters())
    for name, mask in masks.items():
        parameters[name].data[~mask] = 0.0
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=MOMENTUM, weight_decay=DECAY)
    order = torch.Generator().manual_seed(derive_seed(seed, replicate, cycle, "order"))
    best, losses, step = None, [], 0
    for _ in range(STEPS // PER_EPOCH):
        network.train()
        losses = []
        for chosen in torch.randperm(len(data.train), generator=order).split(BATCH)[:PER_EPOCH]:
            drops = sum(step >= drop for drop in DROPS)
            optimizer.param_groups[0]["lr"] = max_lr * min(1.0, (step + 1) / WARMUP) * 0.1**drops
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(data.train.inputs[chosen]), data.train.labels[chosen])
            loss.backward()
            for name, mask in masks.items():
                if parameters[name].grad is not None:
                    parameters[name].grad[~mask] = 0.0
            optimizer.step()
            losses.append(loss.item())
            step += 1
        correct = count(network, data.validation)
        if best is None or correct > best[0]:
            best = correct, step, copy.deepcopy(network.state_dict()), count(network, data.test)
    return TrainedCopy(
        score=best[0] / len(data.validation),
        test_score=best[3] / len(data.test),
        best_step=best[1],
        diverged=False,
        train_loss=sum(losses) / len(losses),
        state=best[2],
    )


def test_packed_alone_and_plain_training_agree(case):
    module, start, masks, data, rates = case
    where = {"start": start, "masks": masks, "cycle": 2, "replicate": 1}
    packed = train(module, data, recipe(pack_size=len(rates)), rates, **where)
    alone = train(module, data, recipe(pack_size=1), rates, **where)
    for max_lr, one, other in zip(rates, packed, alone, strict=True):
        plain = plain_training(module, start, masks, data, max_lr, cycle=2, replicate=1)
        assert_same_outcome(one, other)
        assert_same_outcome(one, plain)
        for name, mask in masks.items():
            assert one.state[name].dtype == torch.float64
            assert not one.state[name][~mask].any() and not other.state[name][~mask].any()
    tame, wild = packed[0].state, packed[-1].state
    assert not all(torch.allclose(tame[name], wild[name]) for name in masks)


def test_the_cases_tell_early_stopping_from_none():
    data, module = toy_data(train=BATCH * PER_EPOCH + 3), toy_network("fc")
    outcomes = train(module, data, recipe(), CASES["fc"][2], cycle=2, replicate=1)
    assert any(outcome.best_step < STEPS for outcome in outcomes)
    assert all(1 / 4 < outcome.score < 1 for outcome in outcomes)


def test_what_is_frozen_stays_and_what_is_shared_stays_shared():
    module, data = Frozen(), toy_data(train=BATCH * PER_EPOCH)
    start = double(module.state_dict())
    for pack_size in (1, 2):
        rates = [0.1, 0.2][:pack_size]
        outcome, *_ = train(module, data, recipe(pack_size=pack_size), rates, start=start)
        assert outcome.best_step and "shift" not in outcome.state
        assert torch.equal(outcome.state["stem.weight"], start["stem.weight"])
        assert not torch.allclose(outcome.state["first.weight"], start["first.weight"])
        assert torch.equal(outcome.state["first.weight"], outcome.state["second.weight"])
        assert outcome.state["mean"].abs().min() > 0
        module.load_state_dict(outcome.state)
