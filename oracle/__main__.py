"""The ``oracle`` command, which an interrupt ends in one line from its first moment to its last."""

from __future__ import annotations

import gc
import signal
import sys

from oracle.interrupts import interrupt_on_signals
from trials.imports import uncollected


def main() -> None:
    """Runs :func:`oracle.cli.main.main`, which takes a second to import."""
    try:
        interrupt_on_signals()
        with uncollected():
            from oracle.cli.main import main as run_command

            gc.freeze()
        run_command()
    except KeyboardInterrupt:
        print("oracle: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)  # what is left to do is Python's own


if __name__ == "__main__":
    main()
