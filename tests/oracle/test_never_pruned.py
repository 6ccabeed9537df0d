"""Networks with weights that pruning doesn't know by their layers: the commands and a whole search."""

import json

import pytest
import torch

import oracle
from oracle.spec import Spec
from tests.support import small_data
from trials.checkpoints import Store, unpack_start

NETS = """
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

class Net(nn.Module):
    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.rows = nn.LSTM(8, 5)
        self.pair = nn.Bilinear(5, 5, 6)
        self.smooth = spectral_norm(nn.Linear(6, 6))
        self.table = nn.Parameter(torch.randn(num_classes, 6))

    def forward(self, inputs):
        found, _ = self.rows(inputs.reshape(-1, 8, 8).transpose(0, 1))
        return self.smooth(self.pair(found[-1], found[0])) @ self.table.T
"""
LSTM, BILINEAR, SMOOTH, TABLE = 20 * 8 + 20 * 5, 6 * 5 * 5, 36, 60
ALL = LSTM + BILINEAR + SMOOTH + TABLE + 2 * 20 + 6 + 6
ORIGINAL = "smooth.parametrizations.weight.original"


@pytest.fixture
def spec(write, tmp_path, monkeypatch):
    (tmp_path / "ownrows.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)

    def make(**pruning):
        training = {"iterations": 2, "batch_size": 32, "diagnostics": True}
        grid = {"values": [0.05, 0.1], "extend": False}
        network = "ownrows:Net"
        return write(
            network=network,
            training=training,
            grid=grid,
            cycles=2,
            replicates=1,
            pruning={"rate": 0.5} | pruning,
        )

    return make


def test_what_stays_dense_is_named_and_then_pruned(spec, call, tmp_path):
    share = (
        f"{100 * (SMOOTH + TABLE) / ALL:.3g} % of the network's parameters are weights that are never pruned"
    )
    path = spec()
    code, out, err = call("validate", path)
    assert code == 0 and f"({LSTM + BILINEAR} prunable)" in out
    assert share in err and f"table (10×6), {ORIGINAL} (6×6)" in err and "also: ['table']" in err
    code, out, _ = call("plan", path)
    assert code == 0 and f"warning      {share}" in out
    code, out, err = call("run", path, "--driver", "in-process")
    assert code == 0 and share in err
    (table,) = tmp_path.rglob("comparison.md")
    left = 1 - (LSTM + BILINEAR) / 2 / ALL
    assert f"at cycle 1 {100 * left:.3g} % of the whole network are left" in table.read_text()
    code, out, _ = call("run", spec(also="table"), "--driver", "in-process")
    assert code == 3  # another spec
    for pruning in ({"also": ["table", "smooth.*"]}, {"keep": ["table", "smooth.*"]}, {"keep": "rows.*"}):
        code, out, err = call("validate", spec(**pruning))
        assert code == 0 and (share in err) == (pruning == {"keep": "rows.*"}), pruning


def test_a_search_prunes_them(spec, tmp_path):
    found = oracle.run(spec(also=["table", "smooth.*"]), driver="in-process")
    (pruned,) = found.prunings
    total = LSTM + BILINEAR + SMOOTH + TABLE
    assert (pruned.prunable, pruned.alive, pruned.parameters) == (total, total - total // 2, ALL)
    store = Store(found.search_spec.storage_root())
    masks = unpack_start(store.read(pruned.start))[1]
    names = {"rows.weight_ih_l0", "rows.weight_hh_l0", "pair.weight", ORIGINAL, "table"}
    assert set(masks) == names
    for trial in found.outcomes:
        assert trial.diagnostics.gradient_std > 0
        if trial.cycle and trial.max_lr == found.decided[1].chosen:  # others' networks are gone
            state = store.read(trial.checkpoint)
            for name, mask in masks.items():
                assert not state[name][~mask].any() and state[name][mask].any(), name
    assert torch.stack([(~mask).any() for mask in masks.values()]).all()


def test_sparsity_counts_them(spec, call):
    oracle.run(path := spec(also="table"), driver="in-process")
    code, out, err = call("sparsity", path, "--json")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert rows["table"]["prunable"] and rows["prunable"]["total"] == LSTM + BILINEAR + TABLE
    assert not rows[ORIGINAL]["prunable"]


@pytest.mark.parametrize("field", ["keep", "also"])
def test_a_text_alone_is_a_list_of_one(field, tmp_path):
    made = [Spec.model_validate(small_data(tmp_path, pruning={field: each})) for each in ("a.*", ["a.*"])]
    assert made[0] == made[1] and getattr(made[0].pruning, field) == ("a.*",)
    for wrong in ("", [""], 3, {"a": 1}):
        with pytest.raises(ValueError, match=field):
            Spec.model_validate(small_data(tmp_path, pruning={field: wrong}))
