"""Nothing is lost, whatever ends a driver on Ray; those in process have a law, tests/laws/kills.py."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from oracle.ledger import Ledger
from oracle.ledger.tables import read_rounds
from tests.processes import raw_rows, rows, run_undisturbed, start, table, write_spec

OURS = """
from pathlib import Path
import torch
from torch import nn
from trials.datasets import Dataset, Split

class Unshared(Dataset):
    pass  # each worker loads its own

class Net(nn.Sequential):
    def __init__(self, *, input_shape, num_classes, width):
        norm = nn.BatchNorm1d(width)
        super().__init__(nn.Linear(*input_shape, width), norm, nn.ReLU(), nn.Linear(width, num_classes))
        self.load_state_dict(torch.load("files/start.pt"))

def load(*, seed, count):
    generator = torch.Generator().manual_seed(int(Path("files/seed").read_text()))
    def split():
        inputs = torch.randn(count, 6, generator=generator)
        return Split(inputs=inputs, labels=(inputs.sum(1) > 0).long())
    parts = {"train": split(), "validation": split(), "test": split()}
    return Unshared(**parts, num_classes=2, mean=(0.0,), std=(1.0,))
"""

SEARCH = {
    "network": {"name": "fc", "arguments": {"hidden": [32, 32]}},
    "cycles": 6,
    "training": {"epochs": 3, "batch_size": 32, "pack": 2, "compile": False},
    "resources": {"workers": 2},
}


def wait_for_rows(process, folder, count):
    """Waits until the ledger holds so many rows of a search that runs."""
    while rows(folder) < count:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The fields of a spec whose network and data set are modules and files in its folder."""
    (tmp_path / "ours.py").write_text(OURS)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "seed").write_text("7")
    linear = (nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    torch.save(nn.Sequential(*linear).state_dict(), tmp_path / "files" / "start.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield SEARCH | {
        "network": {"name": "ours:Net", "arguments": {"width": 8}},
        "dataset": {"name": "ours:load", "arguments": {"count": 512}},
        "policy": "adaptive",
    }
    sys.modules.pop("ours", None)


def asked(folder):
    """What the policy asked for, round by round."""
    return read_rounds(Ledger(f"sqlite:///{folder}/ledger.db"), "small")


def test_killed_and_interrupted_on_ray_a_search_of_one_s_own_network_and_data_ends_as_one_that_was_not(
    tmp_path, own, call
):
    expected, spec_file = run_undisturbed(tmp_path / "undisturbed", **own), write_spec(tmp_path, **own)
    whole, left = rows(expected), [0]
    for end in (signal.SIGKILL, signal.SIGTERM):
        process = start(spec_file)
        wait_for_rows(process, tmp_path, left[-1] + whole // 5)
        process.send_signal(end)
        _, err = process.communicate()
        left.append(rows(tmp_path))
    assert left[0] < left[1] < left[2] < whole, "a finished row was lost, or the search was over"
    assert process.returncode == 130 and "Run the same command again" in err and "Traceback" not in err, err
    code, out, err = call("run", spec_file, "--driver", "in-process", "--json")
    assert code == 0, err
    assert table(tmp_path) == table(expected)
    assert rows(tmp_path) == whole
    assert raw_rows(tmp_path) == raw_rows(expected)
    assert asked(tmp_path) == asked(expected) != {}
    assert json.loads(out)["verdict"]
    assert not list(tmp_path.rglob("*.tmp"))
    learned = max(float(row["validation_accuracy_mean"]) for row in table(tmp_path))
    assert learned > 0.8  # which sums are positive


def test_a_search_is_stopped_through_its_ledger(tmp_path, call):
    spec_file = write_spec(tmp_path, **SEARCH | {"cycles": 25})  # longer than the driver needs to notice
    process = start(spec_file, "--driver", "in-process")
    wait_for_rows(process, tmp_path, 1)
    code, out, err = call("stop", spec_file)
    assert code == 0, err
    assert out == "Search small has stopped; the command that began it goes on with it.\n"
    _, err = process.communicate()
    assert process.returncode == 130
    assert "search 'small' is interrupted; every finished trial is in the ledger" in err
    code, out, _ = call("stop", spec_file)
    assert (code, out) == (0, "Search small does not run.\n")
    code, out, _ = call("status", spec_file, "--json")
    assert json.loads(out)["state"] == "interrupted"
