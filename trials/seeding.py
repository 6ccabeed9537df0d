"""Seeds that derive from a path of names, so that no two uses share a stream and none depends on order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_CPU = torch.device("cpu")


def derive_seed(seed: int, *path: int | str) -> int:
    """A 63-bit seed for one use, a pure function of the search's seed and the path.

    Args:
        seed: The search's seed.
        path: The use of the seed, for example ``(replicate, cycle, "order")``.
    """
    text = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """A torch generator on the CPU, seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *path))


def seed_global(seed: int, device: torch.device = _CPU) -> None:
    """Seeds what draws without a generator of its own: torch's for a device, numpy's and Python's."""
    if device.type == "cpu":  # torch.manual_seed would seed the accelerators under a training on the CPU
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def global_draws_kept(device: torch.device = _CPU) -> Iterator[None]:
    """Sets the generators of :func:`seed_global` back afterwards to where they were."""
    # Only the generator of this device: fork_rng's default makes a context on every GPU that it sees.
    numpys, pythons = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)
