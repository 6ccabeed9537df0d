import math

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from trials.networks import build_network
from trials.pruning.masks import alive, apply_masks, density, prunable_names


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
    with pytest.raises(InvalidInput, match="nothing to keep is called 'first'"):
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
