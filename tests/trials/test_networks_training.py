"""That the networks learn: a few steps on images that are easy to tell apart."""

import math

import pytest

from tests.trials.toys import toy_data, toy_recipe
from trials.copies import named_tensors
from trials.datasets import Dataset
from trials.networks import build_network
from trials.recipe import Component
from trials.training import train_pack

CASES = [
    ("alexnet", {}, (1, 32, 32), 0.01, 4),
    ("densenet40", {}, (1, 8, 8), 0.05, 4),
    ("mobilenetv2", {}, (1, 8, 8), 0.02, 6),
    ("resnet20", {}, (1, 8, 8), 0.05, 4),
    ("resnet20", {"shortcut": "conv"}, (1, 8, 8), 0.05, 4),
    ("vit", {"layers": 2, "width": 48, "mlp": 96}, (3, 8, 8), 0.02, 6),
]


@pytest.mark.parametrize(("name", "arguments", "shape", "max_lr", "epochs"), CASES)
def test_it_learns(name, arguments, shape, max_lr, epochs):
    data = toy_data(shape=shape, train=96, validation=40, test=40, noise=0.5, kind=Dataset)
    network = build_network(name, arguments, input_shape=shape, num_classes=4, seed=0)
    recipe = toy_recipe(
        network=Component(name=name, arguments=arguments),
        schedule=Component(name="warmup_drops", arguments={"warmup": 1}),
        length=epochs,
        batch_size=16,
    )
    [trained] = train_pack(
        module=network,
        start=named_tensors(network),
        masks={},
        data=data,
        recipe=recipe,
        cycle=0,
        replicate=0,
        max_lrs=[max_lr],
    )
    # Not the accuracy: so few steps are no time for the running statistics of a deep network.
    assert trained.train_loss < 0.4 * math.log(4)
