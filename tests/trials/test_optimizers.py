import itertools
import sys

import pytest
import torch

from silo.errors import InvalidInput
from trials.optimizers import SGD, build_optimizer
from trials.recipe import Component

COPIES, SIZE = 3, 11
ALL_ALIVE = torch.ones(SIZE, dtype=torch.float64)
SOME_ALIVE = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0], dtype=torch.float64)
SETTINGS = [
    {"momentum": momentum, "weight_decay": decay, "nesterov": nesterov}
    for momentum, decay, nesterov in itertools.product([0.0, 0.9], [0.0, 0.3], [False, True])
    if momentum or not nesterov
]


def gradient_at(weights, step):
    """The gradient of a bumpy function, one that mixes the weights of a copy."""
    return torch.sin(3 * weights + step) + weights.roll(1, dims=-1)


def start():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(COPIES, SIZE, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("mask", [ALL_ALIVE, SOME_ALIVE], ids=["dense", "pruned"])
def test_twenty_steps_are_those_of_torch(settings, mask):
    rates = torch.tensor([0.01, 0.1, 0.5], dtype=torch.float64)
    weights = start() * mask
    theirs = [row.clone().requires_grad_() for row in weights]
    optimizers = [torch.optim.SGD([row], lr=1.0, **settings) for row in theirs]
    ours = SGD(**settings)
    for step in range(20):
        lr = rates * (1 + step % 4) / 4
        ours.step(weights, gradient_at(weights, step), mask, lr)
        for row, optimizer, rate in zip(theirs, optimizers, lr.tolist(), strict=True):
            optimizer.param_groups[0]["lr"] = rate
            row.grad = gradient_at(row.detach()[None], step)[0] * mask
            optimizer.step()
        torch.testing.assert_close(weights, torch.stack(theirs).detach(), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(weights[0], weights[1])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_pruned_weights_and_their_momentum_are_exactly_zero_after_every_step(settings):
    optimizer, pruned = SGD(**settings), SOME_ALIVE == 0
    weights = start()  # not zero where pruned: even what a caller forgot to mask is
    for step in range(20):
        gradient = gradient_at(start(), step)
        assert gradient[:, pruned].all()
        optimizer.step(weights, gradient, SOME_ALIVE, torch.full((COPIES,), 0.1, dtype=torch.float64))
        assert not weights[:, pruned].any() and weights[:, ~pruned].all()
        if settings["momentum"]:
            assert not optimizer.velocity[:, pruned].any() and optimizer.velocity[:, ~pruned].all()


@pytest.mark.parametrize(
    ("mask", "before", "after"), [([1.0] * 10, 45, 44), ([1.0, 0.0] * 5, 20, 22)], ids=["dense", "pruned"]
)
def test_the_forward_check_of_openlth(mask, before, after):
    mask = torch.tensor(mask)
    weights = (torch.arange(10.0) * mask)[None]
    output = weights.clone().requires_grad_()
    loss = (output.sum() - 40).square()
    assert output.sum() == before
    loss.backward()
    SGD(momentum=0.9, weight_decay=0.0).step(weights, output.grad, mask, torch.tensor([0.01]))
    assert weights.sum().item() == pytest.approx(after, abs=1e-5)
    assert not weights[0, mask == 0].any()


def test_weights_that_the_loss_does_not_use_decay_where_torch_leaves_them_alone():
    used, unused = (torch.ones(1, requires_grad=True) for _ in range(2))
    theirs = torch.optim.SGD([used, unused], lr=0.5, weight_decay=0.1)
    used.sum().backward()
    theirs.step()
    weights = torch.ones(1, 2)
    SGD(momentum=0.0, weight_decay=0.1).step(
        weights, torch.tensor([[1.0, 0.0]]), torch.ones(2), torch.tensor([0.5])
    )
    assert weights[0, 0] == used.item() and unused.item() == 1.0
    assert weights[0, 1].item() == pytest.approx(0.95)


def test_each_is_built_without_state():
    first, second = (build_optimizer(Component(name="sgd", arguments={"momentum": 0.5})) for _ in range(2))
    first.step(start(), start(), ALL_ALIVE, torch.ones(COPIES, dtype=torch.float64))
    assert first.velocity is not None and second.velocity is None
    assert (second.momentum, second.weight_decay, second.nesterov) == (0.5, 1e-4, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, "got -0.1"),
        ({"momentum": float("nan")}, "got nan"),
        ({"momentum": "0.9"}, "got '0.9'"),
        ({"weight_decay": -1e-4}, "weight_decay must be at least 0 and finite, got -0.0001"),
        ({"weight_decay": float("inf")}, "got inf"),
        ({"weight_decay": "1e-4"}, "got '1e-4'"),
        ({"momentum": 0, "nesterov": True}, "nesterov needs a momentum above 0"),
        ({"lr": 0.1}, "takes no argument 'lr'.*'momentum', 'weight_decay', 'nesterov'"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        build_optimizer(Component(name="sgd", arguments=arguments))


def test_an_unknown_optimizer_lists_the_known():
    with pytest.raises(InvalidInput, match=r"unknown optimizer 'sdg': known are 'sgd'"):
        build_optimizer(Component(name="sdg"))


def test_own_optimizer(tmp_path, monkeypatch):
    (tmp_path / "own_optimizers.py").write_text(
        "class Own:\n    def __init__(self, *, beta): self.beta = beta\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    built = build_optimizer(Component(name="own_optimizers:Own", arguments={"beta": 2}))
    assert built.beta == 2
    del sys.modules["own_optimizers"]
