"""Several campaigns from one process, which imports what they need once: ``FOLDER NAME,NUMBER,… …``.

Each is a fork, which begins when the last has ended, with a folder of its name; ``log`` in it is what it has
printed. The exit codes are printed as JSON, a line each.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from tests.laws.kills import ended


def run(name: str, root: Path, numbers: list[int]) -> int:
    """Runs a campaign in a fork; gives its exit code."""
    root.mkdir()
    child = os.fork()
    if child:
        return ended(child)
    log, code = os.open(root / "log", os.O_CREAT | os.O_WRONLY), 1
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        importlib.import_module(f"tests.laws.{name}").campaign(root, *numbers)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for argument in sys.argv[2:]:
        law, *counts = argument.split(",")
        print(json.dumps([law, run(law, folder / law, list(map(int, counts)))]), flush=True)
