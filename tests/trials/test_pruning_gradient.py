import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from silo.errors import InvalidInput
from tests.trials.pruning_toys import Plain, image_data, pruned, toy, trained_network
from tests.trials.toys import Exact, toy_data
from trials.datasets import Dataset, Split
from trials.pruning.gradient import global_gradient
from trials.pruning.masks import full_masks, prunable_names


def plain(seed=0):
    return toy(Plain, seed).double()


def mean_loss(module, batches):
    with torch.no_grad():
        return sum(cross_entropy(module(inputs), labels) for inputs, labels in batches) / len(batches)


def test_scores_are_weight_times_central_difference():
    module, data = plain(), image_data(kind=Exact)
    trained = trained_network(module, data=data)
    scores = global_gradient(trained, batches=3, batch_size=5).values
    batches = list(trained.batches(3, 5))
    draw = torch.Generator().manual_seed(0)
    for name, values in scores.items():
        assert values.dtype == torch.float64
        flat = module.get_parameter(name).data.view(-1)
        for index in torch.randint(len(flat), (4,), generator=draw).tolist():
            weight, step, losses = flat[index].item(), 1e-6, []
            for sign in (1, -1):
                flat[index] = weight + sign * step
                losses.append(mean_loss(module, batches))
            flat[index] = weight
            expected = abs(weight * (losses[0] - losses[1]).item() / (2 * step))
            assert values.view(-1)[index].item() == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_scores_are_those_of_one_batch_of_all_the_examples():
    module, data = plain(), image_data(kind=Exact)
    trained = trained_network(module, data=data)
    inputs, labels = map(torch.cat, zip(*trained.batches(4, 6), strict=True))
    cross_entropy(module(inputs), labels).backward()
    for name, values in global_gradient(trained, batches=4, batch_size=6).values.items():
        parameter = module.get_parameter(name)
        torch.testing.assert_close(values, (parameter * parameter.grad).abs().detach(), rtol=1e-10, atol=0)


def test_the_network_is_left_as_it_is():
    module = toy(Plain)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.head.weight.requires_grad_(True)
    before = copy.deepcopy(module.state_dict())
    scores = global_gradient(trained_network(module), batches=2).values
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module.head.weight.grad is None and not module.conv1.weight.requires_grad
    assert all(values.any() for values in scores.values())


def test_arguments_decide_and_the_default_is_ten_batches_of_the_trainings_size():
    module = toy(Plain)
    trained = trained_network(module, batch_size=6)
    default = global_gradient(trained).values["conv1.weight"]
    assert torch.equal(default, global_gradient(trained, batches=10, batch_size=6).values["conv1.weight"])
    for arguments in ({"batches": 9}, {"batch_size": 5}):
        assert not torch.equal(default, global_gradient(trained, **arguments).values["conv1.weight"])
    masks = full_masks(module, prunable_names(module))
    one, again, other = (pruned("global_gradient", module, masks=masks, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in masks)
    assert any(not torch.equal(one[name], other[name]) for name in masks)
    with pytest.raises(InvalidInput, match="number of batches must be whole and at least 1, not 0"):
        pruned("global_gradient", module, {"batches": 0}, masks=masks)


def test_shared_and_pruned_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
            self.two.weight = self.one.weight

        def forward(self, inputs):
            return self.head(self.two(self.one(inputs).tanh()).tanh())

    module = Tied().double()
    masks = full_masks(module, prunable_names(module))
    masks["one.weight"][0] = False
    module.one.weight.data[0] = 0
    trained = trained_network(module, masks=masks, data=toy_data())
    inputs, labels = next(trained.batches(1, 8))
    cross_entropy(module(inputs), labels).backward()
    values = global_gradient(trained, batches=1, batch_size=8).values["one.weight"]
    expected = (module.one.weight * module.one.weight.grad).abs().detach()
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=0)
    assert not values[0].any()


def test_products_that_are_zero_in_float32_are_still_ranked():
    module = nn.Sequential(nn.Linear(6, 4))
    nn.init.constant_(module[0].weight, 1e-30)
    data = toy_data(kind=Dataset)
    small = Split(inputs=data.train.inputs * 1e-20, labels=data.train.labels)
    trained = trained_network(module, data=dataclasses.replace(data, train=small))
    values = global_gradient(trained, batches=1).values["0.weight"]
    assert 0 < values.max() < 1e-45 and (values > 0).all() and len(values.unique()) == 24
