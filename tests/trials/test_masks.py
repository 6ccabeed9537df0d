import math

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from trials.engine import flat_mask
from trials.networks import build_network
from trials.optimizers import SGD
from trials.pruning.masks import alive, apply_masks, density, prunable_names
from trials.vision import load_torchvision


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


def test_vision_transformer_projections_are_prunable():
    network = load_torchvision().models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    )
    names = prunable_names(network)
    assert [name for name in names if "in_proj" in name] == [
        f"encoder.layers.encoder_layer_{layer}.self_attention.in_proj_weight" for layer in range(2)
    ]
    assert not any("ln" in name or "bias" in name or "pos_embedding" in name for name in names)


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


def test_forward_check():
    """OpenLTH's: 45 dense and 20 masked; one step towards 40 makes 44 of the one and 22 of the other."""
    layer = nn.Linear(10, 1, bias=False)
    weights = {"weight": torch.arange(10.0).view(1, 10)}
    masks = masks_of(weight=[[True, False] * 5])
    ones = torch.ones(1, 10)

    def after_a_step(start, mask):
        row = start["weight"].clone()
        (gradient,) = torch.autograd.grad(
            (torch.func.functional_call(layer, {"weight": row.requires_grad_()}, ones) - 40).square().sum(),
            row,
        )
        row = row.detach()
        SGD(momentum=0.9, weight_decay=0.0).step(row, gradient, mask, torch.tensor([0.01]))
        return row, torch.func.functional_call(layer, {"weight": row}, ones).item()

    masked = apply_masks(weights, masks)
    assert torch.func.functional_call(layer, weights, ones).item() == 45
    assert torch.func.functional_call(layer, masked, ones).item() == 20
    assert after_a_step(weights, torch.ones(10))[1] == pytest.approx(44)
    row, output = after_a_step(masked, flat_mask(layer, masks, torch.device("cpu")))
    assert output == pytest.approx(22) and not row[~masks["weight"]].any()
