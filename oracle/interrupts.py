"""Interrupts of this process, remembered: no library that one falls into can lose it.

Python raises an interrupt wherever the main thread happens to be. A library may turn it into an error of its
own, as torch does within ``vmap``, or swallow it while it loads. A search asks here before it goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen = threading.Event()


@contextmanager
def remembering() -> Iterator[None]:
    """Remembers SIGINT and SIGTERM while this lasts, where this process handles them in Python."""
    if not _here():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, frame: FrameType | None) -> None:
        _seen.set()
        handler = kept[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    handled = [number for number, handler in kept.items() if callable(handler)]
    for number in handled:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, kept[number])
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
