"""ResNet-20 on small images: bf16 costs no accuracy."""

import pytest

from tests.oracle.tables_of_ways import EAGER, equivalent, images, losses, search

pytestmark = pytest.mark.slow

MARGIN = 0.02
"""Six pairs on 300 images each: one standard error of a single accuracy is 0.007 here. A training that
suffered from its precision would be further behind: those of half the length are, by 7 % on average."""


def test_bf16_finds_a_residual_network_as_good_as_fp32_does(tmp_path):
    fp32, bf16 = (
        search(images(tmp_path / name, cycles=2, precision=name, **EAGER)) for name in ("fp32", "bf16")
    )
    assert min(fp32.best.values()) > 0.9  # of ten classes
    assert fp32.best != bf16.best and fp32.best.keys() == {
        (cycle, each) for cycle in (0, 1) for each in range(3)
    }
    assert equivalent(losses(bf16, fp32), MARGIN)
