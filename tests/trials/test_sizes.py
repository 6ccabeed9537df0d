"""Networks and data that no machine could hold are refused before they are built."""

import pytest

from silo.errors import InvalidInput
from trials.datasets import load_dataset
from trials.networks import build_network


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("fc", {"hidden": [10**9, 10**6]}, r"'fc' needs 4,\d{3},\d{3}\.\d GB .*: take smaller sizes"),
        ("vit", {"width": 3 * 10**6}, "'vit' needs .* GB of memory"),
        ("vit", {"mlp": 10**12}, "'vit' needs .* GB of memory"),
        ("vit", {"layers": 10**9}, "layers = 1,000,000,000: at most 1,000 are taken"),
        ("fc", {"hidden": [1] * 1_001}, "1,001 hidden layers: at most 1,000 are taken"),
    ],
)
def test_what_no_machine_holds_is_not_built(name, arguments, words):
    with pytest.raises(InvalidInput, match=words):
        build_network(name, arguments, input_shape=(3, 32, 32), num_classes=10, seed=0)


@pytest.mark.parametrize("sizes", [{"num_classes": 10**12}, {"train_size": 10**12}, {"shape": [10**12]}])
def test_what_no_machine_holds_is_not_drawn(sizes):
    with pytest.raises(InvalidInput, match=r"needs .* GB of memory|at most 100,000"):
        load_dataset("synthetic", sizes, seed=0)
