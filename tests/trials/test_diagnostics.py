"""Statistics of a training against their definitions, one by one in plain loops."""

import itertools
import json
import math

import pytest
import torch
from torch.func import functional_call

from tests.trials.toys import double, random_masks, toy_data, toy_network, toy_recipe, train
from trials.diagnostics import BATCH_SIZE, BATCHES, BINS
from trials.process import derive_seed, generator
from trials.pruning.masks import prunable_names
from trials.tasks import Component
from trials.training import training_steps


def trained(*, pack_size=1, length=3, network="fc", shape=(6,), cycle=1, rates=(0.05, 0.1)):
    data, module = toy_data(shape=shape), toy_network(network, shape=shape)
    masks = random_masks(module)
    recipe = toy_recipe(length=length, pack_size=pack_size, diagnostics=True)
    return data, module, masks, recipe, train(module, data, recipe, list(rates), masks=masks, cycle=cycle)


def alive(tensors, masks):
    return torch.cat([tensors[name][masks[name]].reshape(-1) for name in masks])


@pytest.mark.parametrize("pack_size", [1, 8])
def test_gradients_are_those_of_the_training_loss_at_the_kept_weights(pack_size):
    data, module, masks, recipe, found = trained(pack_size=pack_size)
    order = torch.randperm(
        len(data.train.labels), generator=generator(derive_seed(recipe.seed, 0, 1), "diagnostics")
    )[: BATCHES * BATCH_SIZE]
    for outcome, rate in zip(found, (0.05, 0.1), strict=True):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in outcome.state.items()}
        outputs = functional_call(module.eval(), leaves, (data.normalise(data.train.inputs[order]),))
        loss = torch.nn.functional.cross_entropy(outputs, data.train.labels[order])
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        values = alive(gradients, masks)
        statistics = outcome.diagnostics
        assert statistics.gradient_std == pytest.approx(float(values.std(correction=0)), rel=1e-9)
        assert statistics.update_std == pytest.approx(rate * float(values.std(correction=0)), rel=1e-9)
        histogram = statistics.gradients
        assert (histogram.low, histogram.high) == (float(values.min()), float(values.max()))
        assert len(histogram.counts) == BINS and sum(histogram.counts) == len(values)


def test_hidden_representations_are_the_inputs_of_all_layers_but_the_first():
    data, _module, _, recipe, (outcome, _) = trained()
    order = torch.randperm(
        len(data.train.labels), generator=generator(derive_seed(recipe.seed, 0, 1), "diagnostics")
    )
    values, hidden = data.normalise(data.train.inputs[order]), []
    for layer in range(3):
        if layer:
            hidden.append(values)
        values = values @ outcome.state[f"layers.{layer}.weight"].T + outcome.state[f"layers.{layer}.bias"]
        values = values.relu()
    everything = torch.cat([each.reshape(-1) for each in hidden])
    statistics = outcome.diagnostics
    assert statistics.representation_std == pytest.approx(float(everything.std(correction=0)), rel=1e-9)
    norms = [float(each.square().mean()) for each in hidden]
    assert statistics.activation_norm == pytest.approx(sum(norms) / 2, rel=1e-9)
    assert sum(statistics.representations.counts) == everything.numel()


@pytest.mark.parametrize("pack_size", [1, 8])
def test_the_gradient_norm_is_how_far_the_weights_move_in_an_epoch(pack_size):
    data, module, masks, _recipe, found = trained(pack_size=pack_size, length=3)
    ends = []
    for length in (1, 2, 3):
        short = toy_recipe(length=length, evaluate_every=length, pack_size=pack_size)
        ends.append(train(module, data, short, [0.05, 0.1], masks=masks, cycle=1))
    start = {name: tensor * masks.get(name, 1) for name, tensor in double(module.state_dict()).items()}
    for k, outcome in enumerate(found):
        states = [start, *(end[k].state for end in ends)]
        expected = [
            float((alive(after, masks) - alive(before, masks)).square().mean())
            for before, after in itertools.pairwise(states)
        ]
        assert outcome.diagnostics.gradient_norms == pytest.approx(expected, rel=1e-9)


def test_flipped_signs_are_counted_since_the_start():
    _, module, masks, _, found = trained(length=8, rates=(0.2,))
    before = alive(double(module.state_dict()), masks)
    after = alive(found[0].state, masks)
    share = float((before.sign() != after.sign()).double().mean())
    assert 0 < share < 1 and found[0].diagnostics.flipped_signs == pytest.approx(share, rel=1e-12)


def test_a_convolutional_network_and_the_dense_cycle_are_measured_too():
    data, module, _, _, _ = trained(network="resnet20", shape=(1, 8, 8), length=1, rates=(0.05,))
    recipe = toy_recipe(length=1, diagnostics=True)
    masks = {
        name: torch.ones_like(dict(module.named_parameters())[name], dtype=torch.bool)
        for name in prunable_names(module)
    }
    (outcome,) = train(module, data, recipe, [0.05], masks=masks)
    statistics = outcome.diagnostics
    assert statistics.gradient_std > 0 and statistics.representation_std > 0
    assert json.loads(json.dumps(statistics.to_dict(), allow_nan=False))["gradients"]["counts"]


def test_measuring_changes_nothing_of_the_training():
    data, module, masks, _, found = trained()
    plain = train(module, data, toy_recipe(), [0.05, 0.1], masks=masks, cycle=1)
    for outcome, other in zip(found, plain, strict=True):
        assert other.diagnostics is None
        assert all(torch.equal(outcome.state[name], other.state[name]) for name in other.state)
        assert outcome.score == other.score


def test_a_linear_network_has_no_hidden_representation():
    data = toy_data()
    module = toy_network("fc", {"hidden": []})
    masks = random_masks(module)
    recipe = toy_recipe(length=1, network=Component(name="fc"), diagnostics=True)
    (outcome,) = train(module, data, recipe, [0.05], masks=masks, cycle=1)
    statistics = outcome.diagnostics
    assert math.isnan(statistics.representation_std) and statistics.representations is None
    assert statistics.to_dict()["representation_std"] is None
    steps = training_steps(recipe, len(data.train.labels))
    assert len(statistics.gradient_norms) == steps[0] // steps[1]


@pytest.mark.parametrize("pack_size", [1, 8])
def test_a_training_that_diverges_can_be_noted(pack_size):
    outcome = trained(pack_size=pack_size, rates=(0.05, 1e30))[4][1]
    assert outcome.diverged
    assert not all(map(math.isfinite, outcome.diagnostics.gradient_norms))
    noted = json.loads(json.dumps(outcome.diagnostics.to_dict(), allow_nan=False))
    assert len(noted["gradient_norms"]) == len(outcome.diagnostics.gradient_norms)
    assert None in noted["gradient_norms"]
