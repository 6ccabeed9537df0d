"""A network and a data set of a user's own, and their files, on the cluster that the command starts."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from ruamel.yaml import YAML
from torch import nn

from oracle.ledger import Ledger
from oracle.results import Results
from tests.support import small_data

ROOT = Path(__file__).parents[2]


def test_a_network_and_a_data_set_of_ones_own_run_on_ray(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from trials.datasets import Dataset, Split\n"
        "class Unshared(Dataset):\n"
        "    pass  # each worker loads its own\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, *, input_shape, num_classes, width):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(\n"
        "            nn.Linear(input_shape[0], width), nn.BatchNorm1d(width), nn.ReLU(),\n"
        "            nn.Linear(width, num_classes))\n"
        "        self.load_state_dict(torch.load('files/start.pt'))\n"
        "    def forward(self, x):\n"
        "        return self.layers(x)\n"
        "def load(*, seed, count):\n"
        "    generator = torch.Generator().manual_seed(int(open('files/seed').read()))\n"
        "    def split():\n"
        "        inputs = torch.randn(count, 6, generator=generator)\n"
        "        return Split(inputs=inputs, labels=(inputs.sum(1) > 0).long())\n"
        "    return Unshared(train=split(), validation=split(), test=split(), num_classes=2,\n"
        "                   mean=(0.0,), std=(1.0,))\n"
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "seed").write_text("7")
    linear = (nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    start = {f"layers.{name}": tensor for name, tensor in nn.Sequential(*linear).state_dict().items()}
    torch.save(start, tmp_path / "files" / "start.pt")
    changes = {
        "network": {"name": "mine:Net", "arguments": {"width": 8}},
        "dataset": {"name": "mine:load", "arguments": {"count": 128}},
        "training": {"epochs": 4, "batch_size": 16},
        "cycles": 1,
        "replicates": 1,
    }
    YAML(typ="safe").dump(small_data(tmp_path, **changes), tmp_path / "spec.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "oracle", "run", "spec.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    best = Results.read(ledger, ledger.search("small")).decided[0].selected
    ledger.close()
    assert best.score > 0.8  # it learns which sums are positive
