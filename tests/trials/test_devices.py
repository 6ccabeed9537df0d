"""Errors after which a process can't use its GPU any more, told from all others; CUDA is imitated."""

import pytest
import torch

from tests.trials.workers import pack, recipe, runner
from trials.process import DeviceLost, name_of, raise_if_lost
from trials.runner import Runners
from trials.tasks import Component, Failed, Job

ASSERTED = "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def synchronises(monkeypatch):
    """Calls the function that says whether synchronising works from here on."""

    def set_to(works):
        def synchronize(device=None):
            if not works:
                raise torch.AcceleratorError(ASSERTED)

        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)

    return set_to


@pytest.mark.parametrize(
    ("error", "device", "works", "lost"),
    [
        (torch.AcceleratorError(ASSERTED), CUDA, False, True),
        (torch.AcceleratorError(ASSERTED), CPU, False, True),  # a loop of the user's own has its own device
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), CUDA, False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), CPU, False, True),
        (torch.AcceleratorError("CUDA error: invalid argument"), CUDA, True, False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), CUDA, True, False),
        (RuntimeError("CUDA out of memory: that it says so is no error of CUDA's"), CPU, False, False),
        (ValueError("no error of a device"), CPU, False, False),
        (ValueError(), CUDA, True, False),
    ],
)
def test_a_gpu_is_lost_if_it_does_not_even_synchronise(synchronises, error, device, works, lost):
    synchronises(works)
    if not lost:
        raise_if_lost(error, device)
        return
    with pytest.raises(DeviceLost) as found:
        raise_if_lost(error, device)
    first = str(error).splitlines()[0]
    line = f"the GPU can't be used by this process any more ({type(error).__name__}: {first})"
    assert str(found.value) == line


class Asserting(torch.nn.Linear):
    """Ends its first training as an assertion on the device does."""

    def __init__(self, *, input_shape, num_classes):
        super().__init__(64, num_classes)

    def forward(self, inputs):
        if self.training:
            raise torch.AcceleratorError(ASSERTED)
        return super().forward(inputs.flatten(1))


@pytest.mark.parametrize("works", [True, False])
def test_a_runner_answers_unless_its_process_is_to_be_replaced(tmp_path, synchronises, works):
    synchronises(works)
    worker = runner(tmp_path, network=Component(name=f"{__name__}:Asserting"), pack_size=1)
    if works:
        assert isinstance(worker.run(pack()), Failed)
        return
    with pytest.raises(DeviceLost, match="device-side assert"):
        worker.run(pack())


def test_a_worker_that_can_not_use_its_gpu_takes_no_task(monkeypatch):
    def broken(*args, **options):
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(torch, "ones", broken)
    Runners({"a": Job(recipe=recipe(), storage="/none")})
    with pytest.raises(DeviceLost, match="busy or unavailable"):
        Runners({"a": Job(recipe=recipe(device="cuda"), storage="/none")})


def test_a_gpu_has_a_name_and_a_cpu_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device.type}")
    assert (name_of(CPU), name_of(CUDA)) == ("", "NVIDIA cuda")
