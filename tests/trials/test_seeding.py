import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.process import derive_seed, generator


@pytest.mark.parametrize(
    ("path", "seed"),
    [
        ((0,), 3456079177858693020),
        ((0, "split"), 3769940940748469125),
        ((1, 0, 3, "order"), 5624299102092796819),
        ((2**40, 7, "initial weights"), 1945198019219164824),
    ],
)
def test_the_numbers_never_change(path, seed):
    assert derive_seed(*path) == seed


def test_other_paths_give_other_seeds():
    uses = ("order", "augment", "forward", "prune", "initial weights")
    paths = [
        *itertools.product(range(3), range(12), range(12), uses),
        (0,),
        (0, 1),
        (0, 1, 2),
        (1, 1, "order"),
    ]
    paths += [(0, 1, 11, "order"), (0, 11, 1, "order"), (0, "split"), (1, "split")]
    assert len({derive_seed(*path) for path in paths}) == len(set(paths))


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=0), st.text())
def test_a_seed_has_63_bits(seed, replicate, use):
    assert 0 <= derive_seed(seed, replicate, use) < 2**63


def test_all_63_bits_are_used():
    seeds = [derive_seed(0, each) for each in range(500)]
    for bit in range(63):
        assert 150 < sum(seed >> bit & 1 for seed in seeds) < 350


def test_generators_neither_share_a_stream_nor_touch_the_global_one():
    before = torch.get_rng_state()
    first, again, other = (torch.rand(9, generator=generator(1, 2, use)) for use in ("a", "a", "b"))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
