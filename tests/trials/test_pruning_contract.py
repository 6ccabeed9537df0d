import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.trials.pruning_toys import linears, pruned, trained_network
from tests.trials.toys import toy_data
from trials.datasets import Dataset
from trials.pruning import PRUNERS, Masks, Scores
from trials.pruning.masks import (
    alive,
    full_masks,
    prunable_names,
)
from trials.testing import check_pruner


def test_golden_counts():
    data = toy_data(shape=(100,), classes=10, kind=Dataset)
    for name in sorted(set(PRUNERS) - {"l1_filter"}):
        module, seen = nn.Sequential(nn.Linear(100, 10)), []
        masks = full_masks(module, ["0.weight"])
        for cycle in range(5):
            masks = pruned(name, module, masks=masks, data=data, seed=cycle)
            seen.append(alive(masks))
        assert seen == [800, 640, 512, 410, 328], name


def draws_globally(trained):
    return Scores({name: torch.rand(mask.shape) for name, mask in trained.masks.items()})


def changes_the_network(trained):
    for weight in trained.weights.values():
        weight.mul_(0.5)
    return Scores(trained.weights)


def keeps_too_many(trained):
    masks = {name: mask.clone() for name, mask in trained.masks.items()}
    next(iter(masks.values())).view(-1)[0] = False
    return Masks(masks)


def prunes_what_is_kept(trained):
    masks = {
        name: torch.ones_like(each, dtype=torch.bool) for name, each in trained.module.named_parameters()
    }
    return Masks({**masks, **trained.masks})


def test_the_contract_finds_what_is_broken():
    for broken, scope, message in (
        (changes_the_network, "global", "changes the network"),
        (keeps_too_many, "global", "weights of .*: .* are wanted"),
        (prunes_what_is_kept, None, "which is to be kept"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_pruner(f"{__name__}:{broken.__name__}", scope=scope)
    with pytest.raises(AssertionError, match="are wanted"):
        check_pruner("layer_magnitude", scope="global")


def test_a_pruner_that_draws_by_the_global_generator_is_seeded():
    check_pruner(f"{__name__}:draws_globally", scope="global")


def test_the_network_orders_the_masks_not_the_file_they_were_kept_in():
    module = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    masks = dict(reversed(full_masks(module, prunable_names(module)).items()))
    left = pruned("global_magnitude", module, masks=masks, rate=0.5)
    assert list(left) == ["0.weight", "1.weight"]
    assert (alive({"": left["0.weight"]}), alive({"": left["1.weight"]})) == (0, 2)


def test_what_is_pruned_counts_as_zero_whatever_the_network_holds():
    module = linears([[1, 9], [3, 4]])
    masks = {"0.weight": torch.tensor([[True, False], [True, True]])}
    left = pruned("global_magnitude", module, masks=masks, rate=0.4)
    assert left["0.weight"].tolist() == [[False, False], [True, True]]
    assert module[0].weight.tolist() == [[1, 0], [3, 4]]
    assert not module.training


OWN = """
import torch
from trials.pruning import Masks, Scores, TrainedNetwork

def by_index(trained: TrainedNetwork, *, sign=1, scope="global"):
    values = {name: sign * each.abs().argsort().argsort() * 1.0 for name, each in trained.weights.items()}
    return Scores(values, scope=scope)

def careless(trained):
    return Scores({})

def old_style(trained):
    return {name: each.abs() for name, each in trained.weights.items()}

def first_columns(trained, *, forget=False, revive=False, all_of_them=False, shape=False):
    masks = {name: mask.clone() for name, mask in trained.masks.items()}
    for mask in masks.values():
        mask[:, : round(trained.rate * mask.shape[1])] = revive
        if all_of_them:
            mask[:] = False
    if forget:
        masks.popitem()
    masks["bias"] = torch.ones(2 if shape else 1, dtype=torch.bool)
    return Masks({**masks, **trained.extra_masks})
"""


@pytest.fixture
def own(own_module):
    own_module("own_pruner", OWN)

    def prune_own(name, masks=None, **arguments):
        module = nn.Linear(4, 1)
        module.weight.data = torch.tensor([[4.0, 3, 2, 1]])
        return pruned(f"own_pruner:{name}", module, arguments, masks=masks, rate=0.5)

    return prune_own


def test_own_scores(own):
    assert own("by_index", sign=-1)["weight"].tolist() == [[False, False, True, True]]
    assert own("by_index", scope="layer")["weight"].tolist() == [[True, True, False, False]]
    with pytest.raises(InvalidInput, match="no scores for 'weight'"):
        own("careless")
    with pytest.raises(InvalidInput, match=r"takes no argument 'sing' \(did you mean 'sign'\?\)"):
        own("by_index", sing=1)
    with pytest.raises(InvalidInput, match="'global' or 'layer', not 'tensor'"):
        own("by_index", scope="tensor")
    with pytest.raises(InvalidInput, match=r"must give trials\.pruning\.Scores or Masks, it gave dict"):
        own("old_style")


def test_own_masks(own):
    masks = own("first_columns")
    assert masks["weight"].tolist() == [[False, False, True, True]]
    assert list(masks) == ["weight", "bias"]
    old = {"bias": torch.tensor([True]), "weight": torch.tensor([[False, True, True, True]])}
    assert list(own("first_columns", masks=old)) == ["weight", "bias"]
    with pytest.raises(InvalidInput, match="gave no mask for 'weight'"):
        own("first_columns", forget=True)
    with pytest.raises(InvalidInput, match="gives weights of 'weight' back"):
        own("first_columns", masks=old, revive=True)
    with pytest.raises(InvalidInput, match="leaves no weight"):
        own("first_columns", all_of_them=True)
    with pytest.raises(InvalidInput, match="mask 'bias' must be boolean"):
        own("first_columns", shape=True)


def test_masks_of_no_weights_are_kept_and_not_ranked():
    module = nn.Linear(4, 4)
    module.weight.data = torch.arange(1.0, 17).view(4, 4)
    masks = full_masks(module, ["weight", "bias"])
    masks["bias"][1] = False
    left = pruned("global_magnitude", module, masks=masks, rate=0.25)
    assert left["weight"].tolist() == [[False] * 4, *[[True] * 4] * 3]
    assert left["bias"].tolist() == [True, False, True, True]
    assert module.bias[1] == 0 and module.bias[0] != 0


def test_masks_that_do_not_fit():
    module = nn.Linear(2, 2)
    ones = torch.ones(2, 2, dtype=torch.bool)
    for masks, message in (
        ({"weigth": ones}, r"no parameter of the network \(did you mean 'weight'\?\)"),
        ({"weight": ones[0]}, r"'weight' must be boolean.*\(2,\)"),
        ({"weight": ones.float()}, "must be boolean"),
    ):
        with pytest.raises(InvalidInput, match=message):
            pruned("random", module, masks=masks)
    with pytest.raises(InvalidInput, match=r"unknown pruner 'global_magnitud'.*did you mean 'global_mag"):
        pruned("global_magnitud", module, masks={"weight": ones})


def test_batches_are_full_fixed_normalised_and_at_most_one_pass():
    data = toy_data(train=50, kind=Dataset)
    trained = trained_network(nn.Linear(6, 4), data=data, batch_size=8, seed=3)
    seen = list(trained.batches(100))
    assert [len(labels) for _, labels in seen] == [8] * 6
    rows = {tuple(row) for row in data.normalise(data.train.inputs).tolist()}
    drawn = [tuple(row) for inputs, _ in seen for row in inputs.tolist()]
    assert len(set(drawn)) == 48 and set(drawn) <= rows
    again = list(trained.batches(2))
    assert len(again) == 2 and torch.equal(again[1][0], seen[1][0]) and torch.equal(again[1][1], seen[1][1])
    other = trained_network(nn.Linear(6, 4), data=data, batch_size=8, seed=4)
    assert not torch.equal(next(other.batches(1))[0], seen[0][0])
    assert [len(labels) for _, labels in trained.batches(3, 20)] == [20, 20]
    for count, size, message in (
        (0, None, "number of batches must be"),
        (1, 0, "number of examples per batch must be"),
        (1.5, None, "must be whole"),
        (1, 51, r"larger than the training split \(50 examples\)"),
    ):
        with pytest.raises(InvalidInput, match=message):
            list(trained.batches(count, size))


def test_labels_go_with_their_inputs():
    data = toy_data(train=50, kind=Dataset)
    label_of = {
        tuple(row): int(label)
        for row, label in zip(data.normalise(data.train.inputs).tolist(), data.train.labels, strict=True)
    }
    for inputs, labels in trained_network(nn.Linear(6, 4), data=data).batches(5):
        assert [label_of[tuple(row)] for row in inputs.tolist()] == labels.tolist()
