"""What a benchmark's result was measured on, and where it is kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from oracle.machine import cores

RESULTS = Path(__file__).parent / "results"


def header() -> dict[str, Any]:
    """The machine and the versions that a figure depends on."""
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": model or platform.processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        **{name: _version(name) for name in ("torch", "ray", "optuna")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a machine with a GPU may have nothing but torch
        return "absent"


def keep(name: str, result: dict[str, Any]) -> Path:
    """Writes a result as ``results/DATE-NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.date.today().isoformat()}-{name}.json"
    path.write_text(json.dumps({"machine": header(), **result}, indent=2) + "\n")
    return path
