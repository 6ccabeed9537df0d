"""Random networks of the user's own end a training where a plain PyTorch loop does, alone and in packs.

``ORACLE_TESTS_THOROUGH=1`` tries a hundred of them; each is known by its number.
"""

import pytest
import torch

from tests.effort import THOROUGH, numbers
from tests.laws.plain_loop import assert_trained_as_plainly, recipe
from tests.laws.random_modules import PARTS, random_module
from tests.trials.toys import toy_data
from trials.datasets import Dataset
from trials.engine import why_not_packed
from trials.objectives import CrossEntropy
from trials.process import global_draws_kept, seed_global
from trials.self_comparison import compare_with_itself

COUNT = 100 if THOROUGH else 6
DATA = toy_data(shape=(16,), train=40, kind=Dataset)


def build(seed, replicate=0):
    with global_draws_kept():
        seed_global(1000 * seed + replicate)
        return random_module(seed)


@pytest.mark.parametrize("seed", numbers(COUNT))
def test_a_random_network_is_trained_as_in_a_plain_loop(seed):
    warnings = compare_with_itself(lambda replicate: build(seed, replicate), recipe(), DATA)
    assert all("doesn't depend on" in line for line in warnings)
    assert_trained_as_plainly(lambda: build(seed), DATA)
    inputs, labels = DATA.train.first(8)
    if why_not_packed(build(seed), CrossEntropy(), DATA.normalise(inputs), labels) is None:
        assert_trained_as_plainly(lambda: build(seed), DATA, pack_size=2)


def test_the_hundred_hold_every_part_and_both_ways():
    found = [build(seed) for seed in range(100)]
    assert {type(part) for network in found for part in network.parts} == set(PARTS)
    assert {torch.float64, torch.complex64} <= {
        each.dtype for network in found for each in network.parameters()
    }
