"""Networks from which filters are really cut out, layer by layer."""

import copy

import torch
from torch import nn


def left(masks, layer):
    """The filters of a layer that are left, by index."""
    return masks[f"{layer}.weight"].flatten(1).any(1).nonzero().flatten()


def cut(layer, outs=slice(None), ins=slice(None)):
    """A smaller layer, of some of the units that it makes and reads."""
    small = copy.deepcopy(layer)
    small.weight = nn.Parameter(layer.weight.detach()[outs][:, ins].clone())
    if layer.bias is not None:
        small.bias = nn.Parameter(layer.bias.detach()[outs].clone())
    return small


def cut_norm(norm, channels):
    small = copy.deepcopy(norm)
    small.num_features = len(channels)
    for name in ("weight", "bias"):
        setattr(small, name, nn.Parameter(getattr(norm, name).detach()[channels].clone()))
    small.running_mean, small.running_var = norm.running_mean[channels], norm.running_var[channels]
    return small


def cut_plain(module, masks):
    small, one, two = copy.deepcopy(module), left(masks, "conv1"), left(masks, "conv2")
    small.conv1, small.norm1 = cut(module.conv1, one), cut_norm(module.norm1, one)
    small.conv2, small.norm2 = cut(module.conv2, two, one), cut_norm(module.norm2, two)
    places = torch.cat([torch.arange(4 * unit, 4 * unit + 4) for unit in two])
    small.hidden = cut(module.hidden, ins=places)
    return small


def cut_blocks(module, masks):
    """The inner convolutions of the blocks of ResNet-20."""
    small = copy.deepcopy(module)
    for index, block in enumerate(small.blocks):
        units = left(masks, f"blocks.{index}.conv1")
        block.conv1, block.norm1 = cut(block.conv1, units), cut_norm(block.norm1, units)
        block.conv2 = cut(block.conv2, ins=units)
    return small


def cut_residual(module, masks):
    small, one, three = copy.deepcopy(module), left(masks, "conv1"), left(masks, "conv3")
    small.conv1, small.norm1 = cut(module.conv1, one), cut_norm(module.norm1, one)
    small.conv2 = cut(module.conv2, ins=one)
    small.conv3, small.norm3 = cut(module.conv3, three), cut_norm(module.norm3, three)
    small.conv4 = cut(module.conv4, ins=three)
    return small


def cut_dense(module, masks):
    small = copy.deepcopy(module)
    stem, one, two = (left(masks, name) for name in ("stem", "conv1", "conv2"))
    seven, nine = torch.cat([stem, one + 4]), torch.cat([stem, one + 4, two + 7])
    small.stem = cut(module.stem, stem)
    small.norm1, small.conv1 = cut_norm(module.norm1, stem), cut(module.conv1, one, stem)
    small.norm2, small.conv2 = cut_norm(module.norm2, seven), cut(module.conv2, two, seven)
    small.norm3, small.head = cut_norm(module.norm3, nine), cut(module.head, ins=nine)
    return small


def cut_separable(module, masks):
    """Of each unit of expand the depthwise convolution makes two."""
    small, units = copy.deepcopy(module), left(masks, "expand")
    made = torch.stack([2 * units, 2 * units + 1], 1).flatten()
    small.expand, small.norm1 = cut(module.expand, units), cut_norm(module.norm1, units)
    small.depthwise, small.norm2 = cut(module.depthwise, made), cut_norm(module.norm2, made)
    small.depthwise.groups = small.depthwise.in_channels = len(units)
    small.project = cut(module.project, ins=made)
    return small


def cut_chain(module, masks):
    """VGG-19 and AlexNet: convolutions in a row, one pixel behind them, a linear head."""
    small, before = copy.deepcopy(module), slice(None)
    for index, layer in enumerate(module.features):
        if isinstance(layer, nn.Conv2d):
            units = left(masks, f"features.{index}")
            small.features[index] = cut(layer, units, before)
            before = units
        elif isinstance(layer, nn.BatchNorm2d):
            small.features[index] = cut_norm(layer, before)
    small.head = cut(module.head, ins=before)
    return small


def cut_inverted(module, masks):
    """The wide middles of MobileNetV2's blocks, and both ends, which are added to nothing."""
    small, first = copy.deepcopy(module), left(masks, "conv")
    small.conv, small.norm = cut(module.conv, first), cut_norm(module.norm, first)
    small.blocks[0].expand = cut(small.blocks[0].expand, ins=first)
    small.blocks[0].shortcut[0] = cut(small.blocks[0].shortcut[0], ins=first)
    for index, block in enumerate(small.blocks):
        units = left(masks, f"blocks.{index}.expand")
        block.expand, block.norm1 = cut(block.expand, units), cut_norm(block.norm1, units)
        block.depthwise, block.norm2 = cut(block.depthwise, units), cut_norm(block.norm2, units)
        block.depthwise.groups = block.depthwise.in_channels = len(units)
        block.project = cut(block.project, ins=units)
    last = left(masks, "last_conv")
    small.last_conv, small.last_norm = cut(small.last_conv, last), cut_norm(small.last_norm, last)
    small.head = cut(small.head, ins=last)
    return small
