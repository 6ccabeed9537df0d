"""Every pruner on every kind of network keeps to the contract of trials.testing."""

import itertools

import pytest
import torch

from tests.trials.pruning_toys import TOYS, image_data, network, pruned, toy
from tests.trials.thin import make_thin
from trials.pruning import PRUNERS
from trials.pruning.masks import prunable_names
from trials.testing import check_pruner

SMALL = {
    **{name: (lambda kind=kind: toy(kind), (3, 8, 8)) for name, kind in TOYS.items()},
    "fc": (lambda: network("fc", {"hidden": [20, 10]}), (3, 8, 8)),
    "resnet20": (lambda: network("resnet20"), (3, 8, 8)),
    "resnet20, conv": (lambda: network("resnet20", {"shortcut": "conv"}), (3, 8, 8)),
    "vit": (lambda: network("vit", {"layers": 2, "width": 24, "mlp": 32}), (3, 8, 8)),
    "alexnet": (lambda: network("alexnet", shape=(3, 32, 32)), (3, 32, 32)),
    "densenet40": (lambda: network("densenet40"), (3, 8, 8)),
}
# As thin as thin.py makes them: all their operators, and most of their depth.
THIN = {
    "mobilenetv2": (lambda: network("mobilenetv2"), (3, 8, 8)),
    "resnet50": (lambda: network("resnet50", shape=(3, 32, 32)), (3, 32, 32)),
    "vgg19": (lambda: network("vgg19", shape=(3, 32, 32)), (3, 32, 32)),
}
SCOPES = {name: "global" for name in PRUNERS} | {
    "lap": "layer",
    "layer_magnitude": "layer",
    "l1_filter": None,
}
WITHOUT_FILTERS = {"fc", "vit", "Attention"}


@pytest.mark.parametrize("network_name", SMALL | THIN)
def test_every_pruner_keeps_to_the_contract(network_name, monkeypatch):
    """Those that look at weights alone on the toys, which have every kind of layer; the others everywhere."""
    if network_name in THIN:
        make_thin(monkeypatch)
    make, shape = (SMALL | THIN)[network_name]
    cycles = 3 if network_name in TOYS else 1
    for pruner, scope in SCOPES.items():
        if pruner == "l1_filter" and network_name in WITHOUT_FILTERS:
            continue
        if pruner not in ("lap", "l1_filter") and network_name not in TOYS:
            continue
        arguments = {"batches": 2} if pruner == "global_gradient" else {}
        check_pruner(pruner, arguments, scope=scope, module=make(), data=image_data(shape), cycles=cycles)


def test_pruners_choose_differently():
    """Each of them is what it is called, and no other by mistake."""
    names = prunable_names(toy(TOYS["Plain"]))
    masks = {each: pruned(each, toy(TOYS["Plain"])) for each in PRUNERS}
    flat = [torch.cat([own[name].view(-1) for name in names]) for own in masks.values()]
    for one, other in itertools.combinations(flat, 2):
        assert not torch.equal(one, other)
