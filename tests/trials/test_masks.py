"""Masks, and how sparse they leave a network."""

import math

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.trials.pruning_toys import Plain, pruned, toy
from trials.networks import build_network
from trials.pruning.masks import Row, alive, apply_masks, density, full_masks, prunable_names, sparsity


def masks_of(**lists):
    return {name: torch.tensor(each, dtype=torch.bool) for name, each in lists.items()}


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)
        self.up = nn.ConvTranspose2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.cross = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
        self.embedding = nn.Embedding(6, 4)
        self.pair = nn.Bilinear(2, 3, 2)
        self.memory = nn.LSTM(3, 4, num_layers=2, proj_size=2)
        self.cell = nn.GRUCell(2, 3)
        self.tied = nn.Linear(2, 2)
        self.tied_again = nn.Linear(2, 2)
        self.tied_again.weight = self.tied.weight


def test_prunable_names():
    assert prunable_names(Mixed()) == (
        "conv.weight",
        "up.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "cross.q_proj_weight",
        "cross.k_proj_weight",
        "cross.v_proj_weight",
        "cross.out_proj.weight",
        "pair.weight",
        "memory.weight_ih_l0",
        "memory.weight_hh_l0",
        "memory.weight_hr_l0",
        "memory.weight_ih_l1",
        "memory.weight_hh_l1",
        "memory.weight_hr_l1",
        "cell.weight_ih",
        "cell.weight_hh",
        "tied.weight",
    )


def test_keep():
    network = build_network("fc", {"hidden": [4, 4]}, input_shape=(3,), num_classes=2, seed=0)
    assert prunable_names(network) == ("layers.0.weight", "layers.1.weight", "layers.2.weight")
    assert prunable_names(network, ["layers.2.weight"]) == ("layers.0.weight", "layers.1.weight")
    assert prunable_names(network, ["*.[02].*"]) == ("layers.1.weight",)
    with pytest.raises(InvalidInput, match=r"called 'layer.0.weight' \(did you mean 'layers.0.weight'\?\)"):
        prunable_names(network, ["layer.0.weight"])
    with pytest.raises(InvalidInput, match="nothing to prune"):
        prunable_names(network, ["*"])
    with pytest.raises(InvalidInput, match="nothing to prune"):
        prunable_names(nn.BatchNorm1d(3))
    assert prunable_names(network, ["first"]) == ("layers.1.weight", "layers.2.weight")
    assert prunable_names(network, ["last", "layers.1.*"]) == ("layers.0.weight",)
    assert prunable_names(network, "last") == prunable_names(network, ["last"])  # no letters
    with pytest.raises(InvalidInput, match="nothing to prune"):
        prunable_names(nn.BatchNorm1d(3), ["first"])


def test_density_and_alive():
    masks = masks_of(a=[True, False], b=[True, True, True, False, False, False])
    assert (alive(masks), density(masks)) == (4, 0.5)


def test_apply_masks():
    masks = masks_of(w=[True, False, True])
    tensors = {"w": torch.tensor([1.0, math.nan, -2.0]), "bias": torch.ones(2)}
    applied = apply_masks(tensors, masks)
    assert applied["w"].tolist() == [1, 0, -2]
    assert applied["bias"] is tensors["bias"]
    stacked = apply_masks({"w": torch.ones(2, 3)}, masks)["w"]
    assert stacked.tolist() == [[1, 0, 1]] * 2


def test_rows_and_both_totals():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 5))
    masks = full_masks(module, ["0.weight", "1.bias"])
    masks["0.weight"][0, 0, 0] = False
    masks["1.bias"][1] = False
    found = sparsity(masks, module)
    assert [(row.name, row.shape, row.alive, row.total, row.prunable) for row in found.tensors] == [
        ("0.weight", (2, 1, 3, 3), 15, 18, True),
        ("0.bias", (2,), 2, 2, False),
        ("1.weight", (2,), 2, 2, False),
        ("1.bias", (2,), 1, 2, False),
        ("3.weight", (5, 2), 10, 10, False),  # kept: it has no mask
        ("3.bias", (5,), 5, 5, False),
    ]
    assert found.tensors[0].density == 15 / 18
    assert found.prunable == Row(name="prunable", alive=15, total=18, prunable=True)
    assert found.network == Row(name="network", alive=35, total=39, prunable=False)
    assert found.network.density == 35 / 39


def test_the_prunable_density_is_that_of_the_cycles():
    module = toy(Plain)
    masks = pruned("global_magnitude", module)
    assert sparsity(masks, module).prunable.density == density(masks)
    filters = pruned("l1_filter", module)
    own = {name: filters[name] for name in prunable_names(module)}
    found = sparsity(filters, module)
    assert found.prunable.density == density(own) != density(filters)
    assert found.network.alive == sum(
        int(filters[name].sum()) if name in filters else parameter.numel()
        for name, parameter in module.named_parameters()
    )


def test_nothing_pruned():
    found = sparsity({}, nn.Linear(2, 2))
    assert (found.network.density, found.prunable.total, found.prunable.density) == (1.0, 0, 1.0)
    shared, masks = nn.Linear(2, 2), {"0.weight": torch.zeros(2, 2, dtype=torch.bool)}
    assert sparsity(masks, nn.Sequential(shared, shared)).network.total == 6


def test_looking_for_weights_moves_no_estimate_of_spectral_norm():
    module = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert prunable_names(module) == ("1.weight",)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
