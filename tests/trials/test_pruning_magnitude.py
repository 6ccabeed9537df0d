import torch
from scipy import stats
from torch import nn

from tests.trials.pruning_toys import linears, pruned
from trials.pruning.masks import (
    full_masks,
)


def test_global_magnitude_ranks_over_the_whole_net_and_layer_magnitude_in_each_tensor():
    module = linears([[1, 2], [3, 4]], [[10, 20], [30, 40]])
    over_all, in_each = (pruned(name, module, rate=0.5) for name in ("global_magnitude", "layer_magnitude"))
    assert [mask.tolist() for mask in over_all.values()] == [[[False] * 2] * 2, [[True] * 2] * 2]
    assert [mask.tolist() for mask in in_each.values()] == [[[False] * 2, [True] * 2]] * 2


def prune_randomly(module, seed, masks=None):
    return pruned("random", module, masks=masks, rate=0.5, seed=seed)


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
