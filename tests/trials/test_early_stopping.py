"""The validation picks the epoch: whose weights are kept, whose accuracy is reported."""

import pytest
import torch

from tests.trials.toys import assert_bitwise_equal, double, toy_data, toy_network, toy_recipe, train
from trials.engine import StackedNetwork, evaluate
from trials.engine.engine import Engine

EPOCHS = 8
RATES = [0.02, 0.1, 0.3]


@pytest.fixture(params=[1, 8], ids=["alone", "packed"])
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
        accuracies = [beginning[index].accuracy for beginning in beginnings]
        best = accuracies.index(max(accuracies))
        chosen = beginnings[best][index]
        assert outcome.accuracy == max(accuracies) == chosen.accuracy
        assert outcome.best_step == (best + 1) * 6
        assert outcome.test_accuracy == chosen.test_accuracy
        assert all(torch.equal(tensor, chosen.state[name]) for name, tensor in outcome.state.items())
        ties += accuracies.count(max(accuracies)) > 1
        early += best + 1 < EPOCHS
    assert ties and early, "the data is too easy: nothing ties or nothing stops early"


def test_the_accuracies_are_shares_of_right_answers(outcomes):
    data, module = toy_data(noise=2.5), toy_network().double().eval()
    for outcome in outcomes[0]:
        module.load_state_dict(outcome.state)
        for split, accuracy in ((data.validation, outcome.accuracy), (data.test, outcome.test_accuracy)):
            with torch.no_grad():
                right = (module(split.inputs).argmax(1) == split.labels).sum().item()
            assert accuracy == right / len(split) and 0 < accuracy < 1


@pytest.mark.parametrize("pack_size", [1, 8])
def test_the_first_among_equals_by_script(pack_size, monkeypatch):
    script = iter([[3, 4, 0], [5, 4, 0], [5, 1, 0], [2, 6, 0]])
    by_copy = [iter(column) for column in zip(*script, strict=True)]
    genuine = Engine.count_correct
    data, module = toy_data(), toy_network()
    started = 0

    def scripted(self, copies, data, split):
        nonlocal started
        if split is not data.validation:
            started += 1
            return genuine(self, copies, data, split)
        columns = by_copy if pack_size > 1 else by_copy[started : started + 1]
        return torch.tensor([next(column) for column in columns]), torch.ones(len(columns), dtype=torch.bool)

    monkeypatch.setattr(Engine, "count_correct", scripted)
    found = train(module, data, toy_recipe(length=4, pack_size=pack_size), RATES)
    assert [outcome.best_step for outcome in found] == [12, 24, 6]
    assert [outcome.accuracy for outcome in found] == [5 / 23, 6 / 23, 0.0]


@pytest.mark.parametrize("pack_size", [1, 8])
def test_the_loss_is_the_mean_since_the_last_validation(pack_size):
    data, module = toy_data(), toy_network()
    steps = {"unit": "iterations", "evaluate_every": 1, "pack_size": pack_size}
    singles = [
        [outcome.train_loss for outcome in train(module, data, toy_recipe(length=length, **steps), RATES)]
        for length in range(1, 8)
    ]
    together = train(module, data, toy_recipe(length=7, **steps | {"evaluate_every": 4}), RATES)
    for index, outcome in enumerate(together):
        assert outcome.train_loss == pytest.approx(sum(row[index] for row in singles[4:]) / 3, rel=1e-12)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("size", [1, 7, 23, 1024])
def test_splits_are_counted_whole_in_any_portions(together, size, monkeypatch):
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", size)
    data, module = toy_data(), toy_network()
    copies = StackedNetwork.of(module, double(module.state_dict()), 2, torch.device("cpu"))
    copies.flat[1] *= -1
    correct, finite = evaluate.count_correct(module, copies, data, data.validation, together)
    expected = []
    for index in range(2):
        plain = toy_network().double().eval()
        plain.load_state_dict(copies.state(index))
        expected.append((plain(data.validation.inputs).argmax(1) == data.validation.labels).sum().item())
    assert correct.tolist() == expected and expected[0] != expected[1]
    assert finite.tolist() == [True, True]
    copies.flat[1, 0] = float("inf")
    assert evaluate.count_correct(module, copies, data, data.validation, together)[1].tolist() == [
        True,
        False,
    ]


def test_the_test_split_decides_nothing():
    data, module = toy_data(), toy_network()
    other = toy_data()
    other.test.labels.add_(1).remainder_(4)
    for one, two in zip(*(train(module, each, toy_recipe(), RATES) for each in (data, other)), strict=True):
        assert one.test_accuracy != two.test_accuracy
        object.__setattr__(two, "test_accuracy", one.test_accuracy)
        assert_bitwise_equal(one, two)
