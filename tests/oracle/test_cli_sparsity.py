"""``oracle sparsity``: what is left of a pruned network, by both counts."""

import json

import pytest

from trials.pruning.masks import Row, Sparsity


def test_every_tensor_and_both_totals(finished, call):
    code, out, err = call("sparsity", "spec.yaml", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["search"], found["cycle"], found["replicate"]) == ("small", 2, 0)
    *tensors, prunable, network = found["rows"]
    weights = 64 * 16 + 16 * 10
    left = weights
    for _ in range(2):
        left -= round(0.2 * left)
    assert [row["name"] for row in tensors] == [
        f"layers.{k}.{kind}" for k in (0, 1) for kind in ("weight", "bias")
    ]
    assert [row["prunable"] for row in tensors] == [True, False, True, False]
    assert (prunable["alive"], prunable["total"]) == (left, weights)
    assert (network["alive"], network["total"]) == (left + 26, weights + 26)
    assert prunable["alive"] == sum(row["alive"] for row in tensors if row["prunable"])
    assert prunable["density"] == left / weights


def test_the_table_names_what_counts(finished, call):
    code, out, _ = call("sparsity", "spec.yaml", "--cycle", 1, "--replicate", 1)
    assert code == 0
    assert "small, cycle 1, replicate 1" in out
    assert "layers.0.weight *" in out and "16×64" in out
    assert f"{100 * (1184 - round(0.2 * 1184)) / 1184:.2f}" in out
    assert "whole network" in out and "prunable weights" in out


@pytest.mark.parametrize("place", [("--cycle", 0), ("--cycle", 3), ("--replicate", 2), ("--cycle", -1)])
def test_a_network_that_is_not_there_is_named(finished, call, place):
    code, _, err = call("sparsity", "spec.yaml", *place)
    assert code == 2 and err.count("\n") == 1
    assert "there is no pruned network of cycle" in err and "replicates from 0 to 1" in err


def test_a_damaged_file_is_named(finished, call):
    (file,) = (finished / "networks" / "small" / "cycle-02" / "replicate-0").glob("start.safetensors")
    file.write_bytes(b"x")
    code, _, err = call("sparsity", "spec.yaml")
    assert code == 3 and "start.safetensors" in err and "'oracle run' makes it again" in err


class Collapsing:
    """A runner whose networks have lost a layer, and nearly another."""

    def __init__(self, *left):
        rows = [
            Row(name=f"{name}.weight", shape=(10, 100), alive=alive, total=1000, prunable=True)
            for name, alive in zip(("body", "neck", "head"), left, strict=True)
        ]
        rows.append(Row(name="head.bias", shape=(10,), alive=0, total=10, prunable=False))
        whole = {"alive": sum(left), "total": 3000, "prunable": True}
        self.found = Sparsity(
            tensors=tuple(rows), prunable=Row(name="prunable", **whole), network=Row(name="network", **whole)
        )

    def sparsity(self, _):
        return self.found


def test_a_layer_that_has_collapsed_is_warned_of(finished, call, monkeypatch):
    monkeypatch.setattr("oracle.preflight.open_runner", lambda _: Collapsing(500, 9, 0))
    code, out, _ = call("sparsity", "spec.yaml")
    assert code == 0
    assert "Warning: next to nothing is left of neck.weight (9 of 1,000), head.weight (0 of 1,000): " in out
    assert "pruning: {keep: [neck.weight]} spares it." in out
    assert json.loads(call("sparsity", "spec.yaml", "--json")[1])["collapsed"] == [
        "neck.weight",
        "head.weight",
    ]


@pytest.mark.parametrize("left", [(500, 10, 10), (5, 4, 4)])
def test_a_network_that_is_sparse_all_over_has_not_collapsed(finished, call, monkeypatch, left):
    monkeypatch.setattr("oracle.preflight.open_runner", lambda _: Collapsing(*left))
    assert "Warning" not in call("sparsity", "spec.yaml")[1]
