"""Searches whose networks begin with weights from a file."""

import hashlib
import logging

import pytest
import torch
from safetensors.torch import save_file

import oracle
from oracle.errors import Refused
from oracle.preflight import examine, open_runner
from oracle.results import Results
from oracle.testing.sessions import open_session
from tests.support import run_in_process, small_spec
from tests.trials.workers import chain, opened, pack, runner
from trials.checkpoints import Store
from trials.engine import named_tensors
from trials.networks import build_network
from trials.tasks import Checkpoint, Failed
from trials.weights import weights_fingerprint

HIDDEN = [12, 8]
HEAD = f"layers.{len(HIDDEN)}"


def weights(seed=7, hidden=HIDDEN, classes=10):
    arguments = {"hidden": hidden}
    return build_network("fc", arguments, input_shape=(1, 8, 8), num_classes=classes, seed=seed).state_dict()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "base.safetensors"
    save_file(weights(), path)
    return path


def network(file, *leave_out, hidden=HIDDEN):
    checkpoint = {"file": str(file), "leave_out": list(leave_out)} if leave_out else str(file)
    return {"name": "fc", "arguments": {"hidden": hidden}, "checkpoint": checkpoint}


def worker(folder, file, *leave_out, **changes):
    found = runner(folder, checkpoint=Checkpoint(file=str(file), leave_out=leave_out), **changes)
    found.begin([weights_fingerprint(named_tensors(found.network(index))) for index in range(2)])
    return found


@pytest.mark.parametrize("retraining", ["weight_rewinding", "lr_rewinding", "fine_tuning"])
def test_cycles_start_and_rewind_to_the_files_weights(tmp_path, file, retraining):
    mine = worker(tmp_path, file, retraining=retraining)
    trained, pruned, *_ = chain(mine, 2)
    start, masks = opened(mine, pruned)
    reached = mine.store.read(trained[-1].checkpoint)
    expected = weights() if retraining == "weight_rewinding" else reached
    for name, tensor in start.items():
        mask = masks.get(name, torch.tensor(True))
        assert torch.equal(tensor, torch.where(mask, expected[name], 0.0)), name
    assert any(not torch.equal(reached[name], weights()[name]) for name in masks)


def test_a_left_out_head_is_drawn_for_each_replicate(tmp_path, file):
    mine = worker(tmp_path, file, f"{HEAD}.*")
    one, other = mine.initial(0), mine.initial(1)
    assert {name for name in one if not torch.equal(one[name], other[name])} == {f"{HEAD}.weight"}
    assert all(torch.equal(one[name], weights()[name]) for name in one if not name.startswith(HEAD))


def test_a_worker_that_has_another_file_or_none_says_so(tmp_path, file):
    mine = worker(tmp_path, file)
    known = Checkpoint(file=str(file), sha256=mine.checkpoint.sha256)
    save_file(weights(8), file)
    changed = runner(tmp_path, checkpoint=known).run(pack())
    assert isinstance(changed, Failed) and changed.lasting
    assert (
        f"checkpoint {file} on" in changed.error and "is not the file that the search began" in changed.error
    )
    file.unlink()
    gone = runner(tmp_path, checkpoint=known).run(pack())
    assert isinstance(gone, Failed) and gone.final and gone.error.count("\n") == 0
    assert f"checkpoint {file} can't be read on" in gone.error and "every node sees it" in gone.error


def test_a_search_begins_with_it_goes_on_with_it_and_refuses_another(tmp_path, file, caplog):
    spec = small_spec(tmp_path, cycles=2, network=network(file, f"{HEAD}.*"))
    with caplog.at_level(logging.INFO):
        found = oracle.run(spec, driver="in-process")
    assert f"begins with 4 of its 6 tensors from checkpoint {file}; drawn for each replicate" in caplog.text
    assert "replicates begin with the same" not in caplog.text
    start = Store(spec.storage_root()).read_unchecked("cycle-00/replicate-1/start.safetensors")
    assert torch.equal(start["layers.0.weight"], weights()["layers.0.weight"])
    assert oracle.run(spec, driver="in-process").trials.equals(found.trials)

    nearly = weights()
    nearly["layers.0.weight"][0, 0] *= 1 + 1e-6
    said = f"changed: the contents of checkpoint {file}. Give the new spec a new name"
    for others in (nearly, weights(8)):
        save_file(others, file)
        with pytest.raises(Refused) as raised:
            oracle.run(spec, driver="in-process")
        assert said in str(raised.value)
    save_file(weights(), file)
    moved = file.rename(tmp_path / "moved.safetensors")
    with pytest.raises(Refused, match=r"changed: network\.checkpoint\.file: .*/base\.s.* -> .*/moved\.s"):
        oracle.run(small_spec(tmp_path, cycles=2, network=network(moved, f"{HEAD}.*")), driver="in-process")
    moved.unlink()
    taken = oracle.load("small", spec.ledger).network()  # which needs no such file any more
    assert taken(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_replicates_that_begin_alike_are_told_why(tmp_path, file):
    for given, said in (
        (network(file), f"order of their batches alone; they are those of checkpoint {file}"),
        (network(file, f"{HEAD}.*"), None),
        (network(file, f"{HEAD}.bias"), "unless these come from a file, leave out the seed"),
    ):
        spec = small_spec(tmp_path, network=given)
        warnings = examine(spec, open_runner(spec)).warnings
        assert [said in line for line in warnings] == [True] * (said is not None), warnings


def test_what_a_search_took_home_is_what_another_begins_with(tmp_path):
    fields = {"name": "fc", "arguments": {"hidden": HIDDEN}}
    session = run_in_process(small_spec(tmp_path, cycles=1, network=fields))
    first = Results.of(session.spec, session.search, record=session.record)
    path = first.trained_network().write(tmp_path / "net.pt")
    with open_session(small_spec(tmp_path, name="second", network=network(path))) as second:
        start = open_runner(second.spec).network(0)
        assert second.recipe.checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(start.layers[0].weight, first.network().layers[0].weight)


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("run", "--driver", "in-process")])
def test_a_file_that_does_not_fit_is_one_line(write, call, file, tmp_path, command):
    code, _, err = call(command[0], write(network=network(file, hidden=[12, 9])), *command[1:])
    assert code == 2 and err.count("\n") == 1
    assert (
        f"network 'fc': checkpoint {file} doesn't fit the network: other shapes: layers.1.weight is 8×12, "
        "not 9×12, layers.1.bias is 8, not 9, layers.2.weight is 10×8, not 10×9; leave_out: [layers.1.*, "
        "layers.2.*] takes the rest"
    ) in err
    assert not (tmp_path / "ledger.db").exists()


def test_validate_and_plan_say_what_is_taken(write, call, file):
    spec_file = write(network=network(file, f"{HEAD}.*"))
    for command in ("validate", "plan"):
        code, out, err = call(command, spec_file)
        assert code == 0 and f"begins with 4 of its 6 tensors from checkpoint {file}; drawn for" in out, err
