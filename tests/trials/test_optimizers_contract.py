"""What holds for each optimizer: it is torch's, pruned entries stay zero, and copies don't meet."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from trials.optimizers import OPTIMIZERS, build_optimizer
from trials.tasks import Component
from trials.testing import check_optimizer
from trials.testing.optimizers import tensors_of

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
WIDTHS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
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
    return list(tensors_of(optimizer).values())


@pytest.mark.parametrize("mask", [DENSE, PRUNED], ids=["dense", "pruned"])
@each_case
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


def test_the_defaults_are_those_of_torch():
    for name in ("adam", "adamw", "rmsprop"):
        theirs = THEIRS[name]([torch.zeros(1)]).defaults
        ours = vars(built(name, {}))
        shared = ours.keys() & theirs.keys()
        assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
        assert {"eps", "weight_decay"} < shared


def test_each_keeps_to_the_contract():
    for name, arguments in CASES:
        check_optimizer(name, arguments)


@each_case
def test_a_copy_that_diverges_does_so_as_with_torch(name, arguments):
    for poison in (math.inf, -math.inf, math.nan):
        weights = start() * PRUNED
        theirs = weights[1].clone().requires_grad_()
        optimizer = THEIRS[name]([theirs], lr=rates()[1].item(), **arguments)
        ours = built(name, arguments)
        for step in range(4):
            gradients = gradient_at(start(), step)
            gradients[1, ::3] = poison
            theirs.grad = gradients[1].masked_fill(PRUNED == 0, 0.0)
            ours.step(weights, gradients, PRUNED, rates())
            optimizer.step()
        torch.testing.assert_close(weights[1], theirs.detach(), rtol=1e-12, atol=1e-12, equal_nan=True)
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


def test_only_what_the_arguments_need_is_remembered():
    for name, arguments in CASES:
        optimizer, weights = built(name, arguments), start()
        optimizer.step(weights, gradient_at(weights, 0), PRUNED, rates())
        expected = {
            "sgd": bool(arguments.get("momentum")),
            "rmsprop": 1 + bool(arguments.get("momentum")) + arguments.get("centered", False),
        }.get(name, 2 + arguments.get("amsgrad", False))
        assert len(states(optimizer)) == expected, (name, arguments)
        assert all(state[:, PRUNED == 1].all() for state in states(optimizer))


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


def test_a_step_makes_no_new_tensor_of_the_weights_size():
    for case in CASES:
        optimizer, weights, gradients = built(*case), start(), gradient_at(start(), 0)
        optimizer.step(weights, gradients, PRUNED, rates())
        scratch = [value for value in vars(optimizer).values() if isinstance(value, torch.Tensor)]
        known = {tensor.untyped_storage().data_ptr() for tensor in (weights, gradients, *scratch)}
        with Outputs() as outputs:
            optimizer.step(weights, gradients, PRUNED, rates())
        assert weights.untyped_storage().data_ptr() in outputs.places <= known, case


def test_every_width_and_a_mask_after_another():
    for name, dtype in itertools.product(OPTIMIZERS, WIDTHS):
        optimizer, weights = built(name, {}), start(dtype)
        for mask in (PRUNED.to(dtype), PRUNED.roll(1).to(dtype).mul(PRUNED.to(dtype))):
            optimizer.step(weights, gradient_at(start(dtype), 0), mask, rates(dtype=dtype))
            assert not weights[:, mask == 0].any() and weights[:, mask == 1].all(), (name, dtype)


class Broken:
    """An optimizer with one fault."""

    STATE = ("velocity",)

    def __init__(self, *, fault):
        self.fault, self.velocity = fault, None

    def begin(self, weights):
        self.velocity = torch.ones_like(weights) if self.fault == "begin" else torch.zeros_like(weights)

    def step(self, weights, gradients, mask, lr):
        if self.velocity is None:
            self.begin(weights)
        gradients = gradients.masked_fill(mask == 0, 0.0)
        if self.fault == "mixes":
            gradients = gradients - gradients.mean(0, keepdim=True)
        self.velocity.mul_(0.5).add_(gradients)
        lr = lr.mean() if self.fault == "rates" else lr.unsqueeze(1)
        weights.sub_(self.velocity * (lr + 0.1 * (self.fault == "floor")))
        if self.fault != "mask":
            weights.masked_fill_(mask == 0, 0.0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("mask", "weights of pruned entries are not 0 after step 0"),
        ("mixes", "copies together and alone part at step 0"),
        ("rates", "copies together and alone part at step 0"),
        ("floor", "moves weights at a rate of 0"),
        ("begin", "must set 'velocity' to zeros"),
    ],
)
def test_the_contract_finds_what_is_broken(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_optimizer(f"{__name__}:Broken", {"fault": fault})


def test_an_own_optimizer_that_is_sound_passes():
    check_optimizer(f"{__name__}:Broken", {"fault": None})
