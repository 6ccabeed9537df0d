"""Parameter counts, and which of the parameters pruning may touch."""

import torch

from trials.networks import NETWORKS
from trials.pruning.masks import prunable_names
from trials.registry import resolve

CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)
# All parameters, then convolution and linear weights.
COUNTS = [
    ("fc", {}, CIFAR, 10, 920_842, 920_064),
    ("resnet20", {}, CIFAR, 10, 269_722, 268_336),
    ("resnet20", {"shortcut": "conv"}, CIFAR, 10, 272_474, 270_896),
    ("vgg19", {}, CIFAR, 10, 20_040_522, 20_024_000),
    ("densenet40", {}, CIFAR, 10, 1_059_298, 1_040_568),
    ("densenet40", {}, CIFAR, 100, 1_100_428, 1_081_608),
    ("mobilenetv2", {}, CIFAR, 10, 2_296_922, 2_261_824),
    ("mobilenetv2", {}, CIFAR, 100, 2_412_212, 2_377_024),
    ("mobilenetv2", {"shortcut": "identity"}, CIFAR, 10, 2_237_770, 2_203_584),
    ("resnet50", {}, IMAGENET, 1000, 25_557_032, 25_502_912),
    ("vit_b_16", {}, IMAGENET, 1000, 86_567_656, 86_292_480),
    ("vit_b_16", {}, (3, 384, 384), 10, 86_098_186, 85_532_160),
    ("vit", {}, CIFAR, 10, 5_362_762, 5_319_552),
]


def outline(name, arguments, shape=CIFAR, classes=10):
    """The network without memory for its weights."""
    with torch.device("meta"):
        return resolve("network", name, NETWORKS)(input_shape=shape, num_classes=classes, **arguments)


def test_parameter_counts():
    for name, arguments, shape, classes, everything, weights in COUNTS:
        network = outline(name, arguments, shape, classes)
        parameters = dict(network.named_parameters())
        assert sum(each.numel() for each in parameters.values()) == everything, (name, arguments)
        assert sum(parameters[each].numel() for each in prunable_names(network)) == weights, (name, arguments)


def test_alexnet_by_hand():
    kernels = 3 * 64 * 11**2 + 64 * 192 * 5**2 + (192 * 384 + 384 * 256 + 256 * 256) * 3**2
    weights, biases = kernels + 256 * 10, 64 + 192 + 384 + 256 + 256 + 10
    assert (weights, weights + biases) == (2_471_104, 2_472_266)
    network = outline("alexnet", {"dropout": 0.5})
    parameters = dict(network.named_parameters())
    assert sum(each.numel() for each in parameters.values()) == weights + biases
    assert sum(parameters[each].numel() for each in prunable_names(network)) == weights


def test_kernels_and_matrices_can_be_pruned_and_nothing_else():
    for name in NETWORKS:
        network = outline(name, {})
        by_shape = [key for key, parameter in network.named_parameters() if parameter.ndim in (2, 4)]
        assert list(prunable_names(network)) == by_shape
        assert "class_token" not in by_shape and "encoder.pos_embedding" not in by_shape
