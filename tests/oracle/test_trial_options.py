"""Rewinding to a later point, statistics and precision, through a whole search."""

import json
import math

import pytest
import torch

from oracle.ledger import Ledger
from tests.support import SMALL, results, run_in_process, small_spec
from trials.checkpoints import Store

TRAINING = {"epochs": 3, "batch_size": 64, "diagnostics": True, "pack": 4}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    return run_in_process(small_spec(folder, training=TRAINING, rewind_to=1, replicates=1))


def test_every_cycle_goes_back_to_the_selected_networks_weights_of_that_epoch(session):
    store = Store(session.spec.storage_root())
    selected = store.read(session.search.checkpoint(0, 0))
    point = {name.removeprefix("rewind/"): t for name, t in selected.items() if name.startswith("rewind/")}
    assert point and any(not torch.equal(point[name], selected[name]) for name in point)
    for cycle in (1, 2):
        (pruned,) = session.search.prunings(cycle)
        start = store.read(pruned.start)
        for name, tensor in point.items():
            mask = start.get(f"masks/{name}", torch.ones_like(tensor, dtype=torch.bool))
            assert torch.equal(start[f"weights/{name}"], tensor.masked_fill(~mask, 0))
            assert torch.equal(start[f"rewind/{name}"], tensor)


def test_statistics_are_rows_of_numbers_and_a_file_each(session):
    store = Store(session.spec.storage_root())
    ledger = Ledger(session.spec.ledger)
    recorded = {(t.cycle, t.replicate, t.max_lr): t for t in ledger.outcomes("small").values()}
    trials = session.search.outcomes()
    assert {(t.cycle, t.replicate, t.max_lr): t for t in trials} == recorded
    for trial in trials:
        note = trial.diagnostics
        data = json.loads(store._read_bytes(note.file.path))
        assert note.gradient_std == data["gradient_std"] > 0
        assert note.update_std == pytest.approx(trial.max_lr * note.gradient_std)
        # After cycle 0 an epoch less is trained.
        assert len(data["gradient_norms"]) == (3 if trial.cycle == 0 else 2)
        assert note.gradient_norm == data["gradient_norms"][-1]
        assert 0 <= note.flipped_signs < 1 and math.isfinite(note.activation_norm)


def test_bf16_is_another_search(tmp_path, undisturbed):
    rough = {**SMALL["training"], "precision": "bf16"}
    second = run_in_process(small_spec(tmp_path, cycles=1, training=rough))
    shared = results(undisturbed).keys() & results(second).keys()
    assert shared and any(results(undisturbed)[key] != results(second)[key] for key in shared)
    assert undisturbed.keys.key(0, 0, 0.01) != second.keys.key(0, 0, 0.01)
