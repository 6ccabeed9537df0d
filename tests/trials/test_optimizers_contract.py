"""What holds for each optimizer: it is torch's, pruned entries stay zero, and copies don't meet."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from trials.optimizers import OPTIMIZERS, build_optimizer
from trials.recipe import Component

COPIES, SIZE = 3, 67
THEIRS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
assert THEIRS.keys() == OPTIMIZERS.keys()

SGDS = [
    {"momentum": momentum, "weight_decay": decay, "nesterov": nesterov}
    for momentum, decay, nesterov in itertools.product([0.0, 0.9], [0.0, 0.3], [False, True])
    if momentum or not nesterov
]
ADAMS = [
    {},
    {"betas": [0.5, 0.7], "eps": 1e-3, "weight_decay": 0.3},
    {"betas": [0.0, 0.6], "amsgrad": True},
    {"eps": 0.1, "amsgrad": True, "weight_decay": 0.3},
]
RMSPROPS = [
    {},
    {"alpha": 0.5, "eps": 0.1, "weight_decay": 0.3},
    {"alpha": 0.8, "momentum": 0.9},
    {"alpha": 0.9, "centered": True, "eps": 0.01},
    {"alpha": 0.9, "centered": True, "eps": 0.1, "momentum": 0.5, "weight_decay": 0.3},
]
CASES = [
    *(("sgd", arguments) for arguments in SGDS),
    *(("adam", arguments) for arguments in [*ADAMS, {"weight_decay": 0.3, "decoupled_weight_decay": True}]),
    *(("adamw", arguments) for arguments in ADAMS),
    *(("rmsprop", arguments) for arguments in RMSPROPS),
]
each_case = pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)

DENSE = torch.ones(SIZE, dtype=torch.float64)
PRUNED = (torch.arange(SIZE) % 5 % 2).to(torch.float64)


def built(name, arguments):
    return build_optimizer(Component(name=name, arguments=arguments))


def start(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(COPIES, SIZE, generator=draw, dtype=torch.float64).to(dtype)


def rates(step=0, dtype=torch.float64):
    return torch.tensor([0.001, 0.01, 0.05], dtype=dtype) * (1 + step % 4) / 4


def gradient_at(weights, step):
    """The gradient of a bumpy function, one that mixes the weights of a copy."""
    return torch.sin(3 * weights + step) + weights.roll(1, dims=-1)


def states(optimizer):
    """What it remembers of each weight."""
    kept = [value for key, value in vars(optimizer).items() if not key.startswith("_")]
    return [value for value in kept if isinstance(value, torch.Tensor) and value.dim()]


@each_case
@pytest.mark.parametrize("mask", [DENSE, PRUNED], ids=["dense", "pruned"])
def test_thirty_steps_are_those_of_torch(name, arguments, mask):
    weights = start() * mask
    theirs = [row.clone().requires_grad_() for row in weights]
    optimizers = [THEIRS[name]([row], lr=1.0, **arguments) for row in theirs]
    ours = built(name, arguments)
    for step in range(30):
        lr = rates(step)
        ours.step(weights, gradient_at(weights, step), mask, lr)
        for row, optimizer, rate in zip(theirs, optimizers, lr.tolist(), strict=True):
            optimizer.param_groups[0]["lr"] = rate
            row.grad = gradient_at(row.detach()[None], step)[0] * mask
            optimizer.step()
            row.detach().mul_(mask)
        torch.testing.assert_close(weights, torch.stack(theirs).detach(), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(weights[0], weights[1])


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_the_defaults_are_those_of_torch(name):
    theirs = THEIRS[name]([torch.zeros(1)]).defaults
    ours = vars(built(name, {}))
    shared = ours.keys() & theirs.keys()
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    assert {"eps", "weight_decay"} < shared


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_copies_together_are_the_copies_alone_bit_for_bit(name, arguments, dtype):
    mask = PRUNED.to(dtype)
    together, alone = start(dtype) * mask, list((start(dtype) * mask).split(1))
    pack, loners = built(name, arguments), [built(name, arguments) for _ in alone]
    for step in range(10):
        lr = rates(step, dtype)
        gradients = gradient_at(together, step)
        for row, loner, gradient, rate in zip(
            alone, loners, gradients.clone().split(1), lr.split(1), strict=True
        ):
            loner.step(row, gradient, mask, rate)
        pack.step(together, gradients, mask, lr)
        assert torch.equal(together, torch.cat(alone))


@each_case
@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
def test_a_copy_that_diverges_is_as_with_torch_and_leaves_the_others_alone(name, arguments, poison):
    healthy, weights = start() * PRUNED, start() * PRUNED
    theirs = weights[1].clone().requires_grad_()
    optimizer = THEIRS[name]([theirs], lr=rates()[1].item(), **arguments)
    first, second = built(name, arguments), built(name, arguments)
    for step in range(4):
        gradients = gradient_at(start(), step)
        first.step(healthy, gradients.clone(), PRUNED, rates())
        gradients[1, ::3] = poison
        theirs.grad = gradients[1].masked_fill(PRUNED == 0, 0.0)
        second.step(weights, gradients, PRUNED, rates())
        optimizer.step()
    torch.testing.assert_close(weights[1], theirs.detach(), rtol=1e-12, atol=1e-12, equal_nan=True)
    assert torch.equal(weights[::2], healthy[::2])
    assert not weights[1].isfinite().all() and not weights[1, PRUNED == 0].any()


FLOATS = st.floats(width=32) | st.sampled_from([0.0, math.inf, -math.inf, math.nan, 3e38, -1e-45])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CASES), st.data())
def test_pruned_weights_and_all_that_is_remembered_of_them_are_exactly_zero_after_every_step(case, data):
    size = data.draw(st.integers(1, 40))
    row = st.lists(FLOATS, min_size=size, max_size=size)
    rows = st.lists(row, min_size=2, max_size=2).map(lambda lists: torch.tensor(lists, dtype=torch.float32))
    mask = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size)))
    optimizer, pruned = built(*case), mask == 0
    weights = data.draw(rows)  # also where pruned: even what a caller forgot to mask is
    for _ in range(3):
        optimizer.step(weights, data.draw(rows), mask, torch.tensor([1e-3, 1e30]))
        for tensor in (weights, *states(optimizer)):
            assert tensor.shape == weights.shape
            assert not tensor[:, pruned].count_nonzero()


@each_case
def test_what_is_remembered(name, arguments):
    optimizer, weights = built(name, arguments), start()
    optimizer.step(weights, gradient_at(weights, 0), PRUNED, rates())
    expected = {
        "sgd": bool(arguments.get("momentum")),
        "rmsprop": 1 + bool(arguments.get("momentum")) + arguments.get("centered", False),
    }.get(name, 2 + arguments.get("amsgrad", False))
    assert len(states(optimizer)) == expected
    for state in states(optimizer):
        assert state[:, PRUNED == 1].all()


class Outputs(TorchDispatchMode):
    """Where each operation writes what is as large as the weights."""

    def __init__(self):
        super().__init__()
        self.places = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **kwargs or {})
        if output.numel() >= COPIES * SIZE:
            self.places.add(output.untyped_storage().data_ptr())
        return output


@each_case
def test_a_step_makes_no_new_tensor_of_the_weights_size(name, arguments):
    optimizer, weights, gradients = built(name, arguments), start(), gradient_at(start(), 0)
    optimizer.step(weights, gradients, PRUNED, rates())
    scratch = [value for value in vars(optimizer).values() if isinstance(value, torch.Tensor)]
    known = {tensor.untyped_storage().data_ptr() for tensor in (weights, gradients, *scratch)}
    with Outputs() as outputs:
        optimizer.step(weights, gradients, PRUNED, rates())
    assert weights.untyped_storage().data_ptr() in outputs.places <= known


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_width_and_a_mask_after_another(name, dtype):
    optimizer, weights = built(name, {}), start(dtype)
    for mask in (PRUNED.to(dtype), PRUNED.roll(1).to(dtype).mul(PRUNED.to(dtype))):
        optimizer.step(weights, gradient_at(start(dtype), 0), mask, rates(dtype=dtype))
        assert not weights[:, mask == 0].any() and weights[:, mask == 1].all()
