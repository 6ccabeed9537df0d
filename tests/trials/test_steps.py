"""The compiled step: the same numbers as the eager one, for every network and optimizer that it takes."""

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.support import needs_compiler
from tests.trials.toys import assert_same_outcome, random_masks, toy_data, toy_network, toy_recipe, train
from trials.recipe import Component, Way
from trials.steps import CompiledStep, Steps, why_not_compiled, worth_filling

RATES = [0.01, 0.02, 0.05]
NETWORKS = {
    "fc": (None, (6,)),
    "alexnet": (None, (3, 32, 32)),
    "resnet20": (None, (3, 8, 8)),
    "vit": ({"patch": 4, "width": 16, "layers": 2, "heads": 2, "mlp": 32}, (3, 8, 8)),
}


class Statistics(nn.Module):
    """A convolution, BatchNorm with its running statistics, a shared weight and a buffer that is assigned."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, inputs):
        features = self.norm(self.conv(inputs)).relu().mean((2, 3))
        if self.training:
            self.seen = 0.5 * self.seen + features.detach().mean(0)
        return self.second(self.first(features - self.seen).relu())


class Counting(nn.Module):
    """Python that runs in every forward pass, and that a trace would run once."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(6, 4), 0

    def forward(self, inputs):
        self.calls += 1
        return self.linear(inputs) * self.calls


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs if outputs.sum().item() > 0 else -outputs


def recipe(size, *, compiled=True, **changes):
    fields = {
        "length": 2,
        "schedule": Component(name="warmup_drops", arguments={"warmup": 1}),
        "way": Way(pack_size=size, compiled=compiled),
    }
    return toy_recipe(**fields | changes)


def both(module, data, rates, backend, size, **changes):
    """Outcomes compiled and eager, alone, under the same masks."""
    masks = random_masks(module)
    compiled = recipe(size, **changes)
    steps = Steps(module, compiled, backend=backend)
    ours = train(module, data, compiled, rates, masks=masks, steps=steps)
    theirs = train(module, data, recipe(1, compiled=False, **changes), rates, masks=masks)
    for one, other in zip(ours, theirs, strict=True):
        assert_same_outcome(one, other)
        for name, mask in masks.items():
            assert not one.state[name][~mask].any()
    return steps


def was_compiled(steps):
    return steps._compiled is not None and steps._compiled._graph is not None


@pytest.mark.parametrize("size", [1, 3], ids=["alone", "packed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_traced_step_is_the_eager_one_for_every_network(name, size):
    arguments, shape = NETWORKS[name]
    module = toy_network(name, arguments, shape=shape)
    data = toy_data(shape=shape, train=24, validation=8, test=8)
    assert was_compiled(both(module, data, RATES[:size], "eager", size))


@needs_compiler
@pytest.mark.parametrize("size", [1, 3], ids=["alone", "packed"])
@pytest.mark.parametrize("module", [Statistics(), toy_network("fc")], ids=["statistics", "fc"])
def test_the_compiled_step_is_the_eager_one(module, size):
    shape = (3, 8, 8) if isinstance(module, Statistics) else (6,)
    assert was_compiled(both(module, toy_data(shape=shape), RATES[:size], "inductor", size, length=5))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sgd", {"momentum": 0.0}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("adam", {"amsgrad": True, "weight_decay": 1e-3}),
        ("adamw", {}),
        ("rmsprop", {"momentum": 0.5, "centered": True}),
    ],
)
def test_every_optimizer_can_be_compiled(name, arguments):
    optimizer = Component(name=name, arguments=arguments)
    both(toy_network("fc"), toy_data(), RATES, "aot_eager", 3, optimizer=optimizer, length=5)


def test_schedules_are_outside_of_the_graph():
    for name in ("constant", "cosine"):
        both(toy_network("fc"), toy_data(), RATES, "aot_eager", 3, schedule=Component(name=name))


def test_one_graph_serves_pack_after_pack_whatever_their_masks_and_sizes():
    module, data = toy_network("fc"), toy_data()
    shared = recipe(4, optimizer=Component(name="adam"))
    steps, alone = (
        Steps(module, shared, backend="aot_eager"),
        recipe(1, compiled=False, optimizer=shared.optimizer),
    )
    for share, rates in ((0.9, RATES), (0.3, [0.1, 0.2, 0.3, 0.4]), (0.5, RATES[:1]), (0.5, RATES)):
        masks = random_masks(module, share)
        ours = train(module, data, shared, rates, masks=masks, steps=steps)
        theirs = train(module, data, alone, rates, masks=masks)
        for one, other in zip(ours, theirs, strict=True):
            assert_same_outcome(one, other)


def test_a_pack_far_too_small_is_not_filled_up():
    module, data = toy_network("fc"), toy_data()
    few, most = recipe(4), recipe(4)
    steps = Steps(module, few, backend="aot_eager")
    train(module, data, few, RATES[:2], steps=steps)
    assert not was_compiled(steps) and not worth_filling(2, 4)
    train(module, data, most, RATES, steps=steps)
    assert was_compiled(steps) and worth_filling(3, 4)


def test_a_copy_that_diverges_leaves_the_others_alone():
    module, data = toy_network("fc"), toy_data()
    compiled = recipe(3)
    steps = Steps(module, compiled, backend="aot_eager")
    first, huge, last = train(module, data, compiled, [0.01, 1e200, 0.05], steps=steps)
    assert huge.diverged and not first.diverged and not last.diverged
    alone = train(module, data, recipe(1, compiled=False), [0.01, 0.05])
    assert_same_outcome(first, alone[0])
    assert_same_outcome(last, alone[1])


def test_notes_see_the_weights_of_every_epoch():
    module, data = toy_network("fc"), toy_data()
    changes = {"rewind_to": 1, "diagnostics": True, "length": 3, "evaluate_every": 3}
    compiled = recipe(3, **changes)
    ours = train(module, data, compiled, RATES, steps=Steps(module, compiled, backend="aot_eager"))
    theirs = train(module, data, recipe(1, compiled=False, **changes), RATES)
    for one, other in zip(ours, theirs, strict=True):
        for name, tensor in one.rewind.items():
            torch.testing.assert_close(tensor, other.rewind[name], rtol=1e-9, atol=1e-9)
        norms = zip(one.diagnostics.gradient_norms, other.diagnostics.gradient_norms, strict=True)
        assert all(a == pytest.approx(b, rel=1e-9) for a, b in norms)


def reason_of(module, *, size=1, shape=(6,), **changes):
    inputs, labels = torch.randn(8, *shape), torch.arange(8) % 4
    return why_not_compiled(module.train(), recipe(size, **changes), inputs, labels)


@needs_compiler
@pytest.mark.parametrize("size", [1, 3])
def test_what_compiles_is_found_out_by_trying(size):
    assert reason_of(toy_network("fc"), size=size) is None
    assert "differ" in reason_of(Counting(), size=size)
    assert reason_of(Branching(), size=size)


def test_dropout_is_refused_as_its_numbers_would_be_others():
    dropping = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    assert reason_of(dropping) and reason_of(dropping, size=3)


class Odd:
    """An optimizer of somebody's own, with nothing but what it needs."""

    def step(self, weights, gradients, mask, lr):
        weights.sub_(gradients.mul_(mask) * lr.unsqueeze(1))


def test_an_optimizer_of_ones_own_must_name_its_state():
    own = Component(name=f"{__name__}:Odd")
    with pytest.raises(InvalidInput, match=r"Odd' can't be compiled: it has no begin\(\) and STATE"):
        CompiledStep(toy_network("fc"), own, 2)
    assert "has no begin" in reason_of(toy_network("fc"), optimizer=own)
