"""Networks whose training takes as long as a test wants, without a processor, or breaks a GPU."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import torch
from torch import nn


class Slow(nn.Sequential):
    """Each of its steps takes so many seconds longer while there is a file.

    Args:
        input_shape: Shape of one input.
        num_classes: How many classes there are.
        flag: The file.
        seconds: How long to sleep; over an hour only for the first that comes, who takes the file away.
    """

    def __init__(self, *, input_shape, num_classes, flag, seconds):
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
        self.flag, self.seconds = Path(flag), seconds

    def forward(self, inputs):
        if self.training and len(inputs) > 4 and self.flag.exists():  # in no comparison of a few
            with contextlib.suppress(FileNotFoundError):  # another was first
                if self.seconds > 3600:
                    self.flag.unlink()
                time.sleep(self.seconds)
        return super().forward(inputs)


def slow(flag: Path, seconds: float) -> dict[str, object]:
    """A spec's network."""
    return {"name": "tests.on_ray.networks:Slow", "arguments": {"flag": str(flag), "seconds": seconds}}


class Breaking(nn.Sequential):
    """Its training breaks CUDA for the process, as an assertion on the device does, while there is a file.

    Args:
        input_shape: Shape of one input.
        num_classes: How many classes there are.
        flag: The file; beside it, ``pids`` has the processes that were broken, or were asked to train later.
        once: Whether the first process takes the file away.
    """

    def __init__(self, *, input_shape, num_classes, flag, once):
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
        self.flag, self.once = Path(flag), once

    def forward(self, inputs):
        if self.training and (self.flag.exists() or torch.cuda.synchronize is asserts):
            if self.once:
                self.flag.unlink(missing_ok=True)
            with self.flag.with_name("pids").open("a") as pids:
                pids.write(f"{os.getpid()}\n")
            torch.cuda.synchronize = asserts
            asserts()
        return super().forward(inputs)


def asserts(device=None):
    raise torch.AcceleratorError("CUDA error: device-side assert triggered\nSearch for it in CUDA's manual")


def breaking(flag: Path, *, once: bool) -> dict[str, object]:
    """A spec's network."""
    return {"name": "tests.on_ray.networks:Breaking", "arguments": {"flag": str(flag), "once": once}}
