import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from silo.errors import InvalidInput
from trials.networks import NETWORKS, build_network
from trials.pruning.masks import prunable_names

CIFAR = (3, 32, 32)
CASES = [
    ("fc", {}, 920_842, 920_064),
    ("resnet20", {}, 269_722, 268_336),
    ("resnet20", {"shortcut": "conv"}, 272_474, 270_896),
    ("vgg19", {}, 20_040_522, 20_024_000),
]


def build(name, arguments=None, shape=CIFAR, classes=10, seed=0):
    return build_network(name, arguments or {}, input_shape=shape, num_classes=classes, seed=seed)


@pytest.mark.parametrize(("name", "arguments", "everything", "weights"), CASES)
def test_parameter_counts(name, arguments, everything, weights):
    network = build(name, arguments)
    parameters = dict(network.named_parameters())
    assert sum(each.numel() for each in parameters.values()) == everything
    assert sum(parameters[each].numel() for each in prunable_names(network)) == weights


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("fc", {"hidden": [5]}, (7,)),
        ("fc", {"hidden": []}, (2, 3, 3)),
        ("resnet20", {}, (1, 8, 8)),
        ("resnet20", {"shortcut": "conv"}, (3, 12, 20)),
        ("vgg19", {}, (1, 32, 32)),
    ],
)
def test_output_shape(name, arguments, shape):
    network = build(name, arguments, shape, classes=4).eval()
    with torch.no_grad():
        assert network(torch.randn(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize(("name", "arguments"), [(name, arguments) for name, arguments, _, _ in CASES])
@pytest.mark.parametrize("training", [True, False])
def test_stacked_copies_agree_with_lone_ones(name, arguments, training):
    shape = (1, 8, 8) if name == "resnet20" else CIFAR
    copies = [build(name, arguments, shape, seed=seed).double().train(training) for seed in range(2)]
    parameters, buffers = stack_module_state(copies)
    inputs = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def outputs_of(parameters, buffers):
        return functional_call(copies[0], (parameters, buffers), (inputs,))

    with torch.no_grad():
        packed = vmap(outputs_of)(parameters, buffers)
        lone = torch.stack([copy(inputs) for copy in copies])
    torch.testing.assert_close(packed, lone, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(lone[0], lone[1])
    for index, copy in enumerate(copies):
        for buffer_name, buffer in copy.named_buffers():
            torch.testing.assert_close(buffers[buffer_name][index], buffer)


@pytest.mark.parametrize(
    ("name", "arguments", "norms"), [("resnet20", {"shortcut": "conv"}, 21), ("vgg19", {}, 16)]
)
def test_running_statistics_are_buffers(name, arguments, norms):
    buffers = [buffer for buffer, _ in build(name, arguments).named_buffers()]
    assert sum(buffer.endswith("running_mean") for buffer in buffers) == norms
    assert sum(buffer.endswith("running_var") for buffer in buffers) == norms


def test_stacked_gradients_agree_with_lone_ones():
    copies = [build("resnet20", {"shortcut": "conv"}, (1, 8, 8), seed=seed).double() for seed in range(2)]
    parameters, buffers = stack_module_state(copies)
    parameters = {name: each.detach() for name, each in parameters.items()}
    inputs = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss_of(parameters, buffers):
        return functional_call(copies[0], (parameters, buffers), (inputs,)).logsumexp(1).sum()

    packed = vmap(grad(loss_of))(parameters, buffers)
    for index, copy in enumerate(copies):
        copy(inputs).logsumexp(1).sum().backward()
        for name, parameter in copy.named_parameters():
            torch.testing.assert_close(packed[name][index], parameter.grad, rtol=1e-9, atol=1e-9)


def test_identity_shortcut_is_a_strided_copy_with_zero_channels_around():
    block = build("resnet20", {}, (1, 8, 8)).blocks[3]
    inputs = torch.arange(16.0 * 16).view(1, 16, 4, 4)
    carried = block.shortcut(inputs)
    assert carried.shape == (1, 32, 2, 2)
    assert torch.equal(carried[:, 8:24], inputs[:, :, ::2, ::2])
    assert carried[:, :8].count_nonzero() == carried[:, 24:].count_nonzero() == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_are_a_function_of_the_seed(name):
    before = torch.get_rng_state()
    first, again, other = (build(name, seed=seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    head = [key for key in first if key.endswith("weight") and first[key].ndim == 2][-1]
    assert not torch.equal(first[head], other[head])
    torch.manual_seed(123)
    drawn_elsewhere = build(name, seed=7).state_dict()
    assert all(torch.equal(first[key], drawn_elsewhere[key]) for key in first)


def test_initial_weights_are_kaiming_normal():
    network = build("vgg19")
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels >= 256:
            expected = (2 / (module.in_channels * 9)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.01)
            assert module.bias.count_nonzero() == 0
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1) and torch.all(module.bias == 0)


def test_the_global_default_device_plays_no_part():
    with torch.device("meta"):
        network = build("fc", {"hidden": [4]}, (3,), classes=2)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "message"),
    [
        ("vgg19", {}, (1, 8, 8), r"shape \(1, 8, 8\): it needs \(channels, 32, 32\)"),
        ("vgg19", {}, (64,), r"shape \(64,\)"),
        ("resnet20", {}, (1, 8, 10), r"shape \(1, 8, 10\).*multiples of 4"),
        ("resnet20", {}, (64,), r"shape \(64,\).*\(channels, height, width\)"),
        ("resnet20", {"shortcut": "none"}, CIFAR, "no shortcut 'none'"),
        ("fc", {"hidden": [4, 0]}, (3,), r"hidden = \[4, 0\]"),
        ("fc", {"hidden": 4}, (3,), "hidden = 4"),
        ("fc", {}, (), r"shape \(\)"),
        ("fc", {"width": 4}, (3,), "takes no argument 'width'.*it takes 'hidden'"),
        ("resnet", {}, CIFAR, r"did you mean 'resnet20'\?"),
    ],
)
def test_what_is_refused(name, arguments, shape, message):
    with pytest.raises(InvalidInput, match=message):
        build(name, arguments, shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_classes_are_refused(name):
    with pytest.raises(InvalidInput, match="0 classes"):
        build(name, classes=0)


OWN = """
from torch import nn

def linear(*, input_shape, num_classes, extra=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], num_classes + extra))

def wrong_width(*, input_shape, num_classes):
    return nn.Linear(input_shape[0] + 1, num_classes)

def no_network(*, input_shape, num_classes):
    return "network"
"""
counter = itertools.count()


@pytest.fixture
def own(tmp_path, monkeypatch):
    name = f"own_networks_{next(counter)}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


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
