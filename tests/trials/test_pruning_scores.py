"""Pruners that score each weight: by its size, its layer, its gradient, or at random."""

import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy

from silo.errors import InvalidInput
from tests.trials.pruning_toys import Plain, image_data, linears, pruned, toy, trained_network
from tests.trials.toys import Exact, toy_data
from trials.datasets import Dataset, Split
from trials.pruning import global_gradient, lamp
from trials.pruning.masks import (
    full_masks,
    prunable_names,
)


def test_global_magnitude_ranks_over_the_whole_net_and_layer_magnitude_in_each_tensor():
    module = linears([[1, 2], [3, 4]], [[10, 20], [30, 40]])
    over_all, in_each = (pruned(name, module, rate=0.5) for name in ("global_magnitude", "layer_magnitude"))
    assert [mask.tolist() for mask in over_all.values()] == [[[False] * 2] * 2, [[True] * 2] * 2]
    assert [mask.tolist() for mask in in_each.values()] == [[[False] * 2, [True] * 2]] * 2


def prune_randomly(module, seed, masks=None):
    return pruned("random", module, masks=masks, rate=0.5, seed=seed)


def test_random_is_seeded_and_leaves_the_global_state_alone():
    module = nn.Linear(20, 20)
    before = torch.get_rng_state()
    first, again, other = (prune_randomly(module, seed)["weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_is_uniform_over_the_weights_left():
    module = nn.Linear(4, 5, bias=False)
    masks = full_masks(module, ["weight"])
    masks["weight"][0, :] = False
    stayed = sum(prune_randomly(module, seed, masks)["weight"].int() for seed in range(1000))
    assert stayed[0].count_nonzero() == 0
    # Each of the 16 stays with probability 1/2, and 8 always stay: corrected for that, the sum is chi-square.
    statistic = ((stayed[1:] - 500) ** 2).sum().item() / 250 * 15 / 16
    assert 1e-3 < stats.chi2.sf(statistic, 15) < 1 - 1e-3


def scores_of(*matrices, masks=None):
    module = linears(*matrices)
    return [each.tolist() for each in lamp(trained_network(module, masks=masks)).values.values()]


def slow_reference(weights):
    """The definition, one weight at a time: ascending by size, then by position."""
    order = sorted(range(len(weights)), key=lambda i: (abs(weights[i]), i))
    scores = [0.0] * len(weights)
    for place, i in enumerate(order):
        tail = math.fsum(weights[j] ** 2 for j in order[place:])
        scores[i] = weights[i] ** 2 / tail if tail else 0.0
    if order:
        scores[order[-1]] = 1.0
    return scores


def test_golden_scores():
    one, two = scores_of([[1, 2, 3, 4]], [[10], [5]])
    assert one == [pytest.approx([1 / 30, 4 / 29, 9 / 25, 1], rel=1e-15)]
    assert two == [[1.0], [pytest.approx(1 / 5, rel=1e-15)]]


def test_golden_masks():
    module = linears([[1, 2, 3, 4]], [[10], [5]])
    masks = pruned("lamp", module, rate=0.5)
    assert [each.flatten().tolist() for each in masks.values()] == [[False, False, True, True], [True, False]]
    masks = pruned("lamp", module, masks=masks, rate=0.34)
    assert [each.flatten().tolist() for each in masks.values()] == [
        [False, False, False, True],
        [True, False],
    ]


def test_only_the_weights_left_count():
    mask = {"0.weight": torch.tensor([[True, False, True, True]])}
    assert scores_of([[1, 100, 2, 3]], masks=mask)[0] == [pytest.approx([1 / 14, 0, 4 / 13, 1])]


def test_zeros_and_ties():
    assert scores_of([[0, 2, 0, 1]])[0] == [pytest.approx([0, 1, 0, 1 / 5])]
    assert scores_of([[0, 0, 0]])[0] == [[0, 0, 1]]
    assert scores_of([[2, 2, -2, 1]])[0] == [pytest.approx([4 / 12, 4 / 8, 1, 1 / 13])]
    masks = {"0.weight": torch.tensor([[True, False, True]])}
    assert scores_of([[0, 0, 0]], masks=masks)[0] == [[0, 0, 1]]
    assert scores_of([[3, 4]], masks={"0.weight": torch.tensor([[False, False]])})[0] == [[0, 0]]


def test_a_tensor_of_zeros_goes_first_but_for_one():
    masks = pruned("lamp", linears([[0, 0, 0]], [[1], [2], [3]]), rate=0.5)
    assert [each.flatten().int().tolist() for each in masks.values()] == [[0, 0, 1], [0, 1, 1]]


@given(st.lists(st.floats(-1e3, 1e3, width=32), max_size=40), st.integers(0, 2**32))
def test_scores_are_the_slow_definition(weights, seed):
    draw = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Linear(max(1, len(weights)), 1))
    if weights:
        module[0].weight.data = torch.tensor([weights])
    left = torch.rand(module[0].weight.shape, generator=draw) < 0.8
    scores = lamp(trained_network(module, masks={"0.weight": left})).values["0.weight"]
    expected = slow_reference(module[0].weight[left].double().tolist())
    assert scores.dtype == torch.float64
    assert scores[left].tolist() == pytest.approx(expected, rel=1e-12)
    assert not scores[~left].any()


@given(
    st.lists(st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6), min_size=2, max_size=4),
    st.lists(st.integers(-20, 20), min_size=4, max_size=4),
)
def test_laws(rows, powers):
    """Scores don't change when a layer is scaled; each layer's largest scores 1, and no other does."""
    module = nn.Sequential(*[nn.Linear(6, 1) for _ in rows])
    scaled = nn.Sequential(*[nn.Linear(6, 1) for _ in rows])
    for layer, other, row, power in zip(module, scaled, rows, powers, strict=False):
        layer.weight.data = torch.tensor([row], dtype=torch.float64)
        other.weight.data = layer.weight.data * 2.0**power
    scores, same = (lamp(trained_network(each)).values for each in (module, scaled))
    for name, values in scores.items():
        assert torch.equal(values, same[name])
        assert values.max() == 1 and int((values == 1).sum()) == 1
        assert values.min() >= 0
        size = module.get_parameter(name).abs()[0]
        order = size.argsort(stable=True)
        assert (values[0][order].diff() >= 0).all()


def test_float64_holds_where_float32_drifts():
    size = 2_000_000
    module = nn.Sequential(nn.Linear(size, 1))
    module[0].weight.data = torch.randn(1, size, generator=torch.Generator().manual_seed(0))
    values = lamp(trained_network(module)).values["0.weight"].flatten()
    squares = module[0].weight.detach().double().square().flatten()
    first, last = squares.argmin(), squares.argmax()
    assert values[first].item() == pytest.approx((squares[first] / squares.sum()).item(), rel=1e-12)
    assert values.max() == values[last] == 1
    second = squares.topk(2).values[1]
    assert values.topk(2).values[1].item() == pytest.approx((second / (second + squares[last])).item())


def test_a_network_that_diverged_is_refused():
    for broken in (math.nan, math.inf):
        module = linears([[1, broken, 2]])
        with pytest.raises(InvalidInput, match="NaN and can't be ranked"):
            pruned("lamp", module, masks=full_masks(module, prunable_names(module)))


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
