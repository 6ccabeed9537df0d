"""Specs as people spoil them: valid, or refused in one clear line for each fault, with no traceback.

``ORACLE_TESTS_THOROUGH=1`` tries 500; each is known by its number.
"""

import copy
import random

import pytest
from ruamel.yaml import YAML

from oracle.testing.sessions import SMALL
from tests.effort import THOROUGH, numbers
from trials.engine.choose import ChosenExecution
from trials.tasks import Execution

COUNT = 500 if THOROUGH else 30

TRAINING = {"epochs": 2, "batch_size": 64, "pack": 1, "compile": False}
BASES = [
    {
        **SMALL,
        "training": {
            **TRAINING,
            "optimizer": {"name": "sgd", "arguments": {"momentum": 0.9, "nesterov": True}},
            "schedule": {"name": "warmup_drops", "arguments": {"warmup": 1, "drops": [1.5]}},
        },
        "pruning": {"pruner": "global_gradient", "rate": 0.2, "keep": ["layers.1.*"]},
        "resources": {"workers": 1, "cpus": 1, "time_limit": 60},
        "observers": [{"name": "tensorboard", "arguments": {"folder": "runs"}}],
        "tolerance": 0.005,
    },
    {
        **SMALL,
        "network": "resnet20",
        "dataset": {
            "name": "synthetic",
            "arguments": {"shape": [3, 8, 8], "train_size": 40, "validation_size": 8, "test_size": 8},
        },
        "training": {**TRAINING, "batch_size": 8, "schedule": "cosine"},
        "pruning": {"pruner": {"name": "l1_filter"}, "rate": 0.1},
        "retraining": "lr_rewinding",
    },
    {
        **SMALL,
        "dataset": {
            "name": "image_folder",
            "arguments": {"root": "pictures", "stream": True, "augment": True},
        },
        "training": {**TRAINING, "batch_size": 8, "optimizer": "adam"},
        "policy": {"name": "fixed", "arguments": {"max_lr": 0.1}},
    },
    {
        **SMALL,
        "training": TRAINING,
        "variants": {
            "a": {"policy": "silo", "training": {"iterations": 9}},
            "b": {"grid": {"values": [0.1, 0.2]}, "network": {"arguments": {"hidden": [4]}}},
        },
    },
]

ODD = [
    *(None, True, False, -1, 0, 0.5, 3, 3.7, 1000, 1e30, 10**20, float("nan"), float("inf"), "nan"),
    *("", " ", "no", "off", "1e-3", "0,5", "50 %", "true", "None", "é" * 3, "a\0b", "x" * 300, "a\nb"),
    *("${NO_SUCH}/x", "~nobody/x", "/proc/x", "mysql://u:p@h/d", "sqlite:///${NO_SUCH}.db", "s3:/b", "s3://"),
    *("mynets.py:Net", "torch.optim:NAdam", "torch.nn:Linear", "os:getcwd", "a:b:c", ":", "fcc", "math:pi"),
    *([], {}, [1], [None], [[1, 2]], {"name": 3}, {"name": "fc", "arguments": []}, {"arguments": {"x": 1}}),
    *({3: 4}, {"a": {"b": {"c": 1}}}, ["fc"], [0.1, 0.2], [0.2, 0.1], [True, "no"]),
]


def places(part, path=()):
    """The path of each value in a spec."""
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(part, path):
    for key in path:
        part = part[key]
    return part


def spoil(spec, draw):
    """Changes one thing, as often as not what is called by name, or an argument of that."""
    paths = list(places(spec))
    called = [
        path for path in paths if {"arguments", "name", "pruner", "network", "schedule"} & set(path[-3:])
    ]
    path = draw.choice(called if called and draw.random() < 0.5 else paths)
    parent, key = at(spec, path[:-1]), path[-1]
    way = draw.choice(["value"] * 5 + ["leave out", "misspell", "wrap", "add", "swap"])
    if way == "value":
        parent[key] = copy.deepcopy(draw.choice(ODD))
    elif way == "leave out":
        del parent[key]
    elif way == "misspell" and isinstance(parent, dict):
        parent[draw.choice([str(key)[:-1], f"{key}s", str(key).upper(), f"{key} "])] = parent.pop(key)
    elif way == "wrap":
        parent[key] = draw.choice(
            [[parent[key]], {"name": parent[key]}, {key: parent[key]}, str(parent[key])]
        )
    elif way == "swap":
        other = draw.choice(list(places(spec)))
        if other[: len(path)] != path and path[: len(other)] != other:
            parent[key], at(spec, other[:-1])[other[-1]] = at(spec, other), parent[key]
    elif isinstance(parent, dict):
        parent[draw.choice(["extra", "nmae", "arguments", "root", "seed", "width"])] = draw.choice(ODD)


def garble(data, draw):
    """Changes the text of the YAML: a byte, or a line."""
    if draw.random() < 0.5:
        place = draw.randrange(len(data))
        return (
            data[:place]
            + draw.choice([b"", b":", b"{", b"\t", b"- ", b"\xe9", b"\n", b"'", b"&a "])
            + data[place + 1 :]
        )
    lines = data.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return b"".join(lines)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a few images and modules; ways to compute are chosen without measuring."""
    from tests.trials.test_image_folder import write_split

    for name in ("train", "val", "test"):
        write_split(tmp_path / "pictures", name, count=4)
    quick = ChosenExecution(execution=Execution(), reason="", graphs=())
    monkeypatch.setattr("oracle.preflight.choose_execution", lambda *_: quick)
    return tmp_path


@pytest.mark.parametrize("number", numbers(COUNT))
def test_a_spoilt_spec_is_valid_or_refused_in_clear_lines(call, here, number):
    draw = random.Random(number)
    spec = copy.deepcopy(draw.choice(BASES))
    faults = draw.choice([1, 1, 1, 2, 3])
    for _ in range(faults):
        spoil(spec, draw)
    with (here / "spec.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(spec, stream)
    if draw.random() < 0.2:
        (here / "spec.yaml").write_bytes(garble((here / "spec.yaml").read_bytes(), draw))
    before = sorted(here.iterdir())
    code, out, err = call("validate", "spec.yaml")
    assert sorted(here.iterdir()) == before, "something was made"
    lines = err.splitlines()
    assert code in (0, 2, 3) and "Traceback" not in out + err
    if code == 0 or (code == 3 and out):  # it is valid, and can't run here
        assert out.startswith("spec.yaml: valid.")
    else:
        assert 1 <= len(lines) <= 12 and all(line.startswith("oracle: ") for line in lines), err
        assert all(20 < len(line) < 900 for line in lines), err
