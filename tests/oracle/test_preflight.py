"""What is looked at before a search starts: the device, the spec under which a search failed, the variant."""

import json
from typing import ClassVar

import pytest
import torch
from ruamel.yaml import YAML

from oracle.identity import differences, identity
from oracle.ledger import Ledger
from oracle.spec import Spec
from oracle.spec_parts import RECORDED
from tests.support import small_data
from tests.trials.test_image_folder import write_split
from trials.datasets import Dataset, Split
from trials.runner import Runner
from trials.tasks import Failed


def test_a_gpu_that_is_not_there_is_refused_in_this_process(call, write, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = call("run", write(resources={"gpus": 0.5}), "--driver", "in-process")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("oracle: resources.gpus: a worker needs 0.5 GPU")
    assert "no CUDA device" in err and "set gpus to 0" in err
    assert not (tmp_path / "ledger.db").exists()


@pytest.fixture
def failed(call, write, tmp_path, monkeypatch):
    """A search all of whose trials failed."""
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", lambda *_: Failed(error="the GPU fell off"))
        code, _, err = call("run", write(), "--driver", "in-process")
    assert code == 1 and "the GPU fell off" in err


def test_a_search_without_results_takes_any_spec(failed, call, write, tmp_path):
    grid = {"low": 0.02, "high": 0.2, "points": 3, "scale": "linear", "extend": False}
    spec_file = write(training={"epochs": 1, "batch_size": 128, "pack": 1}, grid=grid, cycles=2, seed=7)
    code, _, err = call("run", spec_file, "--driver", "in-process")
    assert code == 0, err
    ledger = Ledger(small_data(tmp_path)["ledger"])
    rows = [row for _, study in ledger._cycle_studies("small") for row in study.trials]
    record = ledger.search("small")
    ledger.close()
    assert {row.state.name for row in rows} == {"COMPLETE"} and len(rows) == 2 * 3 * 2
    assert record.spec["seed"] == record.identity["spec"]["seed"] == 7
    code, out, err = call("run", spec_file, "--driver", "in-process", "--json")
    assert code == 0, err
    assert json.loads(out)["trials"] == 12


def test_the_weights_that_it_begins_with_are_stored_before_any_worker_starts(failed, tmp_path):
    stored = (tmp_path / "networks/small/cycle-00").glob("replicate-*/start.safetensors")
    assert {path.parent.name for path in stored} == {"replicate-0", "replicate-1"}


def test_a_search_without_results_may_have_fewer_cycles(failed, call, write):
    code, _, err = call("run", write(cycles=1), "--driver", "in-process")
    assert code == 0, err


def test_one_result_is_enough_to_refuse_another_spec(failed, call, write, tmp_path):
    assert call("run", write(cycles=1), "--driver", "in-process")[0] == 0
    code, _, err = call("run", write(cycles=1, seed=7), "--driver", "in-process")
    assert code == 3 and "seed: 0 -> 7" in err


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("run", "--driver", "in-process")])
def test_what_cannot_be_built_is_named_with_its_variant_and_its_name(call, tmp_path, command):
    cyclical = {"name": "cyclical", "arguments": {"low": 0.1, "step": 5000}}
    variants = {"plain": {}, "up.down": {"training": {"schedule": cyclical}}}
    YAML(typ="safe").dump(small_data(tmp_path, variants=variants), tmp_path / "two.yaml")
    code, _, err = call(command[0], "two.yaml", *command[1:])
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(
        "oracle: two.yaml: variants.up.down: training.schedule 'cyclical': schedule.step must lie between"
    )


def test_a_spec_that_has_changed_shows_no_secret():
    old, new = ({"dataset": {"arguments": {"token": f"hf_{word}", "size": word}}} for word in ("old", "new"))
    assert differences(old, new) == [
        'dataset.arguments.size: "old" -> "new"',
        'dataset.arguments.token: "***" -> "***"',
    ]


def test_an_identity_holds_no_secret_and_outlives_a_new_one(tmp_path):
    found = [
        identity(
            Spec.model_validate(
                small_data(tmp_path, dataset={"name": "digits", "arguments": {"hub_token": token}}),
                context=RECORDED,
            ),
            fingerprint="f",
            classes=2,
            validation=3,
            code={},
            initial=(),
        )
        for token in ("token-of-old", "token-of-new")
    ]
    assert found[0] == found[1] and "token-of" not in str(found)


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_where_the_data_come_from_and_what_is_left_out_is_said(call, write, tmp_path, command):
    for name, count in (("train", 12), ("val", 4), ("test", 4)):
        write_split(tmp_path / "pictures", name, count=count)
    (tmp_path / "pictures" / "train" / "cat" / "a.heic").write_text("?")
    changes = {"training": {"epochs": 1, "batch_size": 8, "pack": 1, "compile": False}, "cycles": 1}
    spec_file = write(dataset={"name": "image_folder", "arguments": {"root": "pictures"}}, **changes)
    code, out, err = call(command, spec_file)
    assert code == 0, err
    assert "2 classes, 40 images; 8 decide, those of pictures/val" in out
    assert "left out: 1 files that end with .heic" in out


def test_a_training_that_never_ends_is_refused(call, write):
    code, _, err = call("validate", write(training={"epochs": 2_000_000, "batch_size": 1}))
    assert (
        code == 2
        and err.count("\n") == 1
        and "2,000,000 epochs is " in err
        and "take at most 20,000,000" in err
    )


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("Two", "in training mode it gives a tuple for 4 inputs"),
        ("Fading", "the same step comes out otherwise after others"),
        (
            "OwnGenerator",
            "its initial weights are others each time that it is built; draw them by the global",
        ),
    ],
)
@pytest.mark.parametrize("command", [("validate",), ("plan",), ("run", "--driver", "in-process")])
def test_a_network_that_is_not_the_same_each_time_is_refused_in_a_line(
    call, write, tmp_path, command, network, words
):
    code, _, err = call(command[0], write(network=f"tests.trials.selves:{network}"), *command[1:])
    assert code == 2 and err.count("\n") == 1
    assert f"network 'tests.trials.selves:{network}': {words}" in err
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize("network", ["Alike", "AlikeByNumpy"])
def test_replicates_that_begin_alike_are_warned_of(call, write, network):
    spec_file = write(network=f"tests.trials.selves:{network}", cycles=1)
    line = f"network 'tests.trials.selves:{network}': replicates begin with the same initial weights"
    code, out, err = call("validate", spec_file)
    assert code == 0 and ": valid." in out and line in err
    code, out, _ = call("plan", spec_file)
    assert code == 0 and f"warning      {line}" in out
    code, _, err = call("run", spec_file, "--driver", "in-process")
    assert code == 0 and line in err
    assert call("validate", write(network="tests.trials.selves:Drawn"))[2] == ""


class SharedByAll:
    """A metric whose list is the class's: every score is one of all before."""

    seen: ClassVar = []

    def update(self, outputs, targets):
        self.seen.append(float((outputs.argmax(1) == targets).float().mean()))

    def compute(self):
        return sum(self.seen) / len(self.seen) + len(self.seen)


def above_or_below(outputs, targets):
    """Below 0 for outputs of zeros, as R² is."""
    return float((outputs.argmax(1) == targets).float().mean()) - 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"metric": {"name": "q", "function": f"{__name__}:SharedByAll"}, "tolerance": 0.1},
            "gives another number for the same outputs and targets",
        ),
        (
            {"metric": {"name": "q", "function": f"{__name__}:above_or_below"}, "tolerance": "1 %"},
            "tolerance: a share of the best q needs scores above 0, got -0.",
        ),
    ],
)
@pytest.mark.parametrize("command", [("validate",), ("run", "--driver", "in-process")])
def test_a_metric_that_can_t_decide_is_refused_before_anything_is_trained(
    call, write, tmp_path, command, changes, words
):
    code, _, err = call(command[0], write(**changes, silo=None), *command[1:])
    assert code == 2 and err.count("\n") == 1 and words in err
    assert not (tmp_path / "ledger.db").exists()


DECAY = "training.optimizer.arguments.weight_decay"
MOMENTUM = "training.optimizer.arguments.momentum"


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (
            {"over": MOMENTUM, "values": [0.5, 0.9, 1.5], "extend": False},
            "momentum can't be 1.5, which",
        ),
        (
            {"over": MOMENTUM, "low": 0.5, "high": 0.9, "points": 3, "scale": "linear"},
            "momentum can't be 1.1",
        ),
        ({"over": DECAY.replace("decay", "decoy"), "values": [0.1, 0.2]}, "did you mean 'weight_decay'?"),
        ({"over": DECAY, "values": [0, 0.1]}, "grid.values: must be above 0, as neighbours are compared"),
        ({"over": "pruning.rate", "values": [0.1, 0.2]}, "grid.over: must name a number of the training"),
    ],
)
def test_every_value_of_another_number_is_tried_before_anything_is_trained(call, write, grid, words):
    training = {"epochs": 1, "batch_size": 64, "max_lr": 0.1}
    code, _, err = call("validate", write(grid=grid, training=training, silo=None))
    assert code == 2 and err.count("\n") == 1 and words in err
    fine = {"over": MOMENTUM, "values": [0.5, 0.9], "extend": False}
    assert call("validate", write(grid=fine, training=training, silo=None))[0] == 0
    clip = {"over": "training.clip", "values": [0.1, 1], "extend": False}
    assert call("validate", write(grid=clip, training=training, silo=None))[0] == 0


INPUTS = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))


def splits(validation, test, targets=None):
    targets = INPUTS[:, 0] if targets is None else targets
    chosen = {"train": range(60), "validation": validation, "test": test}
    return Dataset(
        **{name: Split(inputs=INPUTS[list(of)], labels=targets[list(of)]) for name, of in chosen.items()}
    )


def apart(*, seed):
    return splits(range(60, 90), range(90, 120))


def remembered(*, seed):
    return splits(range(40, 70), range(90, 120))


def told_twice(*, seed):
    return splits(range(60, 90), range(80, 120))


def column(*, seed):
    return splits(range(60, 90), range(90, 120), INPUTS[:, :1])


@pytest.mark.parametrize(
    ("data", "warned"),
    [
        (
            "remembered",
            ["20 of 30 validation examples are in the train split", "(4, 1) and the targets (4,)"],
        ),
        ("told_twice", ["10 of 40 test examples are in the validation split", "(4, 1) and the targets (4,)"]),
        ("apart", ["outputs (4, 1) and the targets (4,) are as many numbers in other shapes"]),
        ("column", []),
    ],
)
def test_what_is_mostly_not_meant_is_warned_of(call, write, data, warned):
    spec_file = write(
        dataset=f"{__name__}:{data}",
        network={"name": "fc", "arguments": {"hidden": [4], "num_classes": 1}},
        training={"epochs": 1, "batch_size": 20, "loss": f"{__name__}:squared"},
        metric={"name": "rmse", "function": f"{__name__}:squared", "goal": "min"},
        tolerance="5 %",
        silo=None,
        cycles=1,
    )
    code, out, err = call("validate", spec_file)
    assert code == 0 and ": valid." in out and err.count("\n") == len(warned), err
    assert all(words in err for words in warned)


def squared(outputs, targets):
    return (outputs - targets).square().mean()
