"""Signals that interrupt a command."""

from __future__ import annotations

import os
import signal
from types import FrameType


def interrupt_on_signals() -> None:
    """Makes SIGTERM end a search as Ctrl-C does: everything told so far is kept.

    A Ray job heeds SIGINT, too, whoever started the cluster: a shell's background process was told not to,
    and all that it starts inherits that.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if "RAY_JOB_STOP_SIGNAL" in os.environ:
        signal.signal(signal.SIGINT, _interrupt)


def ignore_signals() -> None:
    """Lets a command that ends already end in peace: some send their signal twice."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def interrupt() -> None:
    """Ends this process's search as Ctrl-C does, from any thread."""
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
