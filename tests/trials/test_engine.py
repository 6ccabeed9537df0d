"""The compiled step: the same numbers as the eager one, for every network and optimizer that it takes."""

from collections import Counter

import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.support import needs_compiler
from tests.trials.toys import (
    assert_same_outcome,
    double,
    random_masks,
    toy_data,
    toy_network,
    toy_recipe,
    train,
)
from trials.datasets import Dataset, Split
from trials.engine import StackedNetwork, named_tensors
from trials.engine import engine as engines
from trials.engine.engine import (
    Engine,
    GraphEvaluation,
    evaluation_batch,
    largest_batch,
    worth_filling,
    worth_packing,
)
from trials.engine.graphs import Captured, as_traced, compile_all
from trials.engine.steps import GraphStep
from trials.objectives import CrossEntropy, RightAnswers
from trials.tasks import Component, Execution

RATES = [0.01, 0.02, 0.05]
NETWORKS = {
    "fc": (None, (6,)),
    "vit": ({"patch": 4, "width": 8, "layers": 1, "heads": 2, "mlp": 16}, (3, 8, 8)),
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
        "execution": Execution(pack_size=size, compiled=compiled),
    }
    return toy_recipe(**fields | changes)


def both(module, data, rates, compiler, size, **changes):
    """Outcomes compiled and eager, alone, under the same masks."""
    masks = random_masks(module)
    compiled = recipe(size, **changes)
    engine = Engine(module, compiled, compiler=compiler)
    ours = train(module, data, compiled, rates, masks=masks, engine=engine)
    theirs = train(module, data, recipe(1, compiled=False, **changes), rates, masks=masks)
    for one, other in zip(ours, theirs, strict=True):
        assert_same_outcome(one, other)
        for name, mask in masks.items():
            assert not one.state[name][~mask].any()
    return engine


@pytest.mark.parametrize("size", [1, 3], ids=["alone", "packed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_by_traced_steps_is_the_eager_one(name, size):
    arguments, shape = NETWORKS[name]
    module = toy_network(name, arguments, shape=shape)
    data = toy_data(shape=shape, train=16, validation=4, test=4)
    assert both(module, data, RATES[:size], as_traced, size).traced


@needs_compiler
@pytest.mark.parametrize("size", [1, 3], ids=["alone", "packed"])
def test_the_compiled_step_is_the_eager_one(size):
    module, data = Statistics(), toy_data(shape=(3, 8, 8))
    assert both(module, data, RATES[:size], compile_all, size, length=5).traced


@needs_compiler
def test_what_compiles_is_found_out_by_trying():
    assert reason_of(toy_network("fc"), size=3, compiler=compile_all) is None


def test_one_graph_serves_pack_after_pack_whatever_their_masks_and_sizes():
    module, data = toy_network("fc"), toy_data()
    shared = recipe(4, optimizer=Component(name="adam"))
    engine, alone = (
        Engine(module, shared, compiler=as_traced),
        recipe(1, compiled=False, optimizer=shared.optimizer),
    )
    for share, rates in ((0.9, RATES), (0.3, [0.1, 0.2, 0.3, 0.4]), (0.5, RATES[:1]), (0.5, RATES)):
        masks = random_masks(module, share)
        ours = train(module, data, shared, rates, masks=masks, engine=engine)
        theirs = train(module, data, alone, rates, masks=masks)
        for one, other in zip(ours, theirs, strict=True):
            assert_same_outcome(one, other)


def test_a_pack_of_less_than_a_quarter_is_not_filled_up_and_trains_as_each_does_alone():
    module, data = toy_network("fc"), toy_data()
    few, alone = recipe(8), recipe(1, compiled=False)
    engine = Engine(module, few, compiler=as_traced)
    found = train(module, data, few, RATES[:1], engine=engine)
    assert not engine.traced
    (expected,) = train(module, data, alone, RATES[:1])
    assert all(torch.equal(found[0].state[name], expected.state[name]) for name in expected.state)
    train(module, data, few, RATES[:2], engine=engine)
    assert engine.traced
    assert next(count for count in range(1, 17) if worth_filling(count, recipe(16).execution)) == 4


@pytest.mark.parametrize(("pack", "fewest"), [(2, 2), (4, 4), (16, 5)])
def test_few_copies_are_trained_one_after_another_where_nothing_is_compiled(pack, fewest):
    execution = Execution(pack_size=pack)
    assert [worth_packing(count, execution) for count in (fewest - 1, fewest)] == [False, True]


def test_the_last_pack_of_a_cycle_is_replayed_however_small_it_is():
    module, data = toy_network("fc"), toy_data()
    recorded = recipe(4, execution=Execution(pack_size=4, captured=True))
    engine = Engine(module, recorded)
    found = train(module, data, recorded, RATES[:1], engine=engine)
    assert engine.traced
    assert_same_outcome(found[0], train(module, data, recipe(1, compiled=False), RATES[:1])[0])


@pytest.mark.parametrize("compiled", [False, True], ids=["captured", "compiled and captured"])
@pytest.mark.parametrize("streams", [False, True], ids=["one graph", "a graph for each"])
def test_recorded_steps_are_the_eager_ones(streams, compiled):
    # On a CPU nothing is recorded: this is all around it.
    module, data = Statistics(), toy_data(shape=(3, 8, 8))
    execution = Execution(pack_size=4, captured=True, compiled=compiled, streams=streams)
    ours_recipe = recipe(4, execution=execution, optimizer=Component(name="adam"))
    engine = Engine(module, ours_recipe, compiler=as_traced)
    alone = recipe(1, compiled=False, optimizer=ours_recipe.optimizer)
    for share, rates in ((0.5, RATES[:1]), (0.9, RATES), (0.3, [0.01, 0.02, 0.03, 0.04])):
        masks = random_masks(module, share)
        ours = train(module, data, ours_recipe, rates, masks=masks, engine=engine)
        theirs = train(module, data, alone, rates, masks=masks)
        for one, other in zip(ours, theirs, strict=True):
            assert_same_outcome(one, other)
    assert engine.traced


def scores(outputs, count):
    return engines.scores_of(outputs, RightAnswers(count, torch.device("cpu")), count)


@pytest.mark.parametrize(
    ("shape", "dtype", "batch_size", "largest"),
    [
        ((3, 32, 32), torch.uint8, 128, 1024),
        ((3, 224, 224), torch.uint8, 32, 55),
        ((3, 224, 224), torch.float32, 256, 256),
        ((3, 4000, 4000), torch.uint8, 4, 4),
        ((512,), torch.int64, 8, 1024),
        ((2**20,), torch.int64, 1, 8),
        ((6,), torch.float32, 4096, 1024),
    ],
)
def test_a_validation_takes_so_many_bytes_at_a_time(shape, dtype, batch_size, largest):
    inputs = torch.zeros((), dtype=dtype).expand(5000, *shape)
    split = Split(inputs=inputs, labels=torch.zeros(5000, dtype=torch.int64))
    assert largest_batch(split, batch_size) == largest
    even = evaluation_batch(split, batch_size)
    assert even <= largest and -(-5000 // even) == -(-5000 // largest)


def test_no_batch_of_a_validation_is_larger(monkeypatch):
    monkeypatch.setattr(engines, "EVALUATION_BYTES", 10 * 6 * 4)
    module, data, seen = toy_network("fc"), toy_data(kind=Dataset), []
    module.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    given = recipe(1, compiled=False)
    train(module, data, given, RATES[:1], start=module.state_dict())
    assert max(seen) == 10 and given.batch_size == 8


@pytest.mark.parametrize("size", [1, 3])
def test_a_graph_counts_right_answers_as_the_eager_evaluation_does(size, monkeypatch):
    monkeypatch.setattr(engines, "EVALUATION_BATCH", 10)  # 23 and 29 examples: batches of 8, 8, 7 and 8, …, 5
    module, data = Statistics(), toy_data(shape=(3, 8, 8))
    copies = StackedNetwork.of(module, double(named_tensors(module)), size, torch.device("cpu"))
    copies.flat.add_(torch.randn(copies.flat.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
    assert evaluation_batch(data.validation, 8) == 8  # the last batch has 7, of the 29 to test on 5
    graph = GraphEvaluation(module, size, 8, vectorised=size > 1)
    (graph.program,) = as_traced([graph.traced(copies, data)])
    for count in {size, max(1, size - 1)}:
        some = StackedNetwork.of(module, double(named_tensors(module)), count, torch.device("cpu"))
        some.flat.copy_(copies.flat[:count])
        for split in (data.validation, data.test):
            expected, _ = scores(engines.eager_outputs(module, some, data, split, size > 1, 10), count)
            found, finite = scores(graph.outputs(some, data, split), count)
            assert found.tolist() == expected.tolist() and finite.all() and found.shape == (count,)
    copies.flat[0, 0] = float("nan")
    finite = scores(graph.outputs(copies, data, data.test), size)[1]
    assert finite.tolist() == [False, *[True] * (size - 1)]


def test_a_copy_that_diverges_is_not_replayed_again(monkeypatch):
    module, data = toy_network("fc"), toy_data()
    execution = Execution(pack_size=3, captured=True, streams=True)
    engine = Engine(module, recipe(3, execution=execution), compiler=as_traced)
    replayed = []
    genuine = Captured.__call__
    monkeypatch.setattr(Captured, "__call__", lambda self: (replayed.append(self), genuine(self))[1])
    trained = train(module, data, recipe(3, execution=execution), [0.01, 1e200, 0.05], engine=engine)
    counts = Counter(replayed)
    fewest, *others = sorted(counts.values())
    assert len(counts) == 3 and fewest < others[0] == others[1]
    alone = train(module, data, recipe(1, compiled=False), [0.01, 1e200, 0.05])
    for one, other in zip(trained, alone, strict=True):
        assert_same_outcome(one, other)


def test_notes_see_the_weights_of_every_epoch():
    module, data = toy_network("fc"), toy_data()
    changes = {"rewind_to": 1, "diagnostics": True, "length": 3, "evaluate_every": 3}
    compiled = recipe(3, **changes)
    ours = train(module, data, compiled, RATES, engine=Engine(module, compiled, compiler=as_traced))
    theirs = train(module, data, recipe(1, compiled=False, **changes), RATES)
    for one, other in zip(ours, theirs, strict=True):
        for name, tensor in one.rewind.items():
            torch.testing.assert_close(tensor, other.rewind[name], rtol=1e-9, atol=1e-9)
        norms = zip(one.diagnostics.gradient_norms, other.diagnostics.gradient_norms, strict=True)
        assert all(a == pytest.approx(b, rel=1e-9) for a, b in norms)


def reason_of(module, *, size=1, shape=(6,), compiler=as_traced, **changes):
    data = toy_data(shape=shape, kind=Dataset)
    return Engine(module, recipe(size, **changes), compiler=compiler).why_not(data)


@pytest.mark.parametrize("size", [1, 3])
def test_what_can_be_traced_is_found_out_by_trying(size):
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
        GraphStep(toy_network("fc"), CrossEntropy(), own, 2)
    assert "has no begin" in reason_of(toy_network("fc"), optimizer=own)
