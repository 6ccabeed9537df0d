"""Small networks to prune, with batch statistics that are not the initial ones, and the one-call way to prune
them."""

import functools

import torch
from torch import nn

from tests.trials.toys import toy_data
from trials.datasets import Dataset
from trials.networks import build_network
from trials.pruning import TrainedNetwork, prune
from trials.pruning.masks import full_masks, prunable_names


@functools.cache
def image_data(shape=(3, 8, 8), *, kind=Dataset, train=64):
    return toy_data(shape=shape, classes=4, train=train, kind=kind)


def unsettled(module, seed=0):
    """Gives the biases and the normalisations values as a training would: no zeros, no ones."""
    draw = torch.Generator().manual_seed(seed)
    for each in module.modules():
        for name in ("bias", "running_mean"):
            tensor = getattr(each, name, None)
            if tensor is not None:
                tensor.data.copy_(torch.randn(tensor.shape, generator=draw) / 4)
        if getattr(each, "running_var", None) is not None:
            each.running_var.copy_(torch.rand(each.running_var.shape, generator=draw) + 0.5)
            if each.weight is not None:
                each.weight.data.copy_(torch.rand(each.weight.shape, generator=draw) + 0.5)
        elif isinstance(each, nn.LayerNorm | nn.GroupNorm):
            each.weight.data.copy_(torch.rand(each.weight.shape, generator=draw) + 0.5)
    return module.eval()


def network(name, arguments=None, *, shape=(3, 8, 8), seed=0):
    built = build_network(name, arguments or {}, input_shape=shape, num_classes=4, seed=seed)
    return unsettled(built)


def pruned(
    name, module, arguments=None, *, masks=None, data=None, rate=0.2, seed=0, batch_size=4, keep=(), also=()
):
    """``prune`` with everything that a test doesn't care about."""
    return prune(
        name,
        arguments or {},
        module=module,
        masks=full_masks(module, prunable_names(module, keep, also)) if masks is None else masks,
        data=image_data() if data is None else data,
        batch_size=batch_size,
        rate=rate,
        seed=seed,
        also=also,
    )


def trained_network(module, *, masks=None, data=None, rate=0.2, seed=0, batch_size=4):
    """What a pruner is given."""
    masks = full_masks(module, prunable_names(module)) if masks is None else masks
    return TrainedNetwork(
        module=module.eval(),
        masks=masks,
        extra_masks={},
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
        data=image_data() if data is None else data,
        batch_size=batch_size,
        seed=seed,
    )


def linears(*matrices, norms=()):
    """Linear layers of the given weights with ReLU between, in double precision; after the first ones a
    BatchNorm whose scale over deviation is the given a."""
    layers = []
    for index, matrix in enumerate(matrices):
        weight = torch.tensor(matrix, dtype=torch.float64)
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight = nn.Parameter(weight)
        layers.append(layer)
        if index < len(norms):
            norm = nn.BatchNorm1d(len(weight), eps=1.0)
            norm.running_var.fill_(3.0)
            norm.weight.data = 2 * torch.tensor(norms[index], dtype=torch.float64)
            layers.append(norm)
        if index < len(matrices) - 1:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers).double()


class Plain(nn.Module):
    """Convolutions (with biases) and BatchNorm, a pool, a flattening of several places, linear layers."""

    def __init__(self, *, input_shape=(3, 8, 8), num_classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 5, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(5)
        self.hidden = nn.Linear(5 * 4, 7)
        self.head = nn.Linear(7, num_classes)

    def forward(self, inputs):
        values = nn.functional.max_pool2d(self.norm1(self.conv1(inputs)).relu(), 2)
        values = nn.functional.avg_pool2d(self.norm2(self.conv2(values)).relu(), 2)
        return self.head(self.hidden(values.flatten(1)).relu())


class Residual(nn.Module):
    """A block with an identity, one with option A's shortcut: every second place, zeros around."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.norm1 = nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.conv2, self.norm2 = nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv3, self.norm3 = nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.conv4, self.norm4 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, inputs):
        first = self.norm(self.stem(inputs)).relu()
        second = (self.norm2(self.conv2(self.norm1(self.conv1(first)).relu())) + first).relu()
        third = self.norm4(self.conv4(self.norm3(self.conv3(second)).relu()))
        third = third + nn.functional.pad(second[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(third.relu().mean((2, 3)))


class Dense(nn.Module):
    """Concatenated channels, each reader with a BatchNorm of its own before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(7), nn.Conv2d(7, 2, 1, bias=False)
        self.norm3, self.head = nn.BatchNorm2d(9), nn.Linear(9, 4)

    def forward(self, inputs):
        first = self.stem(inputs)
        second = torch.cat([first, self.conv1(self.norm1(first).relu())], dim=1)
        third = torch.cat([second, self.conv2(self.norm2(second).relu())], 1)
        return self.head(self.norm3(third).relu().mean([2, 3]))


class Separable(nn.Module):
    """A depthwise convolution that makes two units of each, and a grouped one behind it."""

    def __init__(self):
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.depthwise, self.norm2 = nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8)
        self.project, self.norm3 = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4, 4)

    def forward(self, inputs):
        values = nn.functional.relu6(self.norm1(self.expand(inputs)))
        values = nn.functional.relu6(self.norm2(self.depthwise(values)))
        values = self.grouped(self.norm3(self.project(values)))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(values, 1), 1))


class Attention(nn.Module):
    """Patches, a class token, positions, one pre-norm encoder block, a head on the class token."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, 5, 6))
        self.norm1, self.attention = nn.LayerNorm(6), nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm2, self.wide, self.narrow = nn.LayerNorm(6), nn.Linear(6, 9), nn.Linear(9, 6)
        self.norm3, self.head = nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, inputs):
        values = self.patches(inputs).reshape(inputs.shape[0], 6, 4).permute(0, 2, 1)
        values = torch.cat([self.token.expand(inputs.shape[0], -1, -1), values], dim=1) + self.positions
        normed = self.norm1(values)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        values = values + mixed
        values = values + self.narrow(nn.functional.gelu(self.wide(self.norm2(values))))
        return self.head(self.norm3(values)[:, 0])


TOYS = {each.__name__: each for each in (Plain, Residual, Dense, Separable, Attention)}


def toy(kind, seed=0):
    """One of the toys with drawn weights; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return unsettled(kind(), seed)
