"""Interrupts of this process, remembered: no library that one falls into can lose it.

Python raises an interrupt wherever the main thread happens to be. A library may turn it into an error of its
own, as torch does within ``vmap``, or swallow it while it loads; Python itself swallows one in a finalizer,
and prints its traceback. A search asks here before it goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen = threading.Event()


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


@contextmanager
def remembering() -> Iterator[None]:
    """Remembers SIGINT and SIGTERM while this lasts, where this process handles them in Python.

    One may be inside of another: what either has seen is forgotten when the inner one ends.
    """
    if not _here():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    say = sys.unraisablehook

    def remember(number: int, frame: FrameType | None) -> None:
        _seen.set()
        handler = kept[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    def unless_remembered(swallowed: sys.UnraisableHookArgs) -> None:
        if not (_seen.is_set() and isinstance(swallowed.exc_value, KeyboardInterrupt)):
            say(swallowed)

    handled = [number for number, handler in kept.items() if callable(handler)]
    for number in handled:
        signal.signal(number, remember)
    sys.unraisablehook = unless_remembered
    try:
        yield
    finally:
        for number in handled:
            if signal.getsignal(number) is remember:  # else it was told since to ignore them
                signal.signal(number, kept[number])
        sys.unraisablehook = say
        _seen.clear()


def check() -> None:
    """Raises an interrupt again that has not come through.

    Raises:
        KeyboardInterrupt: This process was interrupted since :func:`remembering` began.
    """
    if _here() and _seen.is_set():
        raise KeyboardInterrupt


def _here() -> bool:
    """Whether this is the thread that signals interrupt."""
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
