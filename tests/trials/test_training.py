"""The training of a pack: its steps, and the validation whose weights are kept."""

import dataclasses
import itertools

import pytest
import torch

from silo.errors import InvalidInput
from tests.trials.toys import (
    Dropping,
    assert_bitwise_equal,
    double,
    random_masks,
    toy_data,
    toy_network,
    toy_recipe,
    train,
    watch,
)
from trials.datasets import Dataset, Split
from trials.engine import StackedNetwork
from trials.engine import engine as engines
from trials.engine.engine import Engine
from trials.objectives import RightAnswers
from trials.process import generator
from trials.tasks import Component, Metric
from trials.training import batches, training_steps

EPOCHS = 8
RATES = [0.02, 0.1, 0.3]


def numbered(count=27, augment=False):
    """Images that tell by their first pixel which one they are."""
    data = toy_data(shape=(1, 4, 4), train=count, classes=3)
    data.train.inputs[:, 0, 0, 0] = torch.arange(count)
    data.train.labels.copy_(torch.arange(count) % 3)
    return dataclasses.replace(data, augment=augment)


def batches_of(data, recipe, *, cycle=0, replicate=0, steps=12):
    return list(batches(data, recipe, cycle=cycle, replicate=replicate, steps=steps))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"length": 3}, (18, 6, 6)),
        ({"length": 3, "evaluate_every": 2}, (18, 6, 12)),
        ({"length": 100, "unit": "iterations"}, (100, 6, 6)),
        ({"length": 100, "unit": "iterations", "evaluate_every": 7}, (100, 6, 7)),
        ({"length": 2, "batch_size": 50}, (2, 1, 1)),
    ],
)
def test_steps(changes, expected):
    assert training_steps(toy_recipe(**changes), 50) == expected


@pytest.mark.parametrize("unit", ["epochs", "iterations"])
def test_a_batch_larger_than_the_training_split_is_refused(unit):
    with pytest.raises(InvalidInput, match=r"batch_size 51 is larger than .* \(50 examples\)"):
        train(toy_network(), toy_data(), toy_recipe(batch_size=51, unit=unit), [0.1])


def test_an_epoch_is_a_permutation_without_its_incomplete_tail():
    data, left_out = numbered(27), set()
    drawn = batches_of(data, toy_recipe(batch_size=8), steps=30)
    assert len(drawn) == 30 and all(len(inputs) == len(labels) == 8 for inputs, labels in drawn)
    orders = []
    for epoch in range(10):
        part = drawn[3 * epoch : 3 * epoch + 3]
        numbers = torch.cat([inputs[:, 0, 0, 0] for inputs, _ in part]).long().tolist()
        assert len(set(numbers)) == 24
        assert torch.cat([labels for _, labels in part]).tolist() == [each % 3 for each in numbers]
        orders.append(numbers)
        left_out |= set(range(27)) - set(numbers)
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    assert len(left_out) > 10


def test_a_training_may_end_inside_an_epoch_and_a_longer_one_begins_alike():
    short, long = (batches_of(numbered(), toy_recipe(), steps=steps) for steps in (4, 12))
    assert len(short) == 4
    assert all(torch.equal(one[0], other[0]) for one, other in zip(short, long, strict=False))


@pytest.mark.parametrize("augment", [False, True])
def test_batches_differ_between_cycles_replicates_and_seeds(augment):
    data = numbered(augment=augment)
    first = batches_of(data, toy_recipe())
    for changes, where in [({}, {"cycle": 1}), ({}, {"replicate": 1}), ({"seed": 6}, {})]:
        other = batches_of(data, toy_recipe(**changes), **where)
        assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(first, other, strict=True))
    again = batches_of(data, toy_recipe(length=9, pack_size=4, optimizer=Component(name="other")))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))


def test_augmentation_moves_the_training_images_of_an_order_that_stays():
    plain, moved = (batches_of(numbered(augment=augment), toy_recipe()) for augment in (False, True))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(plain, moved, strict=True))
    assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(plain, moved, strict=True))


@pytest.mark.parametrize("augment", [False, True])
def test_the_candidates_of_a_cycle_see_the_same_batches(augment):
    data, steps = numbered(augment=augment), 9
    expected = [inputs for inputs, _ in batches_of(data, toy_recipe(), cycle=1, steps=steps)]
    for pack_size, trainings in ((1, 3), (3, 1)):
        module = toy_network(shape=(1, 4, 4), classes=3)
        _, seen = watch(module)
        train(module, data, toy_recipe(pack_size=pack_size), [0.1, 0.2, 0.4], cycle=1)
        assert len(seen) == trainings * steps
        assert all(torch.equal(inputs, expected[index % steps]) for index, inputs in enumerate(seen))


@pytest.mark.parametrize("pack_size", [1, 2])
@pytest.mark.parametrize("kind", ["exact", "float32"])
def test_the_same_call_twice_gives_the_same_bits(pack_size, kind):
    data, module = toy_data(), toy_network()
    start = double(module.state_dict())
    if kind == "float32":
        halves = {name: getattr(data, name) for name in ("train", "validation", "test")}
        splits = {key: Split(inputs=each.inputs.float(), labels=each.labels) for key, each in halves.items()}
        data, start = Dataset(**splits, num_classes=4, mean=(0.0,), std=(1.0,)), module.state_dict()
    recipe = toy_recipe(pack_size=pack_size)
    runs = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        runs.append(train(module, data, recipe, [0.05, 0.2], start=start, masks=random_masks(module)))
    for one, again in zip(*runs, strict=True):
        assert one.state["layers.0.weight"].dtype == start["layers.0.weight"].dtype
        assert_bitwise_equal(one, again)
    assert not torch.equal(runs[0][0].state["layers.0.weight"], runs[0][1].state["layers.0.weight"])


@pytest.mark.parametrize("make", [toy_network, Dropping])
def test_the_global_random_state_stays(make):
    before = torch.get_rng_state()
    train(make(), toy_data(), toy_recipe(), [0.1, 0.2])
    module = make()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    train(module, toy_data(), toy_recipe(), [0.1, 0.2])
    assert torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(before)


def test_a_training_on_the_cpu_leaves_the_gpus_alone(monkeypatch):
    def touched(*arguments, **keywords):
        raise AssertionError("a GPU was touched")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    train(Dropping(), toy_data(), toy_recipe(length=1), [0.1])


def test_candidates_draw_the_same_dropout_and_cycles_another():
    module = Dropping()
    same, other, again = train(module, toy_data(), toy_recipe(), [0.1, 0.3, 0.1])
    assert_bitwise_equal(same, again)
    assert not torch.equal(same.state["linear.weight"], other.state["linear.weight"])
    drawn = torch.stack(module.drawn).split(18)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert drawn[0].count_nonzero() < drawn[0].numel()
    for where in ({"cycle": 1}, {"replicate": 1}):
        module.drawn.clear()
        train(module, toy_data(), toy_recipe(), [0.1], **where)
        assert not torch.equal(torch.stack(module.drawn), drawn[0])


def test_dropout_in_a_pack_is_refused_loudly():
    with pytest.raises(RuntimeError, match="random operation"):
        train(Dropping(), toy_data(), toy_recipe(pack_size=2), [0.1, 0.3])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"length": 2}, ["tttttt", "tttttt", ""]),
        ({"length": 3, "evaluate_every": 2}, ["tttttttttttt", "tttttt", ""]),
        ({"length": 7, "unit": "iterations", "evaluate_every": 3}, ["ttt", "ttt", "t", ""]),
        ({"length": 7, "unit": "iterations"}, ["tttttt", "t", ""]),
        ({"length": 1, "evaluate_every": 9}, ["tttttt", ""]),
    ],
)
def test_when_it_validates(changes, expected):
    for pack_size in (1, 2):
        module = toy_network()
        modes, _ = watch(module)
        train(module, toy_data(), toy_recipe(pack_size=pack_size, **changes), [0.1, 0.2][:pack_size])
        assert "".join(modes) == "e".join([*expected, ""])  # the last is the test split's


def test_batches_are_augmented_as_the_data_set_says():
    data = toy_data(shape=(1, 8, 8), augment=True, kind=Dataset)
    plain = dataclasses.replace(data, augment=False)
    crops = dataclasses.replace(data, augmentation="pad_crop")
    recipe = toy_recipe()
    (inputs, labels), _ = batches(crops, recipe, cycle=1, replicate=0, steps=2)
    (unchanged, same), _ = batches(plain, recipe, cycle=1, replicate=0, steps=2)
    assert torch.equal(labels, same) and not torch.equal(inputs, unchanged)
    noise = generator(recipe.seed, 0, 1, "augment")
    assert torch.equal(inputs, crops.normalise(crops.augmented(unchanged, noise)))


@pytest.fixture(params=[1, len(RATES)], ids=["alone", "packed"])
def outcomes(request):
    """A whole training, and those of its beginnings that end with their one validation."""
    data, module = toy_data(noise=2.5), toy_network()
    pack_size = request.param
    whole = train(module, data, toy_recipe(length=EPOCHS, pack_size=pack_size), RATES)
    beginnings = [
        train(module, data, toy_recipe(length=epochs, evaluate_every=epochs, pack_size=pack_size), RATES)
        for epochs in range(1, EPOCHS + 1)
    ]
    return whole, beginnings


def test_the_weights_and_both_accuracies_are_those_of_the_best_validation(outcomes):
    whole, beginnings = outcomes
    ties, early = 0, 0
    for index, outcome in enumerate(whole):
        accuracies = [beginning[index].score for beginning in beginnings]
        best = accuracies.index(max(accuracies))
        chosen = beginnings[best][index]
        assert outcome.score == max(accuracies) == chosen.score
        assert outcome.best_step == (best + 1) * 6
        assert outcome.test_score == chosen.test_score
        assert all(torch.equal(tensor, chosen.state[name]) for name, tensor in outcome.state.items())
        ties += accuracies.count(max(accuracies)) > 1
        early += best + 1 < EPOCHS
    assert ties and early, "the data is too easy: nothing ties or nothing stops early"


@pytest.mark.parametrize("goal", ["max", "min"])
@pytest.mark.parametrize("pack_size", [1, len(RATES)])
def test_the_first_among_equals_by_script(pack_size, goal, monkeypatch):
    script = iter([[3, 4, 0], [5, 4, 0], [5, 1, 0], [2, 6, 0]])
    by_copy = [iter(column) for column in zip(*script, strict=True)]
    genuine = Engine.scores
    data, module = toy_data(), toy_network()
    started = 0

    def scripted(self, copies, data, split):
        nonlocal started
        if split is not data.validation:
            started += 1
            return genuine(self, copies, data, split)
        columns = by_copy if pack_size > 1 else by_copy[started : started + 1]
        right = torch.tensor([next(column) for column in columns], dtype=torch.float64)
        scores = right / 23 if goal == "max" else 1 - right / 23
        return scores, torch.ones(len(columns), dtype=torch.bool)

    monkeypatch.setattr(Engine, "scores", scripted)
    recipe = toy_recipe(length=4, pack_size=pack_size, metric=Metric(goal=goal))
    found = train(module, data, recipe, RATES)
    assert [outcome.best_step for outcome in found] == [12, 24, 6]
    best = [5 / 23, 6 / 23, 0.0]
    assert [outcome.score for outcome in found] == [each if goal == "max" else 1 - each for each in best]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("size", [1, 7, 23, 1024])
def test_splits_are_counted_whole_in_any_portions(together, size):
    data, module = toy_data(), toy_network()
    copies = StackedNetwork.of(module, double(module.state_dict()), 2, torch.device("cpu"))
    copies.flat[1] *= -1
    scores, finite = evaluated(module, copies, data, together, size)
    expected = []
    for index in range(2):
        plain = toy_network().double().eval()
        plain.load_state_dict(copies.state(index))
        expected.append((plain(data.validation.inputs).argmax(1) == data.validation.labels).sum().item())
    assert scores.tolist() == [right / 23 for right in expected] and expected[0] != expected[1]
    assert finite.tolist() == [True, True]
    copies.flat[1, 0] = float("inf")
    assert evaluated(module, copies, data, together, size)[1].tolist() == [True, False]


def evaluated(module, copies, data, together, size):
    outputs = engines.eager_outputs(module, copies, data, data.validation, together, size)
    return engines.scores_of(outputs, RightAnswers(2, torch.device("cpu")), 2)


def test_the_test_split_decides_nothing():
    data, module = toy_data(), toy_network()
    other = toy_data()
    other.test.labels.add_(1).remainder_(4)
    for one, two in zip(*(train(module, each, toy_recipe(), RATES) for each in (data, other)), strict=True):
        assert one.test_score != two.test_score
        object.__setattr__(two, "test_score", one.test_score)
        assert_bitwise_equal(one, two)
