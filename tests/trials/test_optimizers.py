import pytest
import torch

from silo.errors import InvalidInput
from trials.optimizers import SGD, build_optimizer
from trials.tasks import Component

COPIES, SIZE = 3, 11
ALL_ALIVE = torch.ones(SIZE, dtype=torch.float64)


def start():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(COPIES, SIZE, generator=draw, dtype=torch.float64)


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


REFUSED = [
    ("sgd", {"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
    ("sgd", {"momentum": -0.1}, "got -0.1"),
    ("sgd", {"momentum": float("nan")}, "got nan"),
    ("sgd", {"momentum": "0.9"}, "got '0.9'"),
    ("sgd", {"momentum": False}, "got False"),
    ("sgd", {"weight_decay": -1e-4}, "weight_decay must be at least 0 and finite, got -0.0001"),
    ("sgd", {"weight_decay": float("inf")}, "got inf"),
    ("sgd", {"weight_decay": 10**400}, "must be at least 0 and finite"),
    ("sgd", {"weight_decay": "1e-4"}, "got '1e-4'"),
    ("sgd", {"momentum": 0, "nesterov": True}, "nesterov needs a momentum above 0"),
    ("sgd", {"nesterov": "no"}, "'nesterov' must be true or false, got 'no'"),
    ("sgd", {"lr": 0.1}, "takes no argument 'lr'.*'momentum', 'weight_decay', 'nesterov'"),
    ("adam", {"betas": 0.9}, r"betas must be two numbers, such as \[0.9, 0.999\], got 0.9"),
    ("adam", {"betas": [0.9]}, r"got \[0.9\]"),
    ("adam", {"betas": "99"}, "betas must be two numbers.*got '99'"),
    ("adam", {"betas": [1.0, 0.9]}, r"betas\[0\] must lie in \[0, 1\), got 1.0"),
    ("adam", {"betas": [0.9, "0.99"]}, r"betas\[1\] must lie in \[0, 1\), got '0.99'"),
    ("adam", {"eps": 0}, "eps must be at least 1e-30 and finite, .* divided by zero, got 0"),
    ("adam", {"eps": float("inf")}, "got inf"),
    ("adam", {"eps": None}, "got None"),
    ("adam", {"weight_decay": -1}, "weight_decay must be at least 0 and finite, got -1"),
    ("adam", {"amsgrad": 1}, "'amsgrad' must be true or false, got 1"),
    ("adam", {"decoupled_weight_decay": "yes"}, "must be true or false, got 'yes'"),
    ("adam", {"beta": 0.9}, "takes no argument 'beta' .did you mean 'betas'"),
    ("adamw", {"eps": -1}, "eps must be at least"),
    ("adamw", {"betas": [0.9, 1]}, r"betas\[1\] must lie in"),
    ("adamw", {"decoupled_weight_decay": False}, "takes no argument 'decoupled_weight_decay'"),
    ("rmsprop", {"alpha": 1}, r"alpha must lie in \[0, 1\), got 1"),
    ("rmsprop", {"momentum": 1.5}, r"momentum must lie in \[0, 1\), got 1.5"),
    ("rmsprop", {"eps": 0.0}, "eps must be at least"),
    ("rmsprop", {"weight_decay": None}, "weight_decay must be at least 0 and finite, got None"),
    ("rmsprop", {"centered": "false"}, "'centered' must be true or false, got 'false'"),
]


def test_arguments_that_are_refused():
    for name, arguments, message in REFUSED:
        with pytest.raises(InvalidInput, match=message) as caught:
            build_optimizer(Component(name=name, arguments=arguments))
        assert "\n" not in str(caught.value)


def test_an_unknown_optimizer_lists_the_known():
    known = "'sgd', 'adam', 'adamw', 'rmsprop'"
    with pytest.raises(InvalidInput, match=rf"unknown optimizer 'sdg': known are {known}"):
        build_optimizer(Component(name="sdg"))


def test_own_optimizer(own_module):
    own_module("own_optimizers", "class Own:\n    def __init__(self, *, beta): self.beta = beta\n")
    built = build_optimizer(Component(name="own_optimizers:Own", arguments={"beta": 2}))
    assert built.beta == 2
