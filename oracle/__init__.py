"""The Oracle: the best peak learning rate at every cycle of a network that is pruned iteratively."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oracle.jobs import status, stop, submit
    from oracle.observers import Observer
    from oracle.results import Results, load
    from oracle.results.exported import read_export
    from oracle.service import run, run_variants
    from oracle.spec import Spec
    from oracle.spec_file import load_spec

__all__ = [
    "Observer",
    "Results",
    "Spec",
    "load",
    "load_spec",
    "read_export",
    "run",
    "run_variants",
    "status",
    "stop",
    "submit",
]

_HOMES = {
    "Observer": "oracle.observers",
    "Results": "oracle.results",
    "Spec": "oracle.spec",
    "load": "oracle.results",
    "load_spec": "oracle.spec_file",
    "read_export": "oracle.results.exported",
    "run": "oracle.service",
    "run_variants": "oracle.service",
    "status": "oracle.jobs",
    "stop": "oracle.jobs",
    "submit": "oracle.jobs",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is asked for: a worker that imports the package needs no database."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
