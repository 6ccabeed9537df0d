"""Every pruner on every kind of network: how many go, that none comes back, and what the masked network
computes."""

import copy

import pytest
import torch

from tests.trials.pruning_toys import TOYS, image_data, network, pruned, toy
from trials.pruning import PRUNERS
from trials.pruning.masks import alive, apply_masks, full_masks, prunable_names

SMALL = {
    **{name: (lambda kind=kind: toy(kind), (3, 8, 8)) for name, kind in TOYS.items()},
    "fc": (lambda: network("fc", {"hidden": [20, 10]}), (3, 8, 8)),
    "resnet20": (lambda: network("resnet20"), (3, 8, 8)),
    "resnet20, conv": (lambda: network("resnet20", {"shortcut": "conv"}), (3, 8, 8)),
    "vit": (lambda: network("vit", {"layers": 2, "width": 24, "mlp": 32}), (3, 8, 8)),
    "alexnet": (lambda: network("alexnet", shape=(3, 32, 32)), (3, 32, 32)),
    "densenet40": (lambda: network("densenet40"), (3, 8, 8)),
    "mobilenetv2": (lambda: network("mobilenetv2"), (3, 8, 8)),
}
LARGE = {
    "resnet50": (lambda: network("resnet50", shape=(3, 32, 32)), (3, 32, 32)),
    "vgg19": (lambda: network("vgg19", shape=(3, 32, 32)), (3, 32, 32)),
}
LAYERWISE = {"lap", "layer_magnitude"}
WITHOUT_FILTERS = {"fc", "vit", "Attention"}
CASES = [
    (pruner, name, make, shape, cycles)
    for networks, cycles in ((SMALL, 5), (LARGE, 2))
    for name, (make, shape) in networks.items()
    for pruner in PRUNERS
    if not (pruner == "l1_filter" and name in WITHOUT_FILTERS)
    if not (pruner == "lamp" and name in LARGE)  # it sorts 20 million weights, for seconds
]


def expected_left(pruner, masks):
    """How many weights must be left of each tensor, or of all, after a pruning at 20 %."""
    counts = [int(mask.count_nonzero()) for mask in masks.values()]
    if pruner in LAYERWISE:
        return [count - round(0.2 * count) for count in counts]
    return sum(counts) - round(0.2 * sum(counts))


@pytest.mark.parametrize(
    ("pruner", "name", "make", "shape", "cycles"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES]
)
def test_counts_nesting_and_outputs(pruner, name, make, shape, cycles):
    module, data = make(), image_data(shape)
    names = prunable_names(module)
    masks = full_masks(module, names)
    arguments = {"batches": 2} if pruner == "global_gradient" else {}
    before = {each: tensor.clone() for each, tensor in module.state_dict().items()}
    for cycle in range(cycles):
        old = masks
        masks = pruned(pruner, module, arguments, masks=old, data=data, seed=cycle)
        own, was = ({each: given[each] for each in names} for given in (masks, old))
        for each, mask in old.items():
            assert not (masks[each] & ~mask).any()
        left = [int(mask.count_nonzero()) for mask in own.values()]
        if pruner == "l1_filter":
            assert alive(own) < alive(was) or cycle > 1  # of few filters 20 % are none
        else:
            assert list(masks) == list(names)
            assert (left if pruner in LAYERWISE else sum(left)) == expected_left(pruner, was)
        masks = {each: mask.clone() for each, mask in reversed(masks.items())}
    for each, tensor in module.state_dict().items():
        mask = old.get(each, torch.tensor(True))
        assert torch.equal(tensor, before[each].masked_fill(~mask, 0))
    inputs = data.normalise(data.train.inputs[:3])
    by_hand = copy.deepcopy(module)
    for each, mask in masks.items():
        by_hand.get_parameter(each).data.view(-1)[(~mask).view(-1).nonzero()] = 0
    with torch.no_grad():
        outputs = torch.func.functional_call(module, apply_masks(dict(module.state_dict()), masks), (inputs,))
        assert torch.equal(outputs, by_hand(inputs)) and outputs.isfinite().all()


@pytest.mark.parametrize("pruner", PRUNERS)
def test_pruners_choose_differently(pruner):
    """Each of them is what it is called, and no other by mistake."""
    names = prunable_names(toy(TOYS["Plain"]))
    masks = {each: pruned(each, toy(TOYS["Plain"])) for each in PRUNERS}
    flat = {each: torch.cat([own[name].view(-1) for name in names]) for each, own in masks.items()}
    assert not any(torch.equal(flat[pruner], mask) for each, mask in flat.items() if each != pruner)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_no_pruner_touches_the_global_random_state(pruner):
    before = torch.get_rng_state()
    one, again = (pruned(pruner, toy(TOYS["Residual"]), seed=7) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)
