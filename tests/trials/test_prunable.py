"""What pruning doesn't know by its layers: named, pruned if asked to, kept if asked to."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from silo.errors import InvalidInput
from tests.trials.pruning_toys import pruned
from tests.trials.toys import toy_data
from trials.datasets import Dataset
from trials.pruning import PRUNERS
from trials.pruning.masks import full_masks, never_pruned, prunable_names


class Own(nn.Module):
    """A linear layer by hand, with parameters of any names and shapes."""

    def __init__(self, name="weight", shape=(4, 6)):
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.randn(shape)))
        self.bias = nn.Parameter(torch.zeros(4))
        self.name = name

    def forward(self, x):
        return x @ getattr(self, self.name).reshape(4, 6).T + self.bias


class Old(nn.Module):
    """weight_norm as it was before parametrizations: two parameters in place of the weight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        del self.layer.weight
        self.layer.weight_g = nn.Parameter(torch.ones(4, 1))
        self.layer.weight_v = nn.Parameter(torch.randn(4, 6))


class Scaled(nn.BatchNorm1d):
    """An own class of one of torch's: its scales are none of the weights."""


DENSE = {
    "weight_norm": (
        lambda: parametrizations.weight_norm(nn.Linear(6, 4)),
        "parametrizations.weight.original1",
    ),
    "old weight_norm": (Old, "layer.weight_v"),
    "spectral_norm": (
        lambda: parametrizations.spectral_norm(nn.Conv1d(6, 4, 1)),
        "parametrizations.weight.original",
    ),
    "old spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(6, 4)), "weight_orig"),
    "prune": (lambda: prune.random_unstructured(nn.Linear(6, 4), "weight", amount=2), "weight_orig"),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(6, 4)), "parametrizations.weight.original"),
    "own": (Own, "weight"),
    "own, flat": (lambda: Own("table", (24,)), "table"),
    "own, in a list": (lambda: nn.ParameterList([nn.Parameter(torch.randn(4, 6))]), "0"),
    "embedding": (lambda: nn.Embedding(6, 4), "weight"),
    "bag": (lambda: nn.EmbeddingBag(6, 4), "weight"),
}


@pytest.mark.parametrize("kind", DENSE)
def test_what_no_pruning_touches_is_named_and_can_be_pruned_or_kept(kind):
    make, name = DENSE[kind]
    module = nn.ModuleDict({"pruned": nn.Linear(2, 2), "own": make(), "norm": Scaled(6)})
    name, names = f"own.{name}", prunable_names(module)
    assert names == ("pruned.weight",)
    found = never_pruned(module, names)
    total = sum(parameter.numel() for parameter in module.parameters())
    assert [each for each, _ in found.tensors] == [name]
    assert found.share == 24 / total
    assert (
        f"{2400 / total:.3g} % of the network" in found.sentence() and f"also: ['{name}']" in found.sentence()
    )
    for also in (name, [name], ["own.*"], "*"):
        assert prunable_names(module, also=also) == ("pruned.weight", name)
        assert never_pruned(module, prunable_names(module, also=also)) is None
    assert never_pruned(module, prunable_names(module, keep=[name]), ["own.*"]) is None


def test_a_share_that_is_next_to_nothing_is_not_named():
    module = nn.ModuleDict({"layer": nn.Linear(30, 30, bias=False), "own": nn.Embedding(4, 10)})
    assert never_pruned(module, prunable_names(module)) is None
    module["own"] = nn.Embedding(5, 10)
    assert "5.26 % of the network's parameters" in never_pruned(module, prunable_names(module)).sentence()


def test_the_largest_come_first_and_few_are_named():
    module = nn.ModuleDict({str(size): nn.Embedding(size, 3) for size in range(2, 9)})
    module["layer"] = nn.Linear(1, 1)
    text = never_pruned(module, prunable_names(module)).sentence()
    assert ": 8.weight (8×3), 7.weight (7×3), 6.weight (6×3), 5.weight (5×3) and 3 more. " in text


def test_patterns_of_weights_to_prune_too():
    module = nn.ModuleDict({"own": Own(), "norm": nn.BatchNorm1d(4), "layer": nn.Linear(4, 4)})
    assert prunable_names(module, also=["own.*", "lay*"]) == ("own.weight", "layer.weight")
    assert prunable_names(module, also=["own.bias"]) == ("own.bias", "layer.weight")  # by its own name only
    assert prunable_names(module, keep="last", also=["own.*"] * 2) == ("own.weight",)
    for keep, also, message in (
        ((), ["own.wieght"], r"called 'own.wieght' \(did you mean 'own.weight'\?\): .* are 'own.weight'"),
        ((), ["norm.*"], r"no weight is called 'norm\.\*'"),
        ((), ["bias"], "no weight is called 'bias'"),
        (["own.*"], ["own.weight"], r"all that 'own.weight' names is kept by 'own\.\*'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            prunable_names(module, keep, also)
    with pytest.raises(InvalidInput, match=r"no weight is called 'own\.\*': without it all are pruned$"):
        prunable_names(nn.Linear(2, 2), also=["own.*"])


def test_a_network_of_such_weights_alone():
    with pytest.raises(
        InvalidInput, match=r"nothing to prune: no weights of .* pruning.also: it has 'weight'$"
    ):
        prunable_names(Own())
    assert prunable_names(Own(), also="weight") == ("weight",)


@pytest.mark.parametrize("name", sorted(set(PRUNERS) - {"lap", "l1_filter"}))
def test_every_pruner_that_follows_no_layers_prunes_them(name):
    module = nn.Sequential(Own(), nn.Linear(4, 4))
    data = toy_data(shape=(6,), classes=4, kind=Dataset)
    masks = full_masks(module, prunable_names(module, also="0.*"))
    left = pruned(name, module, masks=masks, data=data, rate=0.5, also="0.*")
    assert list(left) == ["0.weight", "1.weight"]
    assert sum(int(mask.sum()) for mask in left.values()) == 20
    assert not left["0.weight"].all()


@pytest.mark.parametrize("name", ["lap", "l1_filter"])
def test_those_that_follow_layers_say_what_they_cannot(name):
    module = nn.Sequential(Own(), nn.Linear(4, 4))
    data = toy_data(shape=(6,), classes=4, kind=Dataset)
    with pytest.raises(InvalidInput, match="matmul"):
        pruned(name, module, data=data, also="0.*")
