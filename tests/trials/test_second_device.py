"""A training on a GPU that isn't this thread's: its streams and graphs are made on its own."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from trials.engine.graphs import Captured
from trials.engine.steps import CudaGraphSteps

TRAINS = torch.device("cuda", 1)


class Lying:
    """In the place of a tensor on the second GPU."""

    device, is_cuda, shape = TRAINS, True, (4,)

    def clone(self):
        return self

    def copy_(self, other):
        assert torch.cuda.current_stream().device == TRAINS  # its values are put back behind the recording
        return self


class Stream:
    def __init__(self, device=None):
        self.device = torch.device("cuda", torch.cuda.current_device()) if device is None else device

    def wait_stream(self, other):
        assert self.device == other.device == TRAINS

    def record_event(self):
        return self

    wait_event = wait_stream


@pytest.fixture
def recorded(monkeypatch):
    """A pretended CUDA with two devices, of which the first is this thread's; what was recorded where."""
    current, mine, recorded = [0], {index: Stream(torch.device("cuda", index)) for index in (0, 1)}, []

    @contextmanager
    def device(wanted):
        before, current[0] = current[0], wanted.index
        yield
        current[0] = before

    @contextmanager
    def stream(wanted):
        with device(wanted.device):
            before, mine[wanted.device.index] = mine[wanted.device.index], wanted
            yield
            mine[wanted.device.index] = before

    @contextmanager
    def graph(cuda_graph, stream, capture_error_mode):
        recorded.append((torch.cuda.current_device(), stream.device))
        yield

    pretended = {
        "Stream": Stream,
        "device": device,
        "stream": stream,
        "graph": graph,
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
        "current_device": lambda: current[0],
        "current_stream": lambda device=None: mine[current[0] if device is None else device.index],
        "set_stream": lambda stream: None,
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: None,
    }
    for name, value in pretended.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    return recorded


def test_a_step_is_recorded_on_the_device_of_its_tensors(recorded):
    Captured(lambda *tensors: tensors, [Lying()])
    assert recorded == [(1, TRAINS)] and torch.cuda.current_device() == 0


def test_steps_side_by_side_wait_for_their_own_device(recorded):
    def captured(batch, stream):
        return Captured(lambda *tensors: tensors, batch, stream)

    steps = [SimpleNamespace(begin=None, captured=captured) for _ in range(2)]
    graphs = CudaGraphSteps(steps, (Lying(), Lying()))
    pairs = zip(steps, graphs._streams, strict=True)
    graphs._recorded = [step.captured(graphs._batch, stream) for step, stream in pairs]
    graphs._used = range(2)
    graphs._side_by_side()
    assert recorded == [(1, TRAINS)] * 2
