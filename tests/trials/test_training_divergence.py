"""Rates that are too high are outcomes, not failures, and no other candidate's business."""

import math

import pytest
import torch
from torch import nn

from tests.trials.toys import (
    assert_bitwise_equal,
    assert_same_outcome,
    double,
    random_masks,
    toy_data,
    toy_network,
    toy_recipe,
    train,
    watch,
)
from trials.datasets import load_dataset
from trials.tasks import Component
from trials.training import train_pack

HUGE = 1e100
WAYS = pytest.mark.parametrize("pack_size", [1, 8], ids=["alone", "packed"])


class Hidden(nn.Module):
    """A weight that becomes infinite without a trace in the outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4).requires_grad_(False)
        self.gate = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("wrong", torch.tensor([0.0, 1.0, 1.0, 1.0]))

    def forward(self, inputs):
        return self.linear(inputs) + self.gate.relu() * self.wrong


class Banning(nn.Module):
    """An infinite loss whose gradients are finite: a class that is impossible while it trains."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("banned", torch.tensor([True, False, False, False]))

    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs.masked_fill(self.banned, -math.inf) if self.training else outputs


def assert_diverged(outcome, classes=4):
    assert outcome.diverged is True
    assert outcome.score == outcome.test_score == 1 / classes
    assert math.isnan(outcome.train_loss)
    assert all(tensor.isfinite().all() for tensor in outcome.state.values())


@WAYS
def test_before_the_first_validation_the_start_is_kept(pack_size):
    module, data = toy_network(), toy_data()
    masks, start = random_masks(module), double(module.state_dict())
    (outcome,) = train(module, data, toy_recipe(pack_size=pack_size), [HUGE], start=start, masks=masks)
    assert_diverged(outcome)
    assert outcome.best_step == 0
    for name, tensor in start.items():
        expected = tensor * masks[name] if name in masks else tensor
        assert torch.equal(outcome.state[name], expected)


@WAYS
def test_after_a_validation_its_weights_are_kept(pack_size):
    module, data = toy_network(), toy_data()
    recipe = {"unit": "iterations", "evaluate_every": 1, "pack_size": pack_size}
    (one_step,) = train(module, data, toy_recipe(length=1, **recipe), [HUGE])
    (outcome,) = train(module, data, toy_recipe(length=9, **recipe), [HUGE])
    assert not one_step.diverged and one_step.best_step == 1
    assert_diverged(outcome)
    assert outcome.best_step == 1
    assert all(torch.equal(tensor, one_step.state[name]) for name, tensor in outcome.state.items())


@pytest.mark.parametrize("network", ["fc", "resnet20"])
def test_the_others_of_its_pack_do_not_notice(network):
    shape = (6,) if network == "fc" else (1, 8, 8)
    module, data = toy_network(network, shape=shape), toy_data(shape=shape)
    recipe = toy_recipe(pack_size=2, length=2)
    # Batch normalisation takes any rate: what is infinite from the start can't be normalised.
    bad = HUGE if network == "fc" else math.inf
    first, diverged, last = train(module, data, recipe, [0.02, bad, 0.1])
    assert_diverged(diverged)
    for one, other in zip((first, last), train(module, data, recipe, [0.02, 0.1]), strict=True):
        assert not one.diverged
        assert_same_outcome(one, other)


def test_alone_it_stops_at_the_next_validation_and_the_others_go_on():
    module = toy_network()
    modes, _ = watch(module)
    first, second = train(module, toy_data(), toy_recipe(length=5), [HUGE, 0.1])
    assert first.diverged and not second.diverged
    # 50 examples in batches of 8: 6 steps an epoch. The test split comes at the end of each training.
    assert "".join(modes) == "tttttte" + "e" + "tttttte" * 5 + "e"


def test_a_pack_goes_on_until_all_have_diverged():
    for rates, epochs in (([HUGE, 2 * HUGE], 1), ([HUGE, 0.1], 3)):
        module = toy_network()
        modes, _ = watch(module)
        outcomes = train(module, toy_data(), toy_recipe(pack_size=2), rates)
        assert [outcome.diverged for outcome in outcomes] == [rate >= HUGE for rate in rates]
        assert "".join(modes) == "tttttte" * epochs + "e"


@WAYS
def test_a_weight_that_is_infinite_unseen_has_diverged_too(pack_size):
    data, module = toy_data(), Hidden()
    data.train.labels.fill_(0)  # so that the gate is pushed down, below all bounds, where it is closed
    sgd = Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 0.0})
    (outcome,) = train(module, data, toy_recipe(pack_size=pack_size, optimizer=sgd), [1e308])
    assert_diverged(outcome)


@WAYS
def test_an_infinite_loss_is_divergence_even_if_all_weights_stay_finite(pack_size):
    (outcome,) = train(Banning(), toy_data(), toy_recipe(pack_size=pack_size), [0.01])
    assert_diverged(outcome)
    assert outcome.best_step == 0


@WAYS
def test_single_precision(pack_size):
    data = load_dataset("digits", {}, seed=0)
    module = toy_network("fc", {"hidden": [16]}, shape=(1, 8, 8), classes=10)
    outcomes = train_pack(
        module=module,
        start=module.state_dict(),
        masks=random_masks(module),
        data=data,
        recipe=toy_recipe(batch_size=64, length=2, pack_size=pack_size),
        cycle=0,
        replicate=0,
        max_lrs=[0.1, 1e20],
    )
    assert not outcomes[0].diverged and outcomes[0].score > 0.5
    assert_diverged(outcomes[1], classes=10)
    assert outcomes[1].state["layers.0.weight"].dtype == torch.float32


def test_an_outcome_of_divergence_repeats_to_the_bit():
    runs = [train(toy_network(), toy_data(), toy_recipe(pack_size=2), [0.1, HUGE]) for _ in range(2)]
    for one, again in zip(*runs, strict=True):
        assert_bitwise_equal(one, again)
