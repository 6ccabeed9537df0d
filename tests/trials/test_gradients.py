import functools
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.trials.toys import double, toy_network
from trials.engine import StackedNetwork
from trials.engine.copies import (
    lone_gradients,
    lone_outputs,
    packed_gradients,
    packed_outputs,
    why_not_packed,
)
from trials.networks import build_network
from trials.objectives import CrossEntropy

CPU = torch.device("cpu")


class Network(nn.Module):
    """A linear layer that the cases below build on."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, inputs):
        return self.linear(inputs)


class Assigns(Network):
    """Running statistics by assignment, which functional calls lose unless they are asked for them."""

    def forward(self, inputs):
        centred = inputs - self.mean
        outputs = self.linear(centred) * (1 + self.mean.square().sum())
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs.mean(0)
            self.count = self.count + 1
        return outputs


class BranchesInEvaluation(Network):
    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs if self.training or outputs.sum() > 0 else -outputs


class CountsBatches(Network):
    """A buffer that no output shows."""

    def forward(self, inputs):
        self.count = self.count + self.training
        return self.linear(inputs)


class CountsAllBatches(Network):
    """A buffer that evaluation changes too."""

    def forward(self, inputs):
        self.count = self.count + 1
        return self.linear(inputs)


class KeepsReferences(Network):
    """Its head is read by a reference to its weights, which vmap puts others in the place of."""

    def __init__(self):
        super().__init__()
        self.read = functools.partial(functional.linear, weight=self.linear.weight, bias=self.linear.bias)

    def forward(self, inputs):
        return self.read(inputs)


class HooksGradients(Network):
    """Clips the gradient of a weight by a hook on it."""

    def __init__(self):
        super().__init__()
        self.linear.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))


class CountsEvaluations(Network):
    """A number outside of parameters and buffers that only evaluation mode shows."""

    calls = 0.0

    def forward(self, inputs):
        self.calls += 0.0 if self.training else 1.0
        return self.linear(inputs) * (1.0 if self.training else self.calls)


class CountsCalls(Network):
    """Carries a number from call to call outside of parameters and buffers."""

    calls = 0.0

    def forward(self, inputs):
        self.calls += 1.0
        return self.linear(inputs) * self.calls


def batch(shape=(6,), size=8):
    draw = torch.Generator().manual_seed(3)
    return torch.randn(size, *shape, generator=draw).double(), torch.randint(4, (size,), generator=draw)


def three_copies(module):
    copies = StackedNetwork.of(module, double(module.state_dict()), 3, CPU)
    copies.flat.mul_(torch.tensor([[1.0], [0.9], [1.2]]))
    return copies


CASES = [
    pytest.param(lambda: toy_network("fc"), (6,), id="fc"),
    pytest.param(lambda: toy_network("resnet20", shape=(1, 8, 8)), (1, 8, 8), id="resnet20"),
    pytest.param(
        lambda: toy_network("resnet20", {"shortcut": "conv"}, shape=(1, 8, 8)), (1, 8, 8), id="conv"
    ),
    pytest.param(Network, (6,), id="unused parameters"),
    pytest.param(Assigns, (6,), id="assigned buffers"),
]


LONE = [
    pytest.param(KeepsReferences, (6,), id="references to weights"),
    pytest.param(HooksGradients, (6,), id="hooks on gradients"),
    pytest.param(CountsAllBatches, (6,), id="counts"),
]


@pytest.mark.parametrize(
    ("gradients_of", "make", "shape"),
    [
        *(pytest.param(packed_gradients, *case.values, id=f"packed {case.id}") for case in CASES),
        *(pytest.param(lone_gradients, *case.values, id=f"lone {case.id}") for case in CASES + LONE),
    ],
)
def test_gradients_losses_and_buffers_are_those_of_autograd(gradients_of, make, shape):
    module = make()
    copies, (inputs, labels) = three_copies(module), batch(shape)
    plain = []
    for index in range(3):
        own = make().double()
        own.load_state_dict(copies.state(index))
        plain.append(own)
    gradients_at = gradients_of(module, CrossEntropy())
    for _ in range(2):  # what the first call leaves in the buffers must reach the second
        gradients, losses = gradients_at(copies, inputs, labels)
        for index, own in enumerate(plain):
            own.zero_grad()
            loss = functional.cross_entropy(own(inputs), labels)
            loss.backward()
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own.parameters()]
            expected = torch.cat([part.reshape(-1) for part in parts])
            torch.testing.assert_close(gradients[index], expected, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(losses[index], loss.detach(), rtol=1e-9, atol=1e-9)
            for name, buffer in own.named_buffers():
                torch.testing.assert_close(copies.buffers[name][index], buffer, rtol=1e-9, atol=1e-9)
    assert not gradients.requires_grad and not losses.requires_grad
    assert not any(buffer.requires_grad for buffer in copies.buffers.values())


@pytest.mark.parametrize("outputs_of", [lone_outputs, packed_outputs])
@pytest.mark.parametrize(("make", "shape"), CASES)
def test_outputs_are_those_of_the_module(outputs_of, make, shape):
    module = make().eval()
    copies, (inputs, _) = three_copies(module), batch(shape)
    with torch.no_grad():
        outputs = outputs_of(module)(copies, inputs)
        for index in range(3):
            own = make().eval().double()
            own.load_state_dict(copies.state(index))
            torch.testing.assert_close(outputs[index], own(inputs), rtol=1e-9, atol=1e-9)
    assert outputs.shape == (3, 8, 4)


@pytest.mark.parametrize("gradients_of", [lone_gradients, packed_gradients])
def test_the_modules_own_weights_play_no_part_and_stay(gradients_of):
    module = toy_network("resnet20", shape=(1, 8, 8))
    copies, (inputs, labels) = three_copies(module), batch((1, 8, 8))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(float("nan"))
    before = {name: tensor.clone() for name, tensor in module.named_buffers()}
    gradients, losses = gradients_of(module, CrossEntropy())(copies, inputs, labels)
    assert gradients.isfinite().all() and losses.isfinite().all()
    assert all(parameter.isnan().all() and parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.named_buffers())


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_what_can_be_packed(make, shape):
    inputs, labels = batch(shape)
    module = make()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.eval()
    state = torch.get_rng_state()
    assert why_not_packed(module, CrossEntropy(), inputs.float(), labels) is None
    assert not module.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (BranchesInEvaluation, "data-dependent control flow"),
        (CountsCalls, "packed and lone training differ"),
        (CountsEvaluations, "packed and lone training differ"),
        (CountsAllBatches, "packed and lone training differ"),
        (KeepsReferences, "must have the same dtype"),
        (HooksGradients, "packed and lone training differ"),
        (lambda: nn.Linear(7, 4), "RuntimeError: Expected size"),
    ],
)
def test_what_can_not_be_packed(make, reason):
    module = make()
    inputs, labels = batch()
    said = why_not_packed(module, CrossEntropy(), inputs.float(), labels)
    assert re.search(reason, said) and "\n" not in said
    assert module.training


def losing_buffers(gradients_at, copies, module, *batch):
    return gradients_at(copies.clone(module), *batch)


def mixing_copies(gradients_at, copies, module, *batch):
    return tuple(each.flip(0) for each in gradients_at(copies, *batch))


@pytest.mark.parametrize("broken", [losing_buffers, mixing_copies])
def test_a_pack_that_went_wrong_would_be_noticed(monkeypatch, broken):
    def broken_gradients(module, loss_of):
        return lambda copies, *batch: broken(packed_gradients(module, loss_of), copies, module, *batch)

    inputs, labels = batch()
    assert why_not_packed(CountsBatches(), CrossEntropy(), inputs, labels) is None
    monkeypatch.setattr("trials.engine.copies.packed_gradients", broken_gradients)
    assert (
        why_not_packed(CountsBatches(), CrossEntropy(), inputs, labels) == "packed and lone training differ"
    )


def test_a_transformer_is_packed_without_a_word(recwarn):
    module = build_network(
        "vit",
        {"patch": 4, "layers": 1, "heads": 2, "width": 8, "mlp": 16},
        input_shape=(3, 8, 8),
        num_classes=3,
        seed=0,
    )
    assert why_not_packed(module, CrossEntropy(), torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])) is None
    assert not recwarn.list
