import dataclasses
import itertools
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.trials.workers import RATES, chain, pack, pruning, recipe, runner, without_times
from trials.pruning.masks import full_masks, prunable_names
from trials.runner import Runner
from trials.tasks import Component, Damaged, Failed, PrunedNetwork
from trials.training import train_pack

CONSTANT = Component(name="constant")
OWN = '''
import torch
from torch import nn

class Failing(nn.Linear):
    """Fails once it trains."""
    def __init__(self, *, input_shape, num_classes):
        super().__init__(64, num_classes)
    def forward(self, inputs):
        if self.training:
            raise ZeroDivisionError("this network never trains")
        return super().forward(inputs.flatten(1))

class Interrupted(Failing):
    def forward(self, inputs):
        if self.training:
            raise KeyboardInterrupt
        return super().forward(inputs)
'''


@pytest.fixture
def own(own_module):
    return own_module("failing_networks", OWN)


def test_an_outcome_says_what_was_trained_and_where_it_lies(tmp_path):
    worker, began = runner(tmp_path), time.time()
    trained = worker.run(pack(replicate=3))
    module, data = worker.network(3), worker.data
    masks = full_masks(module, prunable_names(module))
    copies = train_pack(
        module=module,
        start=module.state_dict(),
        masks=masks,
        data=data,
        recipe=worker.recipe,
        cycle=0,
        replicate=3,
        max_lrs=RATES,
    )
    for outcome, copy, max_lr in zip(trained, copies, RATES, strict=True):
        assert (outcome.cycle, outcome.replicate, outcome.max_lr, outcome.pack) == (0, 3, max_lr, 2)
        for name in ("score", "test_score", "best_step", "diverged", "train_loss"):
            assert getattr(outcome, name) == getattr(copy, name)
        assert began <= outcome.started <= outcome.ended <= time.time()
        assert outcome.worker == f"{platform.node()}:{os.getpid()}"
        assert outcome.checkpoint.path == f"cycle-00/replicate-3/max_lr-{max_lr}.safetensors"
        stored = worker.store.read(outcome.checkpoint)
        assert stored.keys() == copy.state.keys()
        assert all(torch.equal(tensor, copy.state[name]) for name, tensor in stored.items())
        module.load_state_dict(stored)


@pytest.mark.parametrize("pack_size", [1, 8])
def test_two_workers_give_the_same_bits_in_any_order(tmp_path, pack_size):
    one, other = (runner(tmp_path / name, pack_size=pack_size) for name in ("a", "b"))
    there = [chain(one, 2, replicate) for replicate in (0, 1)]
    torch.manual_seed(1234)
    back = [chain(other, 2, replicate) for replicate in (1, 0)][::-1]
    for mine, theirs in zip(itertools.chain(*there), itertools.chain(*back), strict=True):
        if isinstance(mine, PrunedNetwork):
            assert mine == theirs
        else:
            assert [*map(without_times, mine)] == [*map(without_times, theirs)]
    assert there[0][0][0].checkpoint.sha256 != there[1][0][0].checkpoint.sha256
    again = one.run(pack(1, 0, there[0][1].start))
    assert [*map(without_times, again)] == [*map(without_times, there[0][2])]


def test_more_replicates_than_are_kept_in_memory(tmp_path):
    worker = runner(tmp_path, length=1, schedule=CONSTANT)
    first, *_, again = [worker.run(pack(replicate=replicate)) for replicate in (0, 1, 2, 3, 4, 5, 0)]
    assert [*map(without_times, first)] == [*map(without_times, again)]
    assert len(worker._starts) <= 4


def flip_a_byte(folder, file):
    path = folder / file.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip_a_byte, lambda folder, file: (folder / file.path).unlink()])
def test_a_damaged_file_is_named(tmp_path, damage):
    trained, pruned, later, _ = chain(runner(tmp_path), 2)
    parent, start, child = trained[-1].checkpoint, pruned.start, later[-1].checkpoint
    damage(tmp_path, parent)
    assert runner(tmp_path).run(pruning(parent)) == Damaged(file=parent)
    damage(tmp_path, start)
    assert runner(tmp_path).run(pack(1, 0, start)) == Damaged(file=start)
    assert runner(tmp_path).run(pruning(child, cycle=2, parent_start=start)) == Damaged(file=start)
    # Trained and pruned anew they are what they were.
    assert [*map(without_times, runner(tmp_path).run(pack()))] == [*map(without_times, trained)]
    assert runner(tmp_path).run(pruning(parent)) == pruned
    assert [*map(without_times, runner(tmp_path).run(pack(1, 0, start)))] == [*map(without_times, later)]


def test_an_error_is_an_answer_with_its_traceback(tmp_path, own):
    worker = runner(tmp_path / "s", network=Component(name=f"{own}:Failing"), pack_size=1)
    failed = worker.run(pack())
    assert isinstance(failed, Failed)
    assert failed.error.startswith("Traceback") and f"{own}.py" in failed.error
    assert "ZeroDivisionError: this network never trains" in failed.error
    assert not (tmp_path / "s").exists()
    unknown = runner(tmp_path / "s", network=Component(name="fcc")).run(pack())
    assert isinstance(unknown, Failed) and "did you mean 'fc'" in unknown.error


def test_files_are_written_by_the_second_half_which_another_thread_may_run(tmp_path):
    worker, whole = runner(tmp_path / "s"), chain(runner(tmp_path / "t"), 1)
    store, between = worker.compute(pack()), time.time()
    assert not (tmp_path / "s").exists()
    with ThreadPoolExecutor(1) as thread:
        stored = thread.submit(store)
        again = worker.compute(pack(replicate=1))
        trained = stored.result()
        assert [*map(without_times, trained)] == [*map(without_times, whole[0])]
        assert all(outcome.ended <= between for outcome in trained)
        assert thread.submit(worker.compute(pruning(trained[-1].checkpoint))).result() == whole[1]
    second = runner(tmp_path / "t").run(pack(replicate=1))
    assert [*map(without_times, again())] == [*map(without_times, second)]


def test_what_goes_wrong_while_files_are_written_is_an_answer(tmp_path):
    worker = runner(tmp_path)
    trained, pruned = chain(runner(tmp_path / "t"), 1)
    (tmp_path / "cycle-00").mkdir()
    copied = tmp_path / "t" / trained[-1].checkpoint.path
    copied.rename(tmp_path / "cycle-00" / "parent.safetensors")
    parent = dataclasses.replace(trained[-1].checkpoint, path="cycle-00/parent.safetensors")
    stores = worker.compute(pack()), worker.compute(pruning(parent))
    for place in ("cycle-00/replicate-0", "cycle-01"):
        (tmp_path / place).write_text("no folder")
    for store in stores:
        failed = store()
        assert isinstance(failed, Failed) and "Error" in failed.error.splitlines()[-1] and not failed.final
    (tmp_path / "cycle-01").unlink()
    assert worker.run(pruning(parent)) == pruned


def test_an_interrupt_is_none(tmp_path, own):
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, network=Component(name=f"{own}:Interrupted"), pack_size=1).run(pack())


def test_a_diverged_candidate_is_stored_like_any_other(tmp_path):
    worker = runner(tmp_path)
    tame, wild = worker.run(pack(max_lrs=(0.1, 1e20)))
    assert (tame.diverged, wild.diverged) == (False, True) and wild.score == 0.1
    stored = worker.store.read(wild.checkpoint)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in worker.network(0).state_dict().items())
    assert wild.checkpoint.path == "cycle-00/replicate-0/max_lr-1e+20.safetensors"


def test_threads_are_those_of_the_recipe(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    Runner(recipe(threads=3), storage=str(tmp_path))
    assert asked == [3]


class Missing(torch.nn.Module):
    """Raises an error of a kind, in its constructor."""

    def __init__(self, *, input_shape, num_classes, kind):
        super().__init__()
        raise {"file": FileNotFoundError, "name": NameError, "memory": MemoryError, "any": RuntimeError}[
            kind
        ]()


@pytest.mark.parametrize(
    ("kind", "final"), [("file", True), ("name", True), ("memory", False), ("any", False)]
)
def test_an_answer_says_whether_it_would_come_again(tmp_path, kind, final):
    network = Component(name=f"{__name__}:Missing", arguments={"kind": kind})
    failed = runner(tmp_path, network=network).run(pack())
    assert isinstance(failed, Failed) and failed.final is final and not failed.lasting


def test_a_wrong_name_is_final_and_said_in_a_line(tmp_path):
    failed = runner(tmp_path, network=Component(name="fcc")).run(pack())
    assert failed.final and failed.error.startswith("unknown network 'fcc'") and "\n" not in failed.error
