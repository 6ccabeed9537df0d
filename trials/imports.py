"""Work that Python's collector keeps out of: imports of large libraries, and the recording of graphs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python's collector of cycles away, which may come at any time.

    In an import it would look through all modules again and again, and find nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
