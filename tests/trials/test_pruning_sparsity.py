import torch
from torch import nn

from tests.trials.pruning_toys import Plain, pruned, toy
from trials.pruning.masks import density, full_masks, prunable_names
from trials.pruning.sparsity import Row, sparsity


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
