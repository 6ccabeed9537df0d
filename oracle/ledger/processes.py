"""Tells the process that holds a lease from every other one, whatever is done to the system's clock."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START_TIME = 3 - 3, 22 - 3  # fields of /proc/PID/stat, counted from its third on


def host() -> str:
    """The place in which a process's number and start mean the same: host, boot, and what ``/proc`` shows.

    The node's name stands before the first slash.
    """
    if not _BOOT.exists():
        return f"{platform.node()}/{int(psutil.boot_time())}"
    return f"{platform.node()}/{_BOOT.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"


def started(pid: int) -> float | None:
    """When a process of this host was started; None if it is no more.

    On Linux in clock ticks since boot, whatever the clock is set to; elsewhere in seconds since 1970.
    """
    if not _BOOT.exists():
        try:
            return psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return None
    try:
        # The name in parentheses is the process's own choice, and may hold both spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE] in "ZX" else float(fields[_START_TIME])
