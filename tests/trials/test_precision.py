"""fp32 by default, bf16 on request, and nothing of it left behind."""

import pytest
import torch

from tests.trials.toys import toy_data, toy_network, toy_recipe
from trials.datasets import Dataset
from trials.engine.engine import computing
from trials.training import train_pack

CPU = torch.device("cpu")


def products():
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(64, 64, generator=draw), torch.randn(64, 64, generator=draw)
    return left @ right, left.double() @ right.double()


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-4), ("tf32", 1e-4), ("bf16", 0.2)])
def test_products_are_as_exact_as_asked_for(precision, error):
    with computing(precision, CPU):
        got, exact = products()
    assert (got.dtype == torch.bfloat16) == (precision == "bf16")
    worst = float((got.double() - exact).abs().max())
    assert worst < error and (worst > 1e-3) == (precision == "bf16")
    assert products()[0].dtype == torch.float32


@pytest.mark.parametrize("pack_size", [1, 8])
def test_a_training_in_bf16_keeps_its_weights_in_float32_and_ends_near(pack_size):
    data, module = toy_data(kind=Dataset), toy_network()
    found = {}
    for precision in ("fp32", "bf16"):
        recipe = toy_recipe(length=1, pack_size=pack_size, precision=precision)
        (found[precision], _) = train_pack(
            module=module,
            start=module.state_dict(),
            masks={},
            data=data,
            recipe=recipe,
            cycle=0,
            replicate=0,
            max_lrs=[0.05, 0.1],
        )
    exact, rough = found["fp32"].state, found["bf16"].state
    assert all(tensor.dtype == torch.float32 for tensor in rough.values())
    distance = max(float((exact[name] - rough[name]).abs().max()) for name in exact)
    assert 1e-5 < distance < 0.01
