"""Out of memory: what was taken is let go, packs are halved, and the search goes on."""

import dataclasses
import gc
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

import trials.runner
from tests.trials.workers import pack, recipe, runner, without_times
from trials.engine import choose
from trials.process import is_out_of_memory, keep_to_share
from trials.runner import Runner, Runners
from trials.tasks import Execution, Failed, Job
from trials.training import train_pack

FIVE = (0.01, 0.02, 0.05, 0.1, 0.2)
EXECUTIONS = {
    "eager": Execution(pack_size=8),
    "streams": Execution(pack_size=5, captured=True, streams=True),
}


@pytest.fixture
def room(monkeypatch):
    """A device with memory for two candidates: how many were tried, and what a failed pack held."""
    found = SimpleNamespace(most=2, tried=[], held=None)

    def train(*, max_lrs, engine, **arguments):
        found.tried.append(len(max_lrs))
        assert found.held is None or found.held() is None  # all of the pack before is let go
        if len(max_lrs) > found.most:
            taken = torch.zeros(1000)
            found.held = weakref.ref(taken)
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {taken.nbytes} bytes")
        assert engine.recipe.execution.pack_size == found.most  # and so are its graphs
        return train_pack(max_lrs=max_lrs, engine=engine, **arguments)

    monkeypatch.setattr(trials.runner, "train_pack", train)
    return found


def given(execution):
    return dataclasses.replace(recipe(), execution=execution)


def bare(trial):
    return dataclasses.replace(without_times(trial), pack=1, halved=False)


@pytest.mark.parametrize("execution", EXECUTIONS.values(), ids=EXECUTIONS)
def test_a_pack_is_halved_until_it_fits_and_its_trials_say_so(tmp_path, room, execution):
    worker = Runner(given(execution), storage=str(tmp_path / "a"))
    trained = worker.run(pack(max_lrs=FIVE))
    assert room.tried == [5, 3, 2, 2, 1]
    assert [trial.max_lr for trial in trained] == list(FIVE)
    assert [trial.pack for trial in trained] == [2, 2, 2, 2, 1]
    assert all(trial.halved for trial in trained) and len({trial.started for trial in trained}) == 3
    # As packs of that size come out that were meant to be so.
    smaller = Runner(given(dataclasses.replace(execution, pack_size=2)), storage=str(tmp_path / "b"))
    parts = [smaller.run(pack(max_lrs=some)) for some in (FIVE[:2], FIVE[2:4], FIVE[4:])]
    assert not any(trial.halved for part in parts for trial in part)
    assert [bare(trial) for trial in trained] == [bare(trial) for part in parts for trial in part]
    room.tried.clear()
    worker.run(pack(replicate=1, max_lrs=FIVE))  # what was learned stays
    assert room.tried == [2, 2, 1]


def test_a_task_that_knows_how_many_fit_has_no_more_tried(tmp_path, room):
    task = dataclasses.replace(pack(max_lrs=FIVE), together=2)
    assert task == pack(max_lrs=FIVE)
    trained = runner(tmp_path).run(task)
    assert room.tried == [2, 2, 1] and all(trial.halved for trial in trained)


def test_one_candidate_that_does_not_fit_is_a_failure_in_one_line(tmp_path, room):
    room.most = 0
    worker = runner(tmp_path)
    failed = worker.run(pack(max_lrs=FIVE))
    assert room.tried == [5, 3, 2, 1] and isinstance(failed, Failed)
    assert failed.memory and not failed.final and "Traceback" in failed.error
    assert failed.error.splitlines()[-1] == (
        "out of memory: take a smaller batch_size, or give a worker more (OutOfMemoryError: CUDA out of "
        "memory. Tried to allocate 4000 bytes)"
    )
    gc.collect()
    assert room.held() is None and worker._engine is None


def test_other_errors_halve_nothing(tmp_path, monkeypatch):
    tried = []

    def train(*, max_lrs, **arguments):
        tried.append(len(max_lrs))
        raise RuntimeError("memory format preserve_format is not supported")

    monkeypatch.setattr(trials.runner, "train_pack", train)
    failed = runner(tmp_path).run(pack(max_lrs=FIVE))
    assert tried == [5] and not failed.memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_that_fails_is_out_of_memory():
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failed.value)


@pytest.mark.parametrize(
    ("share", "total", "expected"),
    [(0.5, 128 * 2**30, 0.5 - 1 / 128), (0.25, 2 * 2**30, 0.125), (1.0, 128 * 2**30, None)],
)
def test_a_part_of_a_gpu_is_a_part_of_its_memory(share, total, expected, monkeypatch):
    held = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=total)
    )
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda part, device: held.append((part, device))
    )
    keep_to_share(torch.device("cpu"), share)
    assert not held
    keep_to_share(torch.device("cuda"), share)
    keep_to_share(torch.device("cuda", 1), share)
    assert held == ([] if expected is None else [(expected, 0), (expected, 1)])


@pytest.mark.parametrize(("most", "tried"), [(8, [8]), (3, [8, 4, 2]), (0, [8, 4, 2, 1])])
def test_a_first_look_halves_packs_as_trainings_do(tmp_path, monkeypatch, most, tried):
    sizes = []

    def train(*, max_lrs, engine, **arguments):
        sizes.append(len(max_lrs))
        if len(max_lrs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_pack(max_lrs=max_lrs, engine=engine, **arguments)

    monkeypatch.setattr(choose, "train_pack", train)
    with nullcontext() if most else pytest.raises(torch.OutOfMemoryError):
        choose.try_one_step(recipe(), runner(tmp_path))
    assert sizes == tried


@pytest.mark.parametrize(("captured", "kept"), [(True, [False, True]), (False, [True, True])])
def test_a_device_holds_the_recordings_of_one_search_at_a_time(tmp_path, captured, kept):
    how = given(Execution(pack_size=2, captured=captured))
    jobs = {name: Job(recipe=how, storage=str(tmp_path / name)) for name in ("a", "b")}
    runners = Runners(jobs)
    found = [[runners.run(name, pack()) for name in ("a", "b")] for _ in range(2)]
    assert [runners._runners[name]._engine is not None for name in ("a", "b")] == kept
    for name in ("a", "b"):
        runners._runners[name].forget_recordings()
    assert [[*map(without_times, each)] for each in found[0]] == [
        [*map(without_times, each)] for each in found[1]
    ]
