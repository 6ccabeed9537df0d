"""Which layers feed which, and what can't be followed. That the units are right, the tests of LAP show."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from silo.errors import InvalidInput
from tests.trials.pruning_toys import (
    TOYS,
    Attention,
    Dense,
    Residual,
    network,
    pruned,
    toy,
)
from trials.pruning.masks import prunable_names
from trials.pruning.tracing import follow

IMAGE = torch.zeros(2, 3, 8, 8)


def feeding(module):
    """By layer, the layers that feed it; None for the input, and for the output as a layer."""
    graph = follow(module, torch.randn(2, 3, 8, 8))
    names = {None: None} | {i: site.layer for i, site in enumerate(graph.sites)}
    found = {}
    for edge in graph.edges:
        found.setdefault(names[edge.target], set()).add(names[edge.source])
    return found


def test_feeding_layers():
    assert feeding(toy(Residual)) == {
        "stem": {None},
        "conv1": {"stem"},
        "conv2": {"conv1"},
        "conv3": {"stem", "conv2"},
        "conv4": {"conv3"},
        "head": {"stem", "conv2", "conv4"},
        None: {"head"},
    }
    assert feeding(toy(Dense)) == {
        "stem": {None},
        "conv1": {"stem"},
        "conv2": {"stem", "conv1"},
        "head": {"stem", "conv1", "conv2"},
        None: {"head"},
    }
    found = feeding(toy(Attention))
    assert found["attention"] == {"patches"} and found["attention.out_proj"] == {"attention"}
    assert found["wide"] == {"patches", "attention.out_proj"} and found["head"] == {
        "attention.out_proj",
        "narrow",
    }


def test_first_and_last_are_the_input_layer_and_the_classifier_of_every_network():
    """``keep: [first, last]`` goes by the order of registration; here is what it stands for."""
    for name, arguments, shape in (
        ("fc", {}, (3, 8, 8)),
        ("alexnet", {}, (3, 32, 32)),
        ("densenet40", {}, (3, 8, 8)),
        ("mobilenetv2", {}, (3, 8, 8)),
        ("resnet20", {}, (3, 8, 8)),
        ("resnet20", {"shortcut": "conv"}, (3, 8, 8)),
        ("vit", {"layers": 2, "width": 24, "mlp": 32}, (3, 8, 8)),
    ):
        module = network(name, arguments, shape=shape)
        graph = follow(module, torch.zeros(1, *shape))
        first = {graph.sites[edge.target].weight for edge in graph.out_of(None)}
        last = {graph.sites[edge.source].weight for edge in graph.into(None)}
        names = prunable_names(module)
        assert (first, last) == ({names[0]}, {names[-1]})
        assert prunable_names(module, ["first", "last"]) == names[1:-1]


class Forward(nn.Module):
    """A convolution, then whatever it is given, then a linear layer."""

    def __init__(self, middle, width=4):
        super().__init__()
        self.conv, self.head, self.middle = nn.Conv2d(3, 4, 1), nn.Linear(width, 4), middle
        self.gate = nn.Parameter(torch.ones(4))

    def forward(self, inputs):
        return self.head(self.middle(self, self.conv(inputs)))


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (lambda m, x: (x if x.sum() > 0 else -x).mean((2, 3)), "can't trace Forward.*TraceError"),
        (lambda m, x: (x * x).mean((2, 3)), "through the operation 'mul'"),
        (lambda m, x: x.mean((2, 3)) * m.gate, "through the operation 'mul'"),
        (lambda m, x: torch.einsum("bchw->bc", x), "through the operation 'einsum'"),
        (lambda m, x: functional.linear(x.mean((2, 3)), m.head.weight), "through the operation 'linear'"),
        (lambda m, x: torch.add(x, x, alpha=2).mean((2, 3)), "through the operation 'add'"),
        (lambda m, x: x.mean((1, 2))[:, :4], "'mean' mixes different"),
        (lambda m, x: x.flatten(2).mean(2, dtype=torch.float32), "through the operation 'mean'"),
        (lambda m, x: functional.max_pool1d(x.flatten(1), 64), "through the operation 'max_pool1d'|mixes"),
        (lambda m, x: x.permute(0, 2, 3, 1).reshape(-1, 8, 8, 4)[:, 0, :4].flatten(1)[:, 2:6], "x"),
    ],
)
def test_what_cannot_be_followed_is_named(middle, message):
    module = Forward(middle)
    if message == "x":  # the units' places are followed however they are turned
        graph = follow(module, torch.randn(2, 3, 8, 8))
        (edge,) = graph.into(1)
        assert edge.units.tolist() == [2, 3, 0, 1]
        return
    with pytest.raises(InvalidInput, match=message):
        follow(module, torch.randn(2, 3, 8, 8))


class Inner(nn.Module):
    def forward(self, inputs):
        return torch.cumsum(inputs, 1)


class Mixer(nn.Module):
    """A linear layer over places, each of which carries every channel."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix, self.head = nn.Conv2d(3, 4, 1), nn.Linear(64, 64), nn.Linear(4, 4)

    def forward(self, inputs):
        return self.head(self.mix(self.conv(inputs).flatten(2)).mean(2))


def test_messages_name_the_module():
    with pytest.raises(InvalidInput, match=r"the operation 'cumsum' in module '1'; 'global_magnitude'"):
        follow(nn.Sequential(nn.Conv2d(3, 4, 1), Inner()), IMAGE)
    with pytest.raises(InvalidInput, match=r"through module '2' \(LSTM\)"):
        follow(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(2), nn.LSTM(1, 1), nn.Flatten()), IMAGE)
    with pytest.raises(InvalidInput, match=r"module 'mix' \(Linear\) mixes different ones"):
        follow(toy(Mixer), IMAGE)
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 8)), nn.Flatten())
    with pytest.raises(InvalidInput, match=r"weight of module '0' is no parameter but computed"):
        follow(normed, IMAGE)
    for name in ("lap", "l1_filter"):
        with pytest.raises(InvalidInput, match=r"this pruner can't follow .*'cumsum'"):
            pruned(name, nn.Sequential(nn.Conv2d(3, 4, 1), Inner()))


def test_a_trace_that_computes_something_else_is_refused():
    module = toy(TOYS["Plain"])
    module.forward = lambda inputs: 2 * type(module).forward(module, inputs)
    with pytest.raises(InvalidInput, match="gives other outputs than the network itself"):
        follow(module, torch.randn(2, 3, 8, 8))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Linear(4, 4)

    def forward(self, inputs):
        values = self.one(inputs)
        values.add_(self.two(inputs)).mul_(3).relu_()
        return self.head(values.mean((2, 3)))


def test_sums_in_place_count_for_the_old_name():
    graph = follow(toy(InPlace), torch.randn(2, 3, 8, 8))
    edges = graph.into(2)
    assert {edge.source for edge in edges} == {0, 1} and all(edge.summed for edge in edges)
    assert [edge.gain for edge in edges] == [9.0, 9.0]


class Pieces(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 1), nn.Linear(6, 4)
        self.pad, self.flat = nn.ZeroPad2d(1), nn.Flatten(2)

    def forward(self, inputs):
        first, second = self.conv(inputs).chunk(2, 1)
        whole = self.flat(self.pad(torch.cat((second, first), 1))).sigmoid()
        one, two = torch.split(whole, [2, 4], dim=1)
        return self.head(torch.cat([two, one], dim=1).mean(-1))


def test_pieces_keep_their_units():
    graph = follow(toy(Pieces), torch.randn(2, 3, 8, 8))
    edges = graph.into(1)
    assert torch.stack([edge.units for edge in edges]).amax(0).tolist() == [5, 0, 1, 2, 3, 4]
    assert not any(edge.summed or edge.keeps_zero for edge in edges)
    gone = torch.tensor([True, False, False, False, False, True])
    read = torch.stack([edge.reads(gone) for edge in edges]).any(0)
    assert read.tolist() == [True, True, False, False, False, False]


def test_a_view_changed_behind_the_back_is_refused():
    def middle(m, x):
        x.view(-1).mul_(2)
        return x.mean((2, 3))

    def later(m, x):
        view = x.view(2, 4, 64)
        view.mul_(2)
        return x.mean((2, 3)) + view.mean(2)

    for each in (middle, later):
        with pytest.raises(InvalidInput, match="through the operation 'mul_'"):
            follow(Forward(each), torch.randn(2, 3, 8, 8))
