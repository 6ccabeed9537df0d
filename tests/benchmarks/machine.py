"""What a benchmark's result was measured on, and where it is kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from oracle.execution import cores

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


def keep(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes a result as ``DATE-NAME.json``."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{datetime.date.today().isoformat()}-{name}.json"
    path.write_text(json.dumps({"machine": header(), **result}, indent=2) + "\n")
    return path


def peak_memory() -> int:
    """Bytes of the most memory that this process has had resident at a time (Linux; of its own, unlike
    ``ru_maxrss``, which a process inherits from the one that started it)."""
    return _status("VmHWM")


def forget_peak() -> int:
    """Begins :func:`peak_memory` anew (Linux); gives the bytes that are resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def proportional_memory(process: int) -> int:
    """Bytes of a process (Linux), each page divided by how many processes share it: such sizes add up."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
