"""That the networks learn: one small batch by heart, which every network that passes its gradients on can do.

The same batch at every step leaves little to chance: initial weights that differ by 1e-4, a thousand times as
much as the roundings of another processor, give losses as far below the bound.
"""

import math

import pytest

from tests.trials.toys import toy_data, toy_recipe
from trials.datasets import Dataset
from trials.engine import named_tensors
from trials.networks import build_network
from trials.tasks import Component
from trials.training import train_pack

CASES = [
    ("alexnet", {}, (1, 32, 32)),
    ("densenet40", {}, (1, 8, 8)),
    ("mobilenetv2", {}, (1, 8, 8)),
    ("resnet20", {}, (1, 8, 8)),
    ("resnet20", {"shortcut": "conv"}, (1, 8, 8)),
    ("vit", {"layers": 2, "width": 48, "mlp": 96}, (3, 8, 8)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_it_learns(name, arguments, shape):
    data = toy_data(shape=shape, train=32, validation=4, test=4, noise=0.5, kind=Dataset)
    network = build_network(name, arguments, input_shape=shape, num_classes=4, seed=0)
    recipe = toy_recipe(
        network=Component(name=name, arguments=arguments),
        optimizer=Component(name="sgd", arguments={"momentum": 0.9}),
        length=12,
        batch_size=32,
    )
    [trained] = train_pack(
        module=network,
        start=named_tensors(network),
        masks={},
        data=data,
        recipe=recipe,
        cycle=0,
        replicate=0,
        max_lrs=[0.01],
    )
    assert trained.train_loss < 0.4 * math.log(4)
