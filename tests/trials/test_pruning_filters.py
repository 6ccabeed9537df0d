"""Filter pruning, against networks from which the filters were really cut out."""

import copy

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.trials.cutting import (
    cut_blocks,
    cut_chain,
    cut_dense,
    cut_inverted,
    cut_plain,
    cut_residual,
    cut_separable,
    left,
)
from tests.trials.pruning_toys import (
    Attention,
    Dense,
    Plain,
    Residual,
    Separable,
    image_data,
    network,
    pruned,
    toy,
)
from tests.trials.toys import Exact, double, toy_recipe, train
from trials.pruning.masks import alive, apply_masks, full_masks, prunable_names, sparsity


def masked(module, masks):
    """A copy whose parameters are 0 where masked."""
    copied = copy.deepcopy(module)
    copied.load_state_dict(apply_masks(dict(module.state_dict()), masks))
    return copied


def slow_choice(module, layer, masks, rate):
    """The filters that stay, by the definition."""
    weight = module.get_submodule(layer).weight.detach().double()
    old = [unit for unit in range(len(weight)) if masks[f"{layer}.weight"][unit].any()]
    sums = {unit: sum(abs(each) for each in weight[unit].flatten().tolist()) for unit in old}
    going = sorted(old, key=lambda unit: (sums[unit], unit))[: min(round(rate * len(old)), len(old) - 1)]
    return [unit for unit in old if unit not in going]


def vgg_blocks():
    """The first two stages of VGG-19, on images that they halve to one pixel."""
    module = network("vgg19", shape=(3, 32, 32))
    module.features, module.head = module.features[:14], nn.Linear(128, 4)
    return module


CASES = {
    "plain": (lambda: toy(Plain), cut_plain, {"conv1", "conv2"}),
    "residual": (lambda: toy(Residual), cut_residual, {"conv1", "conv3"}),
    "dense": (lambda: toy(Dense), cut_dense, {"stem", "conv1", "conv2"}),
    "separable": (lambda: toy(Separable), cut_separable, {"expand"}),
    "resnet20": (lambda: network("resnet20"), cut_blocks, {f"blocks.{i}.conv1" for i in range(9)}),
    "resnet20, conv": (
        lambda: network("resnet20", {"shortcut": "conv"}),
        cut_blocks,
        {f"blocks.{i}.conv1" for i in range(9)},
    ),
}
CASES["vgg19"] = (vgg_blocks, cut_chain, {f"features.{i}" for i in (0, 3, 7, 10)})
SHAPES = {name: (3, 4, 4) for name in ("resnet20", "resnet20, conv", "vgg19")}


@pytest.mark.parametrize("name", CASES)
def test_the_masked_network_computes_what_the_cut_one_does(name):
    make, cut_out, chosen = CASES[name]
    module, masks, shape = make().double(), None, SHAPES.get(name, (3, 8, 8))
    inputs = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        old = masks or full_masks(module, prunable_names(module))
        masks = pruned("l1_filter", module, masks=masks, rate=0.4, data=image_data(shape))
        for layer in chosen:
            assert left(masks, layer).tolist() == slow_choice(module, layer, old, 0.4)
        one, other = masked(module, masks), cut_out(masked(module, masks), masks)
        torch.testing.assert_close(one(inputs), other(inputs), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(one.train()(inputs), other.train()(inputs), rtol=1e-9, atol=1e-9)
        weights = {each: masks[each] for each in prunable_names(module)}
        parameters = dict(other.named_parameters())
        assert alive(weights) == sum(parameters[each].numel() for each in weights)


@pytest.mark.parametrize("name", ["plain", "residual", "dense", "separable"])
def test_they_stay_equal_in_training(name):
    make, cut_out, _ = CASES[name]
    module = make().double()
    data = image_data(kind=Exact, train=32)
    masks = pruned("l1_filter", module, data=data, rate=0.4)
    start = double(masked(module, masks).state_dict())
    small = cut_out(masked(module, masks), masks)
    recipe = toy_recipe(length=2, batch_size=8)
    one = train(module, data, recipe, [0.05], start=start, masks=masks)[0]
    other = train(small, data, recipe, [0.05])[0]
    assert not one.diverged and one.best_step == other.best_step
    assert one.train_loss == pytest.approx(other.train_loss, rel=1e-9)
    module.load_state_dict(one.state)
    assert any((one.state[each] != start[each]).any() for each in masks)
    for each, mask in masks.items():
        assert not one.state[each][~mask].any()
    expected = cut_out(module, masks).state_dict()
    for each, tensor in expected.items():
        torch.testing.assert_close(other.state[each], tensor, rtol=1e-8, atol=1e-9, msg=each)


@pytest.mark.parametrize(
    ("name", "cut_out", "shape", "share"),
    [
        ("alexnet", cut_chain, (3, 32, 32), 0.64),
        ("mobilenetv2", cut_inverted, (3, 8, 8), 0.8),
    ],
)
def test_large_networks(name, cut_out, shape, share):
    module = network(name, shape=shape)
    masks = pruned("l1_filter", module, data=image_data(shape))
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    one, other = masked(module, masks), cut_out(masked(module, masks), masks)
    counts = sparsity(masks, module)
    assert counts.network.alive == sum(each.numel() for each in other.parameters())
    assert counts.prunable.density == pytest.approx(share, abs=0.02)
    with torch.no_grad():
        torch.testing.assert_close(one(inputs), other(inputs), rtol=1e-3, atol=1e-4)


def test_sums_counts_ties_and_the_last_filter():
    module = toy(Plain)
    module.conv1.weight.data[:] = 0
    module.conv1.weight.data[:, 0, 0, 0] = torch.tensor([3.0, -1, 2, 1, -2, 0])
    masks = pruned("l1_filter", module, rate=0.5)
    assert left(masks, "conv1").tolist() == [0, 2, 4]
    masks = pruned("l1_filter", module, masks=masks, rate=0.34)
    assert left(masks, "conv1").tolist() == [0, 4]  # 2 and -2 are worth the same: the first goes
    for expected in ([0], [0]):
        masks = pruned("l1_filter", module, masks=masks, rate=0.9)
        assert left(masks, "conv1").tolist() == expected
    assert masks["norm1.weight"].tolist() == masks["norm1.bias"].tolist() == [True] + [False] * 5
    assert masks["conv1.bias"].tolist() == masks["norm1.weight"].tolist()
    assert masks["conv2.weight"].any(0).flatten(1).any(1).tolist() == masks["norm1.weight"].tolist()
    assert masks["head.weight"].all() and "head.bias" not in masks and "hidden.bias" not in masks


def test_the_sums_are_taken_before_other_layers_lose_filters():
    module = toy(Plain)
    nn.init.ones_(module.conv1.weight)
    nn.init.ones_(module.conv2.weight)
    module.conv1.weight.data[:3] = 0.1
    module.conv2.weight.data[0] = torch.tensor([9.0, 9, 9, 0, 0, 0])[:, None, None]
    masks = pruned("l1_filter", module, rate=0.5)
    assert left(masks, "conv1").tolist() == [3, 4, 5]
    assert left(masks, "conv2").tolist() == slow_choice(
        module, "conv2", full_masks(module, prunable_names(module)), 0.5
    )


def test_kept_layers():
    module = toy(Plain).double()
    inputs = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    masks = pruned("l1_filter", module, rate=0.4, keep=("conv1.*", "hidden.*", "last"))
    assert "conv1.weight" not in masks and "hidden.weight" not in masks and "norm1.weight" not in masks
    assert masks["conv2.weight"].flatten(1).any(1).tolist() == masks["norm2.bias"].tolist()
    full = {**full_masks(module, prunable_names(module)), **masks}
    torch.testing.assert_close(masked(module, masks)(inputs), cut_plain(masked(module, masks), full)(inputs))


class Sigmoid(Plain):
    """Where a unit of 0 arrives as 0.5: a reader that is kept would go on reading it."""

    def forward(self, inputs):
        values = nn.functional.max_pool2d(self.norm1(self.conv1(inputs)).relu(), 2)
        values = nn.functional.avg_pool2d(self.norm2(self.conv2(values)).sigmoid(), 2)
        return self.head(self.hidden(values.flatten(1)).relu())


def test_units_that_do_not_stay_zero():
    module = toy(Sigmoid).double()
    inputs = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    masks = pruned("l1_filter", module, rate=0.4)
    torch.testing.assert_close(masked(module, masks)(inputs), cut_plain(masked(module, masks), masks)(inputs))
    kept = pruned("l1_filter", module, rate=0.4, keep=("hidden.*",))
    assert kept["conv1.weight"].flatten(1).any(1).sum() < 6 and kept["conv2.weight"].flatten(1).any(1).all()


def layers(*parts):
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


class Shared(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(n, 4, 3, padding=1) for n in (3, 4, 4))
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 4)
        self.shared_norm = norm

    def forward(self, inputs):
        values = self.norm(self.one(inputs))
        again = self.two(values)
        again = self.norm(again) if self.shared_norm else self.two(again)
        return self.head(self.three(again).mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "chosen"),
    [
        (lambda: layers(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), set()),
        (lambda: layers(nn.ConvTranspose2d(3, 4, 1)), set()),
        (lambda: layers(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), set()),
        (lambda: layers(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 1)), {"1"}),
        (lambda: layers(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 1)), {"0", "1"}),  # of "1" its inputs
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), set()),
        (lambda: Shared(norm=True), {"three"}),
        (lambda: Shared(norm=False), {"one", "three"}),
    ],
)
def test_which_layers_take_part(make, chosen):
    torch.manual_seed(0)
    module = make()
    masks = full_masks(module, prunable_names(module))
    if not chosen:
        with pytest.raises(InvalidInput, match="l1_filter finds no convolution"):
            pruned("l1_filter", module, masks=masks, rate=0.5)
        return
    masks = pruned("l1_filter", module, masks=masks, rate=0.5)
    found = {name.removesuffix(".weight") for name in prunable_names(module)}
    assert {name for name in found if len(left(masks, name)) < len(masks[f"{name}.weight"])} == chosen


@pytest.mark.parametrize("make", [lambda: toy(Attention), lambda: network("fc")])
def test_networks_without_such_a_layer(make):
    with pytest.raises(InvalidInput, match="l1_filter finds no convolution in this network"):
        pruned("l1_filter", make())


def test_a_kept_depthwise_convolution_keeps_what_it_reads():
    with pytest.raises(InvalidInput, match="l1_filter finds no convolution"):
        pruned("l1_filter", toy(Separable), keep=("depthwise.*",))


def test_filters_of_a_network_that_diverged():
    module = toy(Plain)
    module.conv1.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(InvalidInput, match=r"filters of 'conv1\.weight' are NaN"):
        pruned("l1_filter", module)
