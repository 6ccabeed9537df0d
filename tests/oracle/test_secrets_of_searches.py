"""A search whose components need secrets: they are given to its workers, and stand nowhere else."""

import shutil

import pytest
from pydantic import ValidationError

from oracle import Spec
from tests.support import small_data
from trials import secrets

MODULE = """
from trials.datasets.builtin import digits
from trials.networks.fc import FullyConnected

WORD = "open sesame, please"

def load(*, seed, login):
    assert login == {"auth": ["me", WORD], "url": f"https://me:{WORD}@host"}, "other arguments"
    return digits(seed=seed)

class Net(FullyConnected):
    def __init__(self, *, input_shape, num_classes, word):
        super().__init__(input_shape=input_shape, num_classes=num_classes, hidden=[8])
        self.word = word

    def forward(self, inputs):
        if self.training and len(inputs) == 64 and Net.refuses:
            raise RuntimeError(f"{self.word} is not the word")
        return super().forward(inputs)

    refuses = False
"""
LOGIN = {"auth": ["me", "${file:{folder}/word}"], "url": "https://me:${env:OPENING_WORD}@host"}


@pytest.fixture
def mine(tmp_path, write, monkeypatch):
    """The spec of a search with references, and what they stand for."""
    monkeypatch.setattr(secrets, "_known", set())
    monkeypatch.setenv("OPENING_WORD", "open sesame, please")
    (tmp_path / "word").write_text("open sesame, please\n")
    (tmp_path / "secretive.py").write_text(MODULE)
    login = {**LOGIN, "auth": ["me", f"${{file:{tmp_path}/word}}"]}
    return write(
        network={"name": "secretive:Net", "arguments": {"word": "${env:OPENING_WORD}"}},
        dataset={"name": "secretive:load", "arguments": {"login": login}},
        cycles=1,
        replicates=1,
        training={"epochs": 1, "batch_size": 64, "compile": False, "pack": 1},
    )


def leaks(folder):
    """The files in which the secret stands, beside those that have it."""
    have_it = {"word", "secretive.py"}
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name not in have_it
        if b"open sesame" in path.read_bytes() or b"open%20sesame" in path.read_bytes()
    ]


def test_what_references_stand_for_is_in_no_file_and_no_line(mine, tmp_path, call, monkeypatch):
    code, out, err = call("run", mine, "--driver", "in-process")
    assert code == 0, err
    assert "sesame" not in out + err and leaks(tmp_path) == []
    import secretive

    monkeypatch.setattr(secretive.Net, "refuses", True)
    monkeypatch.setenv("OPENING_WORD", "open sesame, please")
    (tmp_path / "ledger.db").unlink()
    shutil.rmtree(tmp_path / "networks")
    code, out, err = call("run", mine, "--driver", "in-process")
    assert code in (1, 2) and "*** is not the word" in err
    assert "sesame" not in out + err and leaks(tmp_path) == []
    code, out, err = call("status", "small", "--ledger", f"sqlite:///{tmp_path}/ledger.db")
    assert "sesame" not in out + err


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset": {"name": "digits", "arguments": {"hub_token": "hunter22"}}}, "dataset.arguments"),
        ({"network": {"name": "fc", "arguments": {"x": [{"auth": ["hunter22"]}]}}}, "network.arguments"),
        (
            {"observers": [{"name": "mlflow", "arguments": {"tracking_uri": "https://me:hunter22@host"}}]},
            "observers.0.arguments",
        ),
        (
            {"training": {"epochs": 1, "optimizer": {"name": "sgd", "arguments": {"pw": "hunter22"}}}},
            "training.optimizer.arguments",
        ),
        (
            {"metric": {"name": "m", "function": "m:f", "arguments": {"hub_token": "hunter22"}}},
            "metric.arguments",
        ),
    ],
)
def test_a_secret_in_a_spec_is_refused_naming_its_field(write, call, tmp_path, changes, field):
    code, out, err = call("run", write(**changes), "--driver", "in-process")
    assert code == 2 and err.count("\n") == 1 and f"{field}: a secret seems to stand in " in err
    assert "give ${env:NAME} or ${file:/PATH} in its place" in err and "hunter22" not in out + err
    with pytest.raises(ValidationError) as refused:
        Spec.model_validate(small_data(tmp_path, **changes))
    assert "hunter22" not in str(refused.value)


def test_a_half_reference_in_a_spec_is_named(write, call):
    code, _, err = call("validate", write(dataset={"name": "digits", "arguments": {"x": "${env:}"}}))
    assert code == 2 and "dataset.arguments: '${env:}' is no reference" in err
