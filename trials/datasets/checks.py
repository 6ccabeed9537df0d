"""Checks before any data is read: arguments, and whether the data fits into this machine's memory."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from silo.errors import InvalidInput
from trials.paths import expanded


def folder_of(root: Any) -> Path:
    """A folder's path, ``~`` and environment variables expanded; the folder need not exist.

    Raises:
        InvalidInput: It is no path, or the home folder or variable it names doesn't exist.
    """
    if not isinstance(root, str | Path) or not str(root) or "\0" in str(root):
        raise InvalidInput(f"root {root!r} can't be used: give a folder, such as data")
    return Path(expanded(str(root), "root"))


def whole_number(name: str, value: Any, *, least: int = 1) -> int:
    """The value itself.

    Raises:
        InvalidInput: It is no integer (a bool is none) or below ``least``; ``name`` says which argument it
            was.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number from {least} on: given was {value!r}")
    return value


GIGABYTE = 1e9
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def require_memory(name: str, count: int, shape: Sequence[int], *, remedy: str) -> None:
    """Refuses a data set that this process could not hold.

    Args:
        name: The data set's name, for the message.
        count: Examples of all splits.
        shape: Shape of one, in bytes (uint8).
        remedy: A way out, for the message.

    Raises:
        InvalidInput: It needs more than there is; the message states both.
    """
    needed, there = count * math.prod(shape), available_memory()
    if needed > there:
        raise InvalidInput(
            f"data set {name!r} needs {needed / GIGABYTE:,.1f} GB of memory in every worker "
            f"({count:,} examples of {'×'.join(map(str, shape))} bytes), "
            f"{there / GIGABYTE:,.1f} GB are available: {remedy}"
        )


def available_memory(control_group: Path = _CONTROL_GROUP) -> int:
    """Bytes that this process can take: what the machine has free, or the container's limit (Linux control
    groups, version 2) less what can't be taken back from it, if that is less.

    Args:
        control_group: Folder with the container's ``memory.max`` and ``memory.stat``.
    """
    import psutil  # which data that is made in memory already does without

    there = psutil.virtual_memory().available
    try:
        limit = int((control_group / "memory.max").read_text())
        statistics = (control_group / "memory.stat").read_text().split()
        held = int(statistics[statistics.index("anon") + 1])
    except (OSError, ValueError):  # no such system, or no limit: "max"
        return there
    return max(0, min(there, limit - held))
