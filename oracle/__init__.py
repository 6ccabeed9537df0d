"""The Oracle: the best peak learning rate at every cycle of a network that is pruned iteratively."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oracle.results import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """``oracle.load``, imported when it is asked for: a worker that imports the package needs no database."""
    if name == "load":
        from oracle.results import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
