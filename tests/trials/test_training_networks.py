"""Every network with every optimizer: what is pruned stays exactly zero in training, and the rest moves."""

import functools

import pytest
import torch

from tests.trials.pruning_toys import image_data, pruned
from tests.trials.toys import toy_network, toy_recipe
from trials.engine import named_tensors
from trials.networks import NETWORKS
from trials.optimizers import OPTIMIZERS
from trials.recipe import Component
from trials.training import train_pack

# Name, arguments, side of an image, examples to train on, candidates trained together.
CASES = {
    "resnet20": ("resnet20", {}, 8, 24, 2),
    "resnet20, conv": ("resnet20", {"shortcut": "conv"}, 8, 24, 2),
    "densenet40": ("densenet40", {}, 8, 24, 2),
    "mobilenetv2": ("mobilenetv2", {}, 8, 24, 2),
    "alexnet": ("alexnet", {}, 32, 24, 2),
    "vgg19": ("vgg19", {}, 32, 16, 1),
    "resnet50": ("resnet50", {}, 32, 16, 1),
    "vit": ("vit", {"layers": 2, "width": 24, "mlp": 32}, 8, 24, 2),
    "vit_b_16": ("vit_b_16", {}, 16, 16, 1),
    "fc": ("fc", {"hidden": [20, 10]}, 8, 24, 2),
}
assert {case[0] for case in CASES.values()} == NETWORKS.keys()
ARGUMENTS = {"rmsprop": {"momentum": 0.9}}  # the others remember a direction by default
BATCH = 8


@functools.lru_cache(maxsize=1)  # one at a time, a small one last: the largest has 86 million weights
def prepared(case):
    """A network, its initial state and the masks of its first pruning."""
    name, arguments, side, train, _ = CASES[case]
    shape = (3, side, side)
    module = toy_network(name, arguments, shape=shape)
    data = image_data(shape, train=train)
    start = {each: tensor.clone() for each, tensor in named_tensors(module).items()}
    # Not global_magnitude, to which a head that starts small (DenseNet) or at 0 (ViT) is all worth nothing.
    return module, start, pruned("layer_magnitude", module, data=data, rate=0.4), data


def all_zero(values, where):
    """Whether each is +0 or -0, by its bits: no denormal number passes, and no NaN."""
    return not (values.view(torch.int32) & 0x7FFFFFFF).masked_fill_(~where, 0).any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("case", CASES)
def test_pruned_weights_stay_zero_and_the_others_move(case, optimizer):
    module, start, masks, data = prepared(case)
    pack = CASES[case][-1]
    copies = train_pack(
        module=module,
        start=start,
        masks=masks,
        data=data,
        recipe=toy_recipe(
            optimizer=Component(name=optimizer, arguments=ARGUMENTS.get(optimizer, {})),
            length=1,
            batch_size=BATCH,
            pack_size=pack,
        ),
        cycle=1,
        replicate=0,
        max_lrs=[1e-3, 2e-3][:pack],
    )
    assert len(copies) == pack
    for copy in copies:
        assert not copy.diverged
        assert copy.best_step == len(data.train) // BATCH  # so these are the weights of the last step
        assert all(tensor.isfinite().all() for tensor in copy.state.values())
        moved = kept = 0
        for name, mask in masks.items():
            assert all_zero(copy.state[name], ~mask), name
            changed = int(((copy.state[name] != start[name]) & mask).count_nonzero())
            assert changed, name
            moved, kept = moved + changed, kept + int(mask.count_nonzero())
        assert moved > 0.5 * kept  # not all: some read padding alone, or feed a unit that is off
