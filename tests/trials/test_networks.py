import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.trials.thin import make_thin
from trials.engine import why_not_packed
from trials.networks import NETWORKS, build_network
from trials.objectives import CrossEntropy
from trials.testing import check_network

CIFAR = (3, 32, 32)
# Small enough for the contract below. vit_b_16 is vit in another size, and too large for some of it.
SMALL = {
    "alexnet": ({}, (1, 32, 32)),
    "densenet40": ({}, (1, 8, 8)),
    "fc": ({"hidden": [20]}, (7,)),
    "mobilenetv2": ({}, (1, 16, 16)),
    "resnet20": ({"shortcut": "conv"}, (1, 8, 8)),
    "resnet50": ({}, (3, 32, 32)),
    "vgg19": ({}, (1, 32, 32)),
    "vit": ({"layers": 2, "width": 48}, (3, 8, 8)),
    "vit_b_16": ({}, (3, 16, 16)),
}
# vmap computes attention for one copy after another, says so, and gives the right numbers.
UNVECTORISED = "ignore:There is a performance drop"


def build(name, arguments=None, shape=CIFAR, classes=10, seed=0):
    return build_network(name, arguments or {}, input_shape=shape, num_classes=classes, seed=seed)


def small(name, *, seed=0, classes=4):
    arguments, shape = SMALL[name]
    return build(name, arguments, shape, classes, seed)


def random_inputs(count, shape, dtype=torch.float64):
    return torch.randn(count, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def test_each_network_is_in_the_contract():
    assert SMALL.keys() == NETWORKS.keys()


SHAPES = [
    ("fc", {"hidden": [5]}, (7,)),
    ("fc", {"hidden": []}, (2, 3, 3)),
    ("resnet20", {}, (1, 8, 8)),
    ("resnet20", {"shortcut": "conv"}, (3, 12, 20)),
    ("vgg19", {}, (1, 32, 32)),
    ("alexnet", {"dropout": 0.5}, (2, 32, 32)),
    ("densenet40", {}, (1, 4, 12)),
    ("mobilenetv2", {}, (1, 8, 24)),
    ("resnet50", {}, (3, 20, 33)),
    ("vit", {"patch": 5, "layers": 1, "heads": 2, "width": 6, "mlp": 8}, (3, 15, 15)),
    ("vit_b_16", {}, (3, 48, 48)),
]


def test_output_shape():
    for name, arguments, shape in SHAPES:
        network = build(name, arguments, shape, classes=4).eval()
        with torch.no_grad():
            assert network(random_inputs(2, shape, torch.float32)).shape == (2, 4), name


@pytest.mark.filterwarnings(UNVECTORISED)
@pytest.mark.parametrize("name", SMALL)
def test_it_keeps_to_the_contract(name, monkeypatch):
    make_thin(monkeypatch)
    arguments, shape = SMALL[name]
    check_network(name, arguments, input_shape=shape, num_classes=4, packs=True)


@pytest.mark.filterwarnings(UNVECTORISED)
@pytest.mark.parametrize(("name", "sizes"), [("alexnet", {}), ("vit", {"layers": 1, "width": 12})])
def test_dropout_alone_stands_against_packing(name, sizes):
    inputs, labels = random_inputs(4, CIFAR), torch.arange(4)
    assert why_not_packed(build(name, sizes), CrossEntropy(), inputs, labels) is None
    network = build(name, {"dropout": 0.3, **sizes})
    assert "random operation" in why_not_packed(network, CrossEntropy(), inputs, labels)
    inputs = inputs.float()
    nn.init.normal_(list(network.parameters())[-2])  # a transformer's head starts at 0
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), network(inputs))


def test_torchvision_is_loaded_by_the_first_network_of_its_own_and_draws_nothing():
    code = """
import sys, torch
from trials.networks import build_network
def weights(name, **arguments):
    network = build_network(name, arguments, input_shape=(3, 8, 8), num_classes=2, seed=5)
    return torch.cat([each.flatten() for each in network.parameters()])
weights("resnet20")
assert "torchvision" not in sys.modules
first = weights("vit", layers=1)
assert "torchvision" in sys.modules
assert torch.equal(first, weights("vit", layers=1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["alexnet", "mobilenetv2", "resnet20", "vgg19"])
def test_initial_weights_are_kaiming_normal(name):
    for module in build(name).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module.weight.numel() > 20_000:
                expected = (2 / module.weight[0].numel()) ** 0.5
                assert module.weight.std().item() == pytest.approx(expected, rel=0.03)
            assert module.bias is None or module.bias.count_nonzero() == 0
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1) and torch.all(module.bias == 0)


def test_initial_weights_of_densenet_are_its_authors():
    network = build("densenet40", classes=100)
    kernels = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    for kernel in kernels:
        fan_out = kernel.shape[0] * kernel.shape[2] * kernel.shape[3]
        assert kernel.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=10 / kernel.numel() ** 0.5)
    assert network.head.weight.abs().max().item() == pytest.approx(456**-0.5, rel=1e-3)
    assert network.head.weight.std().item() == pytest.approx((3 * 456) ** -0.5, rel=0.01)
    assert network.head.bias.count_nonzero() == 0


def test_the_global_default_device_plays_no_part():
    with torch.device("meta"):
        network = build("fc", {"hidden": [4]}, (3,), classes=2)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


REFUSED = [
    ("vgg19", {}, (1, 8, 8), r"shape \(1, 8, 8\): it needs \(channels, 32, 32\)"),
    ("vgg19", {}, (64,), r"shape \(64,\)"),
    ("resnet20", {}, (1, 8, 10), r"shape \(1, 8, 10\).*multiples of 4"),
    ("resnet20", {}, (64,), r"shape \(64,\).*\(channels, height, width\)"),
    ("resnet20", {"shortcut": "none"}, CIFAR, "no shortcut 'none'"),
    ("fc", {"hidden": [4, 0]}, (3,), r"hidden = \[4, 0\]"),
    ("fc", {"hidden": 4}, (3,), "hidden = 4"),
    ("fc", {}, (), r"shape \(\)"),
    ("fc", {"width": 4}, (3,), "takes no argument 'width'.*it takes 'hidden'"),
    ("alexnet", {}, (3, 64, 64), r"shape \(3, 64, 64\): it needs \(channels, 32, 32\)"),
    ("alexnet", {}, (0, 32, 32), r"shape \(0, 32, 32\)"),
    ("alexnet", {"dropout": 1.0}, CIFAR, r"dropout = 1\.0.*below 1"),
    ("alexnet", {"dropout": "half"}, CIFAR, "dropout = 'half'"),
    ("densenet40", {}, (3, 32, 30), r"shape \(3, 32, 30\).*multiples of 4"),
    ("densenet40", {}, (3, 32), r"shape \(3, 32\)"),
    ("mobilenetv2", {}, (1, 28, 28), r"shape \(1, 28, 28\).*multiples of 8"),
    ("mobilenetv2", {"shortcut": "none"}, CIFAR, "no shortcut 'none'"),
    ("resnet50", {}, (1, 32, 32), r"shape \(1, 32, 32\): it needs \(3, height, width\)"),
    ("resnet50", {}, (3, 0, 32), r"shape \(3, 0, 32\)"),
    ("resnet50", {}, (64,), r"shape \(64,\)"),
    ("vit_b_16", {}, (1, 32, 32), r"shape \(1, 32, 32\): it needs \(3, height, width\)"),
    ("vit_b_16", {}, (3, 32, 48), r"shape \(3, 32, 48\): it needs square images"),
    ("vit_b_16", {}, (3, 40, 40), r"shape \(3, 40, 40\).*multiple of 16"),
    ("vit_b_16", {"dropout": -0.1}, CIFAR, r"vit_b_16.*dropout = -0\.1"),
    ("vit", {"patch": 5}, CIFAR, r"shape \(3, 32, 32\).*multiple of 5"),
    ("vit", {"heads": 5}, CIFAR, "width = 192 and heads = 5"),
    ("vit", {"layers": 0}, CIFAR, "layers = 0"),
    ("vit", {"mlp": 2.5}, CIFAR, r"mlp = 2\.5"),
    ("vit", {"dropout": math.nan}, CIFAR, "dropout = nan"),
    ("resnet-20", {}, CIFAR, r"did you mean 'resnet20'\?"),
]


def test_arguments_and_shapes_that_are_refused():
    for name, arguments, shape, message in REFUSED:
        with pytest.raises(InvalidInput, match=message) as raised:
            build(name, arguments, shape)
        assert "\n" not in str(raised.value)


def test_no_classes_are_refused():
    for name in NETWORKS:
        with pytest.raises(InvalidInput, match="0 classes"):
            small(name, classes=0)


class Broken(nn.Module):
    """A network with one fault."""

    def __init__(self, *, input_shape, num_classes, fault):
        super().__init__()
        self.fault, self.layer = fault, nn.Linear(input_shape[0], num_classes)
        self.spare = nn.Linear(2, 2) if fault == "unused" else None
        self.mean = torch.zeros(num_classes)
        if fault == "seed":
            nn.init.ones_(self.layer.weight)

    def forward(self, inputs):
        outputs = self.layer(inputs)
        if self.fault == "batch":
            outputs = outputs - outputs.mean(0)
        if self.fault == "random":
            outputs = outputs * torch.rand(1)
        if self.fault == "zeros":
            outputs = outputs / 0
        return outputs


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unused", "the weights of 'spare.weight' are not trained"),
        ("seed", "another seed gives .'layer.weight'. the same weights"),
        ("batch", "depend on the others of its batch"),
        ("random", "random in evaluation mode"),
        ("zeros", "outputs are not finite"),
    ],
)
def test_the_contract_finds_what_is_broken(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_network(f"{__name__}:Broken", {"fault": fault}, input_shape=(6,), num_classes=3)
