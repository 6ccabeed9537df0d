"""A step as one graph: the eager step's numbers to the last bit, by as few operations as it takes."""

import gc
import itertools
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from tests.trials.toys import double, random_masks, toy_network
from trials.engine import StackedNetwork, flat_mask, named_tensors
from trials.engine.copies import functional_gradients, lone_gradients, packed_gradients
from trials.engine.graphs import Captured, as_traced, trace
from trials.engine.steps import EagerStep, GraphStep, Places
from trials.objectives import CrossEntropy
from trials.optimizers import build_optimizer
from trials.tasks import Component

OPTIMIZERS = {
    "sgd": {"momentum": 0.9, "weight_decay": 1e-3},
    "sgd with nesterov": {"momentum": 0.9, "weight_decay": 1e-3, "nesterov": True},
    "adam": {"weight_decay": 1e-3},
    "adamw": {"weight_decay": 1e-2},
    "rmsprop": {"momentum": 0.5, "centered": True},
}
RATES = [0.01, 0.02, 0.05]


class Buffers(nn.Module):
    """All that may happen to a buffer: changed in place, assigned anew, exchanged, and only looked at.

    Its parameters begin at odd places, and one has a single number.
    """

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.unused = nn.BatchNorm2d(3)
        self.head, self.factor = nn.Linear(5, 4), nn.Parameter(torch.tensor(1.5))
        for index, name in enumerate(("one", "other", "kept", "mean")):
            self.register_buffer(name, torch.full((5,), float(index)))

    def forward(self, inputs):
        features = self.norm(self.conv(inputs)).relu().mean((2, 3))
        self.unused(inputs)  # for its running statistics alone
        if self.training:
            self.one, self.other = self.other, self.one + 1
            self.mean.mul_(0.5).add_(features.detach().mean(0))
        return self.head(self.factor * features - self.mean + self.kept - self.one)


def network_of(name):
    own = {
        "buffers": Buffers,
        "own fc": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.ReLU(), nn.Linear(7, 4)),
    }
    return own[name]() if name in own else toy_network(name, shape=(3, 8, 8))


def optimizer_of(name):
    return Component(name=name.split()[0], arguments=OPTIMIZERS[name])


def made(module, count, dtype, share=0.5):
    """Copies that differ, and a mask."""
    state = named_tensors(module)
    state = double(state) if dtype == torch.float64 else state
    copies = StackedNetwork.of(module, state, count, torch.device("cpu"))
    noise = torch.randn(copies.flat.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = flat_mask(module, random_masks(module, share), torch.device("cpu")).to(dtype)
    copies.flat.add_(0.01 * noise.to(dtype)).mul_(mask)
    return copies, mask


def batches(dtype, count=4, size=6):
    draw = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(size, 3, 8, 8, generator=draw, dtype=torch.float64).to(dtype),
            torch.randint(4, (size,), generator=draw),
        )
        for _ in range(count)
    ]


def graph_step(module, optimizer, count, given, **layout):
    """The step, begun with copies and a mask."""
    step = GraphStep(module, CrossEntropy(), optimizer, count, **{"together": True} | layout)
    step.begin(*given)
    (step.program,) = as_traced([step.traced(batches(given[0].flat.dtype)[0])])
    return step


def stepped(step, copies, dtype):
    """Losses of some steps, and what they leave."""
    rates = torch.tensor(RATES[: len(copies.flat)], dtype=dtype)
    losses = [step(*batch, rates).clone() for batch in batches(dtype)]
    step.settle()
    return {"losses": torch.stack(losses), "weights": copies.flat, **copies.buffers}


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "packed"])
@pytest.mark.parametrize(
    ("network", "optimizer", "dtype"),
    [
        *itertools.product(["buffers"], OPTIMIZERS, [torch.float32, torch.float64]),
        ("own fc", "adam", torch.float32),
        ("resnet20", "sgd", torch.float32),
    ],
)
def test_the_graph_gives_the_eager_steps_bits(network, optimizer, count, dtype):
    module, component = network_of(network).train(), optimizer_of(optimizer)
    (eager, mask), given = made(module, count, dtype), made(module, count, dtype)
    gradients = (packed_gradients if count > 1 else lone_gradients)(module, CrossEntropy())
    expected = stepped(EagerStep(gradients, build_optimizer(component), eager, mask), eager, dtype)
    found = stepped(graph_step(module, component, count, given), given[0], dtype)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert not torch.equal(found["weights"], made(module, count, dtype)[0].flat)


def test_a_graph_goes_on_with_other_copies_and_another_mask():
    module, component = network_of("buffers").train(), optimizer_of("sgd")
    step = graph_step(module, component, 3, made(module, 3, torch.float64))
    for count, share in ((3, 0.9), (2, 0.2)):
        (eager, mask), given = (made(module, count, torch.float64, share) for _ in range(2))
        step.begin(*given)
        packed = EagerStep(packed_gradients(module, CrossEntropy()), build_optimizer(component), eager, mask)
        expected, found = stepped(packed, eager, torch.float64), stepped(step, given[0], torch.float64)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-9)


_EMPTY = "aten::empty.memory_format"


def kernels(graph):
    """Operations of a graph that an accelerator computes: all but those that look at a tensor otherwise."""

    def computes(operator):
        if not isinstance(operator, torch._ops.OpOverload):  # one of several results
            return False
        looks = operator.is_view or operator.name() in ("aten::detach", "aten::_unsafe_view", _EMPTY)
        return operator._schema.is_mutable or not looks

    return sum(node.op == "call_function" and computes(node.target) for node in graph.graph.nodes)


@pytest.mark.parametrize(
    ("network", "arguments", "shape", "most"),
    [
        ("fc", {"hidden": [64, 64, 64]}, (64,), 33),
        ("resnet20", None, (3, 32, 32), 177),
    ],
)
def test_an_update_takes_as_many_kernels_for_any_depth(network, arguments, shape, most):
    module = toy_network(network, arguments, shape=shape, classes=10).train()
    given = made(module, 1, torch.float32)
    batch = (torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64))
    step = GraphStep(module, CrossEntropy(), optimizer_of("sgd"), 1, together=True)
    step.begin(*given)
    parameters, buffers = (
        {name: each[0] for name, each in tree.items()} for tree in (given[0].parameters, given[0].buffers)
    )

    def gradients(*batch):
        found, _ = functional_gradients(module, CrossEntropy(), in_place=True)(parameters, buffers, *batch)
        return tuple(found.values())

    # The gradients in one row, weight decay, momentum (2), the weights, and twice what is pruned.
    assert kernels(step.traced(batch).graph) - kernels(trace(gradients, batch).graph) == 7
    assert kernels(step.traced(batch).graph) <= most


def test_kernels_that_lie_as_images_do_spare_turning_each_of_them_in_every_step(monkeypatch):
    module, component = network_of("resnet20").train(), optimizer_of("sgd")
    last = [
        (inputs.contiguous(memory_format=torch.channels_last), labels)
        for inputs, labels in batches(torch.float32)
    ]
    monkeypatch.setattr(f"{__name__}.batches", lambda *_: last)
    outcomes, counts = [], []
    for layout in (False, True):
        given = made(module, 1, torch.float32)
        step = graph_step(module, component, 1, given, channels_last=layout)
        outcomes.append(stepped(step, given[0], torch.float32))
        counts.append(kernels(step.program))
    one, other = outcomes
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert counts[0] - counts[1] >= 19  # as many as there are convolutions


def test_nothing_is_collected_while_a_graph_is_recorded(monkeypatch):
    # A pretended torch.cuda, which records nothing.
    collects, cuda = [], MagicMock()
    cuda.graph.return_value.__enter__.side_effect = lambda *_: collects.append(gc.isenabled())
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    collected = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(1))
    weights = torch.zeros(3)
    captured = Captured(lambda each: (each.add_(1),), [weights])
    captured._capture(MagicMock())
    assert collects == [False] and gc.isenabled() and not collected and not weights.any()


def test_every_parameter_begins_where_wide_reads_can():
    module = network_of("buffers")
    places = Places.of(made(module, 3, torch.float32)[0].parameters, channels_last=False)
    assert all(place.begin % 4 == 0 for place in places.each.values()) and places.width % 4 == 0
    assert {place.filled - place.shape.numel() for place in places.each.values()} == {0, 1, 3}
