"""Networks of the user's own, given as ``package.module:name``."""

import pytest
import torch

from silo.errors import InvalidInput
from trials.networks import build_network
from trials.pruning.masks import prunable_names


def build(name, arguments, shape, classes, seed=0):
    return build_network(name, arguments, input_shape=shape, num_classes=classes, seed=seed)


OWN = """
from torch import nn

def linear(*, input_shape, num_classes, extra=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], num_classes + extra))

def wrong_width(*, input_shape, num_classes):
    return nn.Linear(input_shape[0] + 1, num_classes)

def no_network(*, input_shape, num_classes):
    return "network"
"""


@pytest.fixture
def own(own_module):
    return own_module("own_networks", OWN)


def test_own_network(own):
    first, again = (build(f"{own}:linear", {}, (6,), classes=3, seed=4) for _ in range(2))
    assert torch.equal(first[1].weight, again[1].weight) and first.training
    assert prunable_names(first) == ("1.weight",)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("linear", {"extra": 2}, r"outputs of shape \(2, 5\).*must be \(2, 3\)"),
        ("wrong_width", {}, r"fails on two inputs of shape \(6,\): RuntimeError"),
        ("no_network", {}, "must give a torch.nn.Module, it gave str"),
        ("missing", {}, "has no attribute 'missing'"),
    ],
)
def test_own_network_that_does_not_fit(own, function, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        build(f"{own}:{function}", arguments, (6,), classes=3)
