import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from silo.errors import InvalidInput
from trials.pruning import PRUNERS, prune
from trials.pruning.masks import alive, full_masks, prunable_names, remove_lowest


def masks_of(**lists):
    return {name: torch.tensor(each, dtype=torch.bool) for name, each in lists.items()}


def scores_of(**lists):
    return {name: torch.tensor(each, dtype=torch.float64) for name, each in lists.items()}


def slow_reference(scores, masks, rate):
    """The definition, one weight at a time."""
    left = [
        (scores[name].flatten()[index].item(), position, name, index)
        for position, name in enumerate(masks)
        for index in range(masks[name].numel())
        if masks[name].flatten()[index]
    ]
    going = sorted(left, key=lambda each: (each[0], each[1], each[3]))[: round(rate * len(left))]
    pruned = {name: mask.clone() for name, mask in masks.items()}
    for _, _, name, index in going:
        pruned[name].view(-1)[index] = False
    return pruned


@st.composite
def scored_masks(draw):
    scores, masks = {}, {}
    for name in ("b", "a", "c"):
        shape = draw(st.sampled_from([(5,), (2, 3), (1, 2, 2), (0,)]))
        size = math.prod(shape)
        values = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, math.inf]), min_size=size, max_size=size))
        left = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        scores[name] = torch.tensor(values, dtype=torch.float64).view(shape)
        masks[name] = torch.tensor(left, dtype=torch.bool).view(shape)
    return scores, masks


@given(scored_masks(), st.floats(0, 1, exclude_max=True))
def test_remove_lowest_is_the_slow_definition(scored, rate):
    scores, masks = scored
    if round(rate * alive(masks)) == alive(masks):
        with pytest.raises(InvalidInput, match="leaves none"):
            remove_lowest(scores, masks, rate)
        return
    pruned = remove_lowest(scores, masks, rate)
    expected = slow_reference(scores, masks, rate)
    assert list(pruned) == list(masks)
    assert all(torch.equal(pruned[name], expected[name]) for name in masks)


@given(st.integers(2, 400), st.floats(0.01, 0.6), st.integers(0, 2**32))
def test_masks_are_nested_and_exactly_the_asked_number_goes(size, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = {"w": torch.ones(size, dtype=torch.bool)}
    for _ in range(5):
        left = alive(masks)
        scores = {"w": torch.randint(10, (size,), generator=generator).float()}
        if round(rate * left) == left:
            break
        pruned = remove_lowest(scores, masks, rate)
        assert alive(pruned) == left - round(rate * left)
        assert not bool((pruned["w"] & ~masks["w"]).any())
        masks = pruned


@pytest.mark.parametrize("name", PRUNERS)
def test_golden_counts(name):
    module = nn.Linear(100, 10)
    weights = {"weight": module.weight.detach()}
    masks = full_masks(module, ["weight"])
    seen = []
    for cycle in range(5):
        masks = prune(name, {}, module=module, weights=weights, masks=masks, rate=0.2, seed=cycle)
        seen.append(alive(masks))
    assert seen == [800, 640, 512, 410, 328]


def test_halves_round_to_the_even_number():
    for left, gone in ((10, 2), (14, 4)):
        masks = {"w": torch.ones(left, dtype=torch.bool)}
        pruned = remove_lowest({"w": torch.arange(float(left))}, masks, 0.25)
        assert left - alive(pruned) == gone


def test_ties_go_by_the_order_of_the_masks_then_by_position():
    masks = masks_of(second=[[True, True], [True, True]], first=[True, True])
    scores = scores_of(first=[1, 0], second=[[1, 1], [1, 1]])
    pruned = remove_lowest(scores, masks, 0.5)
    assert pruned["second"].tolist() == [[False, False], [True, True]]
    assert pruned["first"].tolist() == [True, False]


def test_dead_weights_are_not_ranked():
    masks = masks_of(w=[False] * 8 + [True] * 2)
    pruned = remove_lowest(scores_of(w=[0] * 8 + [5, 4]), masks, 0.5)
    assert pruned["w"].tolist() == [False] * 8 + [True, False]
    assert masks["w"].tolist() == [False] * 8 + [True] * 2


def test_nothing_goes_when_the_number_rounds_to_zero():
    masks = masks_of(w=[True, True, False])
    assert torch.equal(remove_lowest(scores_of(w=[1, 2, 3]), masks, 0.2)["w"], masks["w"])


def test_the_last_weight_stays():
    masks = masks_of(w=[True, False])
    with pytest.raises(InvalidInput, match="pruning 1 of 1 weights left leaves none"):
        remove_lowest(scores_of(w=[1, 2]), masks, 0.9)
    with pytest.raises(InvalidInput, match="0 of 0"):
        remove_lowest(scores_of(w=[1, 2]), masks_of(w=[False, False]), 0.2)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2, math.nan])
def test_rate_outside(rate):
    with pytest.raises(InvalidInput, match="rate must be at least 0 and below 1"):
        remove_lowest(scores_of(w=[1, 2]), masks_of(w=[True, True]), rate)


def test_scores_that_cannot_be_ranked():
    masks = masks_of(a=[True, True], b=[True, False, True])
    good = scores_of(a=[1, 2], b=[1, 2, 3])
    with pytest.raises(InvalidInput, match="2 scores of 'b' are NaN"):
        remove_lowest({**good, "b": torch.tensor([math.nan, 1, math.nan])}, masks, 0.2)
    remove_lowest({**good, "b": torch.tensor([1, math.nan, 2])}, masks, 0.2)
    with pytest.raises(InvalidInput, match="no scores for 'b'"):
        remove_lowest(scores_of(a=[1, 2]), masks, 0.2)
    with pytest.raises(InvalidInput, match=r"'b' have the shape \(2,\): it must be the mask's, \(3,\)"):
        remove_lowest({**good, "b": torch.ones(2)}, masks, 0.2)


def test_global_magnitude_ranks_over_the_whole_net():
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    weights = scores_of(**{"0.weight": [[-4, 3], [2, -1]], "1.weight": [[0.5, 9], [9, -0.6]]})
    masks = full_masks(module, prunable_names(module))
    pruned = prune("global_magnitude", {}, module=module, weights=weights, masks=masks, rate=0.5, seed=0)
    assert pruned["0.weight"].tolist() == [[True, True], [False, False]]
    assert pruned["1.weight"].tolist() == [[False, True], [True, False]]


def test_the_network_orders_the_masks_not_the_file_they_were_kept_in():
    module = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    weights = {name: torch.ones_like(each) for name, each in module.named_parameters()}
    masks = dict(reversed(full_masks(module, prunable_names(module)).items()))
    pruned = prune("global_magnitude", {}, module=module, weights=weights, masks=masks, rate=0.5, seed=0)
    assert list(pruned) == ["0.weight", "1.weight"]
    assert (alive({"": pruned["0.weight"]}), alive({"": pruned["1.weight"]})) == (0, 2)


def prune_randomly(module, seed, masks=None):
    weights = dict(module.named_parameters())
    masks = masks or full_masks(module, prunable_names(module))
    return prune("random", {}, module=module, weights=weights, masks=masks, rate=0.5, seed=seed)


def test_random_is_seeded_and_leaves_the_global_state_alone():
    module = nn.Linear(20, 20)
    before = torch.get_rng_state()
    first, again, other = (prune_randomly(module, seed)["weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_is_uniform_over_the_weights_left():
    module = nn.Linear(4, 5, bias=False)
    masks = full_masks(module, ["weight"])
    masks["weight"][0, :] = False
    stayed = sum(prune_randomly(module, seed, masks)["weight"].int() for seed in range(1000))
    assert stayed[0].count_nonzero() == 0
    # Each of the 16 stays with probability 1/2, and 8 always stay: corrected for that, the sum is chi-square.
    statistic = ((stayed[1:] - 500) ** 2).sum().item() / 250 * 15 / 16
    assert 1e-3 < stats.chi2.sf(statistic, 15) < 1 - 1e-3


OWN = """
def by_index(weights, masks, *, generator, sign=1):
    return {name: sign * weights[name].abs().argsort().argsort() * 1.0 for name in masks}

def careless(weights, masks, *, generator):
    return {}
"""


def test_own_pruner(tmp_path, monkeypatch):
    (tmp_path / "own_pruner.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    module = nn.Linear(4, 1)
    common = {
        "module": module,
        "weights": scores_of(weight=[[4, 3, 2, 1]]),
        "masks": full_masks(module, ["weight"]),
        "rate": 0.5,
        "seed": 0,
    }
    pruned = prune("own_pruner:by_index", {"sign": -1}, **common)
    assert pruned["weight"].tolist() == [[False, False, True, True]]
    with pytest.raises(InvalidInput, match="no scores for 'weight'"):
        prune("own_pruner:careless", {}, **common)
    with pytest.raises(InvalidInput, match=r"takes no argument 'sing' \(did you mean 'sign'\?\)"):
        prune("own_pruner:by_index", {"sing": 1}, **common)


def test_masks_that_do_not_fit():
    module = nn.Linear(2, 2)
    weights = dict(module.named_parameters())
    ones = torch.ones(2, 2, dtype=torch.bool)
    for masks, message in (
        ({"weigth": ones}, r"no parameter of the network \(did you mean 'weight'\?\)"),
        ({"weight": ones[0]}, r"'weight' must be boolean.*\(2,\)"),
        ({"weight": ones.float()}, "must be boolean"),
    ):
        with pytest.raises(InvalidInput, match=message):
            prune("random", {}, module=module, weights=weights, masks=masks, rate=0.2, seed=0)
    with pytest.raises(InvalidInput, match="'weight' has no weights"):
        prune("random", {}, module=module, weights={}, masks={"weight": ones}, rate=0.2, seed=0)
    with pytest.raises(InvalidInput, match=r"unknown pruner 'magnitude'.*did you mean 'global_magnitude'"):
        prune("magnitude", {}, module=module, weights=weights, masks={"weight": ones}, rate=0.2, seed=0)


def test_twenty_million_weights():
    generator = torch.Generator().manual_seed(0)
    scores = {"w": torch.rand(20_000_000, generator=generator)}
    masks = {"w": torch.ones(20_000_000, dtype=torch.bool)}
    pruned = remove_lowest(scores, masks, 0.2)
    assert alive(pruned) == 16_000_000
    assert scores["w"][pruned["w"]].min() >= scores["w"][~pruned["w"]].max()
