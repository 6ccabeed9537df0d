"""The command as a user calls it: what it prints, what it exits with, and that it touches nothing in vain."""

import dataclasses
import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
from PIL import Image
from ruamel.yaml import YAML

import oracle
from oracle.ledger import Ledger
from oracle.spec_file import json_schema, parse_specs
from silo.errors import InvalidInput
from tests.support import small_spec


def ledger_digest(folder):
    return hashlib.sha256((folder / "ledger.db").read_bytes()).hexdigest()


@pytest.mark.slow  # the spec that is written is measured, and compiled
def test_init_writes_a_spec_that_is_valid_and_refuses_to_overwrite(call, tmp_path):
    code, out, _ = call("init", "mine.yaml")
    assert code == 0
    assert "oracle run mine.yaml" in out
    assert 'name: "mine"\n' in (tmp_path / "mine.yaml").read_text()
    code, out, err = call("validate", "mine.yaml")
    assert code == 0, err
    assert "21,450 parameters" in out
    code, _, err = call("init", "mine.yaml")
    assert (code, err) == (2, "oracle: mine.yaml: there is such a file already; name another one\n")


GIVEN = {
    "name": "x",
    "network": "fc",
    "dataset": "digits",
    "cycles": 3,
    "grid": {"low": 0.1, "high": 0.2, "points": 3},
    "training": {"epochs": 2},
}
SHORT = [
    {},
    {"cycles": None, "until": 0.1},
    {"until": None},
    {"policy": "oracle", "metric": "accuracy", "tolerance": "1 %", "observers": ["tensorboard"]},
    {"training": {"epochs": 2, "loss": "my:loss", "optimizer": "adam", "schedule": "cosine"}},
    {"training": {"loop": "my:loop", "arguments": {"width": 3}}},
    {"network": {"name": "fc", "checkpoint": "weights.pt"}, "pruning": {"pruner": "lamp", "keep": "head.*"}},
    {"variants": {"low": {"seed": 1}, "high": None}},
    {"training": None, "variants": {"short": {"training": {"epochs": 1}}}},
]
WRONG = [
    {"cycles": None},
    {"until": 0.1},  # beside cycles
    {"training": None},
    {"nework": "fc"},
    {"network": 3},
    {"variants": {}},
    {"variants": {"low": {"sed": 1}}},
    {"variants": {"low": {"name": "low"}}},
    {"retraining": "rewinding"},
]


@pytest.fixture(scope="module")
def schema():
    return jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("changes", SHORT, ids=str)
def test_the_schema_takes_short_forms_as_specs_do(schema, changes):
    given = {name: value for name, value in (GIVEN | changes).items() if value is not None or name == "until"}
    parse_specs(json.dumps(given))
    schema.validate(given)


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_the_schema_refuses_what_specs_refuse(schema, changes):
    given = {name: value for name, value in (GIVEN | changes).items() if value is not None}
    with pytest.raises(InvalidInput):
        parse_specs(json.dumps(given))
    assert not schema.is_valid(given)


def test_the_schema_is_printed_and_takes_every_example(schema, call):
    code, out, _ = call("schema")
    assert code == 0
    schema.check_schema(json.loads(out))
    assert json.loads(out) == schema.schema
    examples = sorted(Path(oracle.__path__[0], "examples").rglob("*.yaml"))
    assert len(examples) > 10
    for example in examples:
        schema.validate(YAML(typ="safe").load(example.read_text()))


def test_plan_counts_trainings_and_measures(call, write):
    code, out, err = call("plan", write(resources={"gpus": 1}), "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["trainings"] == 3 * 5 * 2
    assert plan["most_trainings"] == 3 * (5 + 4) * 2
    assert plan["seconds"] > 0
    assert plan["facts"]["steps"] == 2 * (1079 // 64)
    assert "1 GPU" in plan["missing"][0]
    code, out, _ = call("plan", write())
    assert "trainings    30; up to 54" in out
    assert (
        "pruning      by pruning.rate, 64 % of the prunable weights are left at the last cycle, m = 2" in out
    )
    plan = json.loads(call("plan", write(pruning={"rate": [0.5, 0.25]}), "--json")[1])
    assert (plan["last_cycle"], plan["last_density"]) == (2, pytest.approx(0.375))


def test_run_prints_the_comparison_and_writes_the_report(finished, call):
    report = finished / "networks/small/report"
    assert {path.name for path in report.iterdir()} >= {"report.html", "comparison.md", "comparison.csv"}
    code, out, _ = call("report", "spec.yaml", "--out", "elsewhere")
    assert code == 0
    assert "Oracle" in out
    assert "SILO's predicted curve is within 0.5 %" in out
    assert (finished / "elsewhere/report.html").exists()


def test_status_list_and_report_find_a_search_by_name(finished, call):
    url = f"sqlite:///{finished}/ledger.db"
    code, out, _ = call("status", "small", "--ledger", url, "--json")
    status = json.loads(out)
    assert code == 0
    assert (status["state"], status["cycles"]) == ("done", "3/3")
    code, out, _ = call("list", "--ledger", url, "--json")
    assert [found["name"] for found in json.loads(out)] == ["small"]
    code, out, _ = call("report", "small", "--ledger", url, "--json", "--out", "r")
    assert json.loads(out)["fit"]
    code, _, err = call("status", "smal", "--ledger", url)
    assert (code, err) == (3, "oracle: no search 'smal' in this ledger; there are: small\n")


def test_a_changed_spec_is_refused_with_what_changed_and_the_ledger_is_left_alone(finished, call, write):
    before = ledger_digest(finished)
    code, _, err = call("run", write(seed=7, tolerance=0.01), "--driver", "in-process")
    assert code == 3
    assert "tolerance: 0.005 -> 0.01" in err
    assert "seed: 0 -> 7" in err
    assert "a new name" in err
    assert len(err.splitlines()) == 1
    assert ledger_digest(finished) == before


def test_fewer_cycles_are_refused(finished, call, write):
    code, _, err = call("run", write(cycles=2), "--driver", "in-process")
    assert code == 3
    assert "cycles: 3 -> 2 (it may grow, not shrink)" in err


def test_what_changes_no_outcome_may_change(finished, call, write):
    code, _, err = call(
        "run", write(silo=None, resources={"workers": 2, "cpus": 1.5}), "--driver", "in-process"
    )
    assert code == 0, err


def test_a_second_driver_is_refused(finished, call, write):
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    with ledger.lease("small"):
        code, _, err = call("run", write(), "--driver", "in-process")
        _, out, _ = call("status", "spec.yaml", "--json")
    ledger.close()
    assert code == 3
    assert "is being run by process" in err
    assert json.loads(out)["state"] == "done"


def test_a_ledger_of_another_version_is_refused(finished, call, write):
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE oracle_schema SET version = 99")
    ledger.close()
    before = ledger_digest(finished)
    for command in (("run", write(), "--driver", "in-process"), ("status", "spec.yaml")):
        code, _, err = call(*command)
        assert code == 3
        assert "schema 99" in err
    assert ledger_digest(finished) == before


def pictures(folder, size=(8, 8), odd=None):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            place = folder / split / name
            place.mkdir(parents=True)
            for index in range(10):
                shape = odd if odd and (split, name, index) == ("train", "dog", 3) else size
                Image.new("RGB", shape, (index * 20, 10, 10)).save(place / f"{index}.png")
    return folder


def refused_specs(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "nan_data.py").write_text(
        "import torch\n"
        "from trials.datasets import Dataset, Split\n"
        "def broken(*, seed):\n"
        "    split = Split(inputs=torch.full((4, 2), float('nan')), labels=torch.zeros(4).long())\n"
        "    kinds = dict(train=split, validation=split, test=split)\n"
        "    return Dataset(**kinds, num_classes=2, mean=(0.,), std=(1.,))\n"
    )
    odd = pictures(tmp_path / "odd", odd=(9, 8))
    return {
        "unknown network": ({"network": "resnet21"}, 2, ["network 'resnet21'", "resnet20"]),
        "unknown argument": (
            {"network": {"name": "fc", "arguments": {"hiden": [3]}}},
            2,
            ["hiden", "hidden"],
        ),
        "unknown pruner": ({"pruning": {"pruner": "global_magnitud"}}, 2, ["pruner", "global_magnitude"]),
        "unknown data set": ({"dataset": "digit"}, 2, ["'digit'", "digits"]),
        "unknown schedule": ({"training": {"epochs": 1, "schedule": "warm"}}, 2, ["schedule 'warm'"]),
        "batch too large": (
            {"training": {"epochs": 1, "batch_size": 5000}},
            2,
            ["training.batch_size", "5000", "1079", "smaller"],
        ),
        "missing folder": (
            {"dataset": {"name": "image_folder", "arguments": {"root": "nowhere"}}},
            2,
            ["nowhere"],
        ),
        "wrong shape": (
            {"dataset": {"name": "image_folder", "arguments": {"root": str(odd)}}},
            2,
            ["3.png", "resize"],
        ),
        "nan": ({"dataset": "nan_data:broken"}, 2, ["train", "NaN"]),
        "too few weights": (
            {"pruning": {"rate": 0.9}, "cycles": 12},
            2,
            ["cycles", "of the", "weights that are left", "fewer cycles"],
        ),
        "argument of another type": (
            {"network": {"name": "fc", "arguments": {"hidden": None}}},
            2,
            ["network", "'hidden': None"],
        ),
        "a curve of nothing": ({"silo": {"epsilon": 0, "delta": 0}}, 2, ["silo", "above 0"]),
        "no such home": ({"storage": "~nosuchuser/x"}, 2, ["storage", "~nosuchuser/x"]),
        "ledger in memory": ({"ledger": "sqlite://"}, 2, ["ledger", "sqlite:///file.db"]),
        "ledger of another kind": ({"ledger": "mysql+pymysql://me:secret@h/d"}, 2, ["ledger", "postgresql"]),
        "storage of another kind": (
            {"storage": "http://me:secret@host/x"},
            2,
            ["storage", "http://me:***@host"],
        ),
        "network and data": ({"network": "vgg19"}, 2, ["(1, 8, 8)"]),
        "storage": ({"storage": str(tmp_path / "file/below")}, 3, ["storage", "file/below", "name a folder"]),
        "ledger": ({"ledger": "nonsense"}, 2, ["ledger", "sqlite:///"]),
        "ledger folder": ({"ledger": f"sqlite:///{tmp_path}/file/l.db"}, 3, ["ledger", "name another place"]),
        "ledger gone": (
            {"ledger": "postgresql+psycopg://me:secret@127.0.0.1:1/none"},
            3,
            ["ledger", "check that it runs"],
        ),
    }


def test_what_is_wrong_gets_one_line_its_exit_code_and_touches_nothing(call, write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ORACLE_LEDGER_PATIENCE", "0")
    for case, (changes, expected, words) in refused_specs(tmp_path).items():
        code, out, err = call("run", write(**changes), "--driver", "in-process")
        assert code == expected, (case, err)
        assert len(err.splitlines()) == 1, (case, err)
        assert err.startswith("oracle: "), (case, err)
        for word in words:
            assert word in err, (case, err)
        assert "secret" not in out + err
        assert not (tmp_path / "ledger.db").exists(), case


def test_wrong_usage_exits_with_2(call):
    code, _, err = call("run")
    assert code == 2
    assert "Missing argument" in err
    code, _, err = call("run", "none.yaml")
    assert code == 2
    assert "oracle init" in err


def test_a_trial_that_always_fails_ends_the_search_resumable(call, write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fragile.py").write_text(
        "import os\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, *, input_shape, num_classes):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, num_classes)\n"
        "    def forward(self, x):\n"
        "        if self.training and len(x) > 4 and os.path.exists('broken'):\n"
        "            raise RuntimeError('the GPU fell off')\n"
        "        return self.head(x.flatten(1))\n"
    )
    (tmp_path / "broken").write_text("")
    spec_file = write(network="fragile:Net", training={"epochs": 1, "batch_size": 64, "pack": 1})
    code, _, err = call("run", spec_file, "--driver", "in-process")
    assert code == 1
    assert "the GPU fell off" in err
    assert "run the same command again" in err
    _, out, _ = call("status", spec_file, "--json")
    assert json.loads(out)["state"] == "failed"
    assert "the GPU fell off" in json.loads(out)["error"]
    (tmp_path / "broken").unlink()
    code, _, err = call("run", spec_file, "--driver", "in-process")
    assert code == 0, err
    ledger = Ledger(small_spec(tmp_path).ledger)
    assert len(ledger.outcomes("small")) >= 30
    ledger.close()


def test_a_ledger_that_fails_in_the_middle_ends_the_run_in_words(call, write, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def gone(*_, **__):
        raise OperationalError("INSERT", {}, Exception("the server closed the connection"))

    monkeypatch.setattr(Ledger, "add_outcomes", gone)
    code, _, err = call("run", write(), "--driver", "in-process")
    assert code == 1
    assert "the ledger failed (the server closed the connection); no finished trial is lost" in err
    assert "Traceback" not in err


def test_an_optuna_study_of_ones_own_is_never_written_to(call, write, tmp_path):
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/ledger.db")
    optuna.create_study(study_name="small", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    code, _, err = call("run", write(), "--driver", "in-process")
    assert code == 3
    assert "an Optuna study 'small' that is no search's" in err


def test_a_database_password_is_recorded_nowhere(finished):
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    record = ledger.search("small")
    ledger.register(dataclasses.replace(record, spec=record.spec | {"ledger": "x"}))
    from oracle import preflight

    secret = "postgresql+psycopg://me:secret@host/db"
    spec = small_spec(finished).model_copy(update={"ledger": secret})
    facts = preflight.examine(spec, preflight.open_runner(spec))
    prepared = preflight.prepare(spec, facts, ledger)
    ledger.close()
    assert prepared.spec["ledger"] == "postgresql+psycopg://me:***@host/db"


def test_a_record_of_another_version_is_refused_in_words(finished, call):
    ledger = Ledger(f"sqlite:///{finished}/ledger.db")
    record = ledger.search("small")
    ledger.register(dataclasses.replace(record, spec=record.spec | {"newfield": 1}))
    ledger.close()
    url = f"sqlite:///{finished}/ledger.db"
    for command, expected in ((("status", "spec.yaml"), 3), (("list", "--ledger", url), 0)):
        code, _, err = call(*command)
        assert code == expected
        assert "newfield" in err
        assert len(err.splitlines()) == 1


def test_init_takes_any_name_that_a_search_may_have(call, tmp_path):
    assert call("init", "2024.yaml")[0] == 0
    assert call("init", "null.yaml")[0] == 0
    code, _, err = call("init", "y.yaml", "--name", "a\\q")
    assert code == 2
    assert "name" in err
