"""Weight rewinding to a point inside cycle 0's training: its weights, its place in the schedule."""

import pytest
import torch

from tests.trials.toys import random_masks, toy_data, toy_network, toy_recipe, train
from trials.tasks import Component
from trials.training import batches, first_step, training_steps

DROPS = Component(name="warmup_drops", arguments={"warmup": 1, "drops": [3, 4]})


@pytest.mark.parametrize("pack_size", [1, 8])
def test_the_weights_of_the_point_are_those_of_a_training_that_ends_there(pack_size):
    data, module = toy_data(), toy_network()
    shared = {"pack_size": pack_size, "schedule": Component(name="constant")}
    whole = train(module, data, toy_recipe(length=5, rewind_to=2, **shared), [0.02, 0.1])
    per_epoch = training_steps(toy_recipe(), len(data.train.labels))[1]
    short = toy_recipe(length=2, evaluate_every=2, **shared)
    ended = train(module, data, short, [0.02, 0.1])
    assert all(outcome.best_step == 2 * per_epoch for outcome in ended)
    for outcome, other in zip(whole, ended, strict=True):
        assert outcome.rewind.keys() == other.state.keys()
        assert all(torch.equal(outcome.rewind[name], other.state[name]) for name in other.state)


def test_without_rewinding_and_after_cycle_0_there_is_no_such_point():
    data, module = toy_data(), toy_network()
    assert train(module, data, toy_recipe(), [0.1])[0].rewind is None
    masks = random_masks(module)
    (later,) = train(module, data, toy_recipe(rewind_to=1), [0.1], masks=masks, cycle=1)
    assert later.rewind is None


def test_a_later_cycle_trains_the_rest_of_the_schedule():
    data, module = toy_data(), toy_network()
    recipe = toy_recipe(length=5, rewind_to=2, schedule=DROPS)
    steps, per_epoch, _ = training_steps(recipe, len(data.train.labels))
    assert first_step(recipe, cycle=0, per_epoch=per_epoch) == 0
    assert first_step(recipe, cycle=1, per_epoch=per_epoch) == 2 * per_epoch
    masks = random_masks(module)
    (found,) = train(module, data, recipe, [0.1], masks=masks, cycle=1)
    assert per_epoch * 2 < found.best_step <= steps
    # By hand: three epochs, the rate that of epochs 2, 3 and 4.
    state = {name: tensor.double() * masks.get(name, 1) for name, tensor in module.state_dict().items()}
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in state.items()}
    velocity = {name: torch.zeros_like(tensor) for name, tensor in leaves.items()}
    ends = {}
    wanted = batches(data, recipe, cycle=1, replicate=0, steps=steps - 2 * per_epoch)
    for step, (inputs, labels) in enumerate(wanted, start=2 * per_epoch):
        rate = 0.1 * 0.1 ** sum(step >= drop * per_epoch for drop in (3, 4))
        outputs = torch.func.functional_call(module, leaves, (inputs,))
        loss = torch.nn.functional.cross_entropy(outputs, labels)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        for (name, leaf), gradient in zip(list(leaves.items()), gradients, strict=True):
            mask = masks[name] if name in masks else torch.ones_like(leaf)
            velocity[name] = 0.9 * velocity[name] + (gradient + 1e-4 * leaf.detach()) * mask
            leaves[name] = ((leaf.detach() - rate * velocity[name]) * mask).requires_grad_()
        ends[step + 1] = {name: leaf.detach() for name, leaf in leaves.items()}
    for name, tensor in ends[found.best_step].items():
        assert torch.allclose(found.state[name], tensor, rtol=1e-9, atol=1e-12), name


def test_a_diverged_pack_goes_back_to_its_best():
    data, module = toy_data(), toy_network()
    (found,) = train(module, data, toy_recipe(length=6, rewind_to=4), [1e30])
    assert found.diverged and found.rewind is not None
    assert all(tensor.isfinite().all() for tensor in found.rewind.values())
