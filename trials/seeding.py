"""Seeds that derive from a path of names, so that no two uses share a stream and none depends on order."""

from __future__ import annotations

import hashlib

import torch


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
