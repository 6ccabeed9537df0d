import dataclasses
import pickle

import pytest

from tests.trials.toys import toy_recipe
from trials.tasks import Checkpoint, Component, Execution, Metric, Recipe

FULL = {
    "network": Component(name="resnet20", arguments={"shortcut": "conv"}),
    "checkpoint": Checkpoint(file="s3://bucket/net.pt", leave_out=("head.*",), sha256="abc"),
    "dataset": Component(name="own.data:load", arguments={"root": "here", "augment": True, "sizes": [1, 2]}),
    "pruner": Component(name="random"),
    "pruning_rate": 0.1 + 0.2,
    "keep": ("head.*", "conv.weight"),
    "also": ("embedding.*",),
    "retraining": "fine_tuning",
    "length": 63_000,
    "unit": "iterations",
    "batch_size": 128,
    "evaluate_every": 391,
    "optimizer": Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4}),
    "schedule": Component(name="warmup_drops", arguments={"warmup": 10_000, "drops": [20_000, 25_000]}),
    "seed": 2**62,
    "loop": Component(name="mine:train", arguments={"smoothing": 0.1}),
    "loss": Component(name="torch.nn.functional:mse_loss"),
    "clip": 1.0,
    "over": "clip",
    "max_lr": 0.1,
    "metric": Metric(name="rmse", function=Component(name="mine:rmse"), goal="min"),
    "execution": Execution(pack_size=16, compiled=True, channels_last=True),
    "rewind_to": 2_000,
    "precision": "bf16",
    "diagnostics": True,
    "device": "cuda",
    "threads": 3,
}


def test_the_full_example_sets_every_field():
    plain = toy_recipe()
    assert set(FULL) == {field.name for field in dataclasses.fields(Recipe)}
    assert all(value != getattr(plain, name) for name, value in FULL.items())


def test_every_default_is_written():
    assert set(toy_recipe().to_dict()) == {field.name for field in dataclasses.fields(Recipe)}
    assert toy_recipe().to_dict()["network"] == {"name": "fc", "arguments": {}}


def test_what_is_written_is_no_view_of_the_recipe():
    recipe = Recipe(**FULL)
    recipe.to_dict()["dataset"]["arguments"]["sizes"].append(3)
    assert recipe.dataset.arguments["sizes"] == [1, 2]


def test_travels_to_a_worker_and_stays_as_it_is():
    recipe = Recipe(**FULL)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1
