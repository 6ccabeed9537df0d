"""Candidates that are values of another field than the peak learning rate."""

from dataclasses import replace

import pytest

from tests.trials.toys import toy_recipe
from trials.runner import Runner
from trials.tasks import Component, TrainPack

SGD = Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4})


def trained(tmp_path, recipe, values):
    runner = Runner(recipe, storage=str(tmp_path))
    found = runner.run(TrainPack(cycle=0, replicate=0, max_lrs=values, start=None))
    assert isinstance(found, tuple), found
    return found


@pytest.mark.parametrize(
    ("over", "values", "changed"),
    [
        (
            "optimizer.arguments.weight_decay",
            (1e-3, 0.1),
            lambda value: {"optimizer": replace(SGD, arguments={**SGD.arguments, "weight_decay": value})},
        ),
        ("batch_size", (16.0, 64.0), lambda value: {"batch_size": int(value)}),
        ("length", (1.0, 2.0), lambda value: {"length": int(value)}),
        ("clip", (0.01, 1.0), lambda value: {"clip": value}),
        (
            "loss.arguments.label_smoothing",
            (0.05, 0.4),
            lambda value: {"loss": Component(name="cross_entropy", arguments={"label_smoothing": value})},
        ),
    ],
)
def test_a_candidate_is_trained_as_a_recipe_with_its_value(tmp_path, over, values, changed):
    given = {
        "network": Component(name="fc", arguments={"hidden": [8]}),
        "optimizer": SGD,
        "length": 1,
        "schedule": Component(name="cosine"),
    }
    recipe = toy_recipe(**given, over=over, max_lr=0.05)
    found = trained(tmp_path / "over", recipe, values)
    assert [each.max_lr for each in found] == list(values)
    assert found[0].checkpoint.sha256 != found[1].checkpoint.sha256
    for index, (value, one) in enumerate(zip(values, found, strict=True)):
        alone = toy_recipe(**given | changed(value))
        (other,) = trained(tmp_path / str(index), alone, (0.05,))
        assert (one.score, one.test_score, one.train_loss) == (
            other.score,
            other.test_score,
            other.train_loss,
        )
        assert one.checkpoint.sha256 == other.checkpoint.sha256


def loop(network, training, *, rounds, scale):
    return rounds * scale + training.max_lr


def test_a_loop_is_given_its_argument(tmp_path):
    own = Component(name=f"{__name__}:loop", arguments={"rounds": 2, "scale": 0.01})
    network = Component(name="fc", arguments={"hidden": [8]})
    recipe = toy_recipe(network=network, loop=own, over="loop.arguments.scale", max_lr=0.5)
    assert [each.score for each in trained(tmp_path, recipe, (0.1, 0.2))] == [2 * 0.1 + 0.5, 2 * 0.2 + 0.5]
