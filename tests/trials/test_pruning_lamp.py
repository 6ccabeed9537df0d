import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from silo.errors import InvalidInput
from tests.trials.pruning_toys import linears, pruned, trained_network
from trials.pruning.lamp import lamp
from trials.pruning.masks import full_masks, prunable_names


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
