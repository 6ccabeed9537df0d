"""What the tests of searches share: small ones, and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.testing.sessions import (
    SMALL,
    open_session,
    results,
    run_in_process,
    small_data,
    small_spec,
)

__all__ = [
    "SMALL",
    "harm",
    "needs_compiler",
    "open_session",
    "results",
    "run_in_process",
    "small_data",
    "small_spec",
]

needs_compiler = pytest.mark.compiler


def harm(path: Path, damage: str) -> None:
    """Deletes a file, cuts it in half, or flips a bit of a byte in its middle."""
    if damage == "deleted":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if damage == "halved":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
