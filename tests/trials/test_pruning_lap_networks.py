"""LAP's scores of whole networks, compared with a recursion written for each of them.

Before each layer the squared norms of the rows that feed its units, after it those of the columns that read
them, as the network's definition has it.
"""

import pytest
import torch
from torch import nn

from tests.trials.pruning_toys import image_data, network, trained_network
from trials.pruning.lap import lap
from trials.pruning.masks import prunable_names


def square(layer):
    return layer.weight.detach().double().square()


def rows(layer):
    return square(layer).flatten(1).sum(1)


def columns(layer):
    return square(layer).transpose(0, 1).flatten(1).sum(1)


def a2(norm):
    return norm.weight.detach().double() ** 2 / (norm.running_var.double() + norm.eps)


def scores(layer, before, behind):
    taps = [1] * (layer.weight.dim() - 2)
    return square(layer) * before.view(1, -1, *taps) * behind.view(-1, 1, *taps)


def assert_scores(module, expected):
    found = lap(trained_network(module, data=image_data())).values
    assert found.keys() == expected.keys() == set(prunable_names(module))
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-10, atol=0, msg=name)


@pytest.mark.parametrize("shortcut", ["identity", "conv"])
def test_resnet20_by_its_own_recursion(shortcut):
    module = network("resnet20", {"shortcut": shortcut})
    blocks = list(module.blocks)
    fed, expected = [rows(module.conv) * a2(module.norm)], {}
    for block in blocks:
        skip = fed[-1]
        if isinstance(block.shortcut, nn.Sequential):
            skip = rows(block.shortcut[0]) * a2(block.shortcut[1])
        elif not isinstance(block.shortcut, nn.Identity):
            width = len(skip) // 2
            skip = torch.cat([torch.zeros(width), skip, torch.zeros(width)])
        fed.append(rows(block.conv2) * a2(block.norm2) + skip)
    read = columns(module.head)
    expected["head.weight"] = scores(module.head, fed[-1], torch.ones(4))
    for index in reversed(range(9)):
        block, name = blocks[index], f"blocks.{index}"
        expected[f"{name}.conv2.weight"] = scores(
            block.conv2, rows(block.conv1) * a2(block.norm1), a2(block.norm2) * read
        )
        expected[f"{name}.conv1.weight"] = scores(
            block.conv1, fed[index], a2(block.norm1) * columns(block.conv2)
        )
        if isinstance(block.shortcut, nn.Sequential):
            conv, norm = block.shortcut
            expected[f"{name}.shortcut.0.weight"] = scores(conv, fed[index], a2(norm) * read)
            read = columns(conv)
        elif not isinstance(block.shortcut, nn.Identity):
            width = len(fed[index])
            read = read[width // 2 : width // 2 + width]
        read = read + columns(block.conv1)
    expected["conv.weight"] = scores(module.conv, torch.ones(3), a2(module.norm) * read)
    assert_scores(module, expected)


def test_densenet40_by_its_own_recursion():
    module = network("densenet40")
    stream, before, expected = rows(module.conv), [], {}
    for part in module.layers:
        before.append(stream * a2(part.norm))
        new = rows(part.conv)
        stream = new if len(new) == len(stream) else torch.cat([stream, new])
    expected["head.weight"] = scores(module.head, stream * a2(module.norm), torch.ones(4))
    read = a2(module.norm) * columns(module.head)
    for index in reversed(range(len(module.layers))):
        part = module.layers[index]
        fan_in, made = part.conv.in_channels, part.conv.out_channels
        expected[f"layers.{index}.conv.weight"] = scores(part.conv, before[index], read[-made:])
        passed = read[:-made] if made != fan_in else torch.zeros(fan_in)
        read = passed + a2(part.norm) * columns(part.conv)
    expected["conv.weight"] = scores(module.conv, torch.ones(3), read)
    assert_scores(module, expected)


@pytest.mark.parametrize("shortcut", ["identity", "conv"])
def test_mobilenetv2_by_its_own_recursion(shortcut):
    module = network("mobilenetv2", {"shortcut": shortcut})
    fed, expected = [rows(module.conv) * a2(module.norm)], {}
    for block in module.blocks:
        made = rows(block.project) * a2(block.norm3)
        if isinstance(block.shortcut, nn.Sequential):
            made = made + rows(block.shortcut[0]) * a2(block.shortcut[1])
        elif block.shortcut is not None:
            made = made + fed[-1]
        fed.append(made)
    last = rows(module.last_conv) * a2(module.last_norm)
    expected["head.weight"] = scores(module.head, last, torch.ones(4))
    expected["last_conv.weight"] = scores(
        module.last_conv, fed[-1], a2(module.last_norm) * columns(module.head)
    )
    read = columns(module.last_conv)
    for index in reversed(range(len(module.blocks))):
        block, name = module.blocks[index], f"blocks.{index}"
        wide, deep = rows(block.expand) * a2(block.norm1), rows(block.depthwise) * a2(block.norm2)
        expected[f"{name}.project.weight"] = scores(block.project, deep, a2(block.norm3) * read)
        behind = wide * a2(block.norm2) * columns(block.project)
        expected[f"{name}.depthwise.weight"] = square(block.depthwise) * behind.view(-1, 1, 1, 1)
        own = a2(block.norm1) * rows(block.depthwise)
        expected[f"{name}.expand.weight"] = scores(block.expand, fed[index], own)
        if isinstance(block.shortcut, nn.Sequential):
            conv, norm = block.shortcut
            expected[f"{name}.shortcut.0.weight"] = scores(conv, fed[index], a2(norm) * read)
            read = columns(conv)
        elif block.shortcut is None:
            read = torch.zeros(len(fed[index]))
        read = read + columns(block.expand)
    expected["conv.weight"] = scores(module.conv, torch.ones(3), a2(module.norm) * read)
    assert_scores(module, expected)
