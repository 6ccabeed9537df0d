"""Networks whose training takes as long as a test wants, without a processor."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

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
