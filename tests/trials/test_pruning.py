import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silo.errors import InvalidInput
from trials.pruning.masks import (
    alive,
    remove_lowest,
    remove_lowest_of_each,
)


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


@given(scored_masks(), st.floats(0, 1, exclude_max=True))
def test_remove_lowest_of_each_is_the_slow_definition_of_each_tensor(scored, rate):
    scores, masks = scored
    pruned = remove_lowest_of_each(scores, masks, rate)
    assert list(pruned) == list(masks)
    for name, mask in masks.items():
        left = int(mask.sum())
        expected = mask  # of an empty tensor, and of one whose last weight would go
        if 0 < round(rate * left) < left:
            expected = slow_reference(scores, {name: mask}, rate)[name]
        elif left > 1 and round(rate * left) == left:
            expected = slow_reference(scores, {name: mask}, (left - 1) / left)[name]
        assert torch.equal(pruned[name], expected)


def test_one_weight_stays_in_each_tensor():
    masks = masks_of(a=[True], b=[True] * 3, c=[False])
    scores = scores_of(a=[1], b=[3, 5, 4], c=[1])
    pruned = remove_lowest_of_each(scores, masks, 0.9)
    assert (pruned["a"].tolist(), pruned["b"].tolist(), pruned["c"].tolist()) == (
        [True],
        [False, True, False],
        [False],
    )
    with pytest.raises(InvalidInput, match="rate must be"):
        remove_lowest_of_each(scores, masks, 1.0)
    with pytest.raises(InvalidInput, match="1 scores of 'b' are NaN"):
        remove_lowest_of_each({**scores, "b": torch.tensor([1, math.nan, 2])}, masks, 0.2)


def test_twenty_million_weights():
    generator = torch.Generator().manual_seed(0)
    scores = {"w": torch.rand(20_000_000, generator=generator)}
    masks = {"w": torch.ones(20_000_000, dtype=torch.bool)}
    pruned = remove_lowest(scores, masks, 0.2)
    assert alive(pruned) == 16_000_000
    assert scores["w"][pruned["w"]].min() >= scores["w"][~pruned["w"]].max()
