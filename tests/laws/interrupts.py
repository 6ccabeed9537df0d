"""Searches that are interrupted at random moments: ``python -m tests.laws.interrupts FOLDER COUNT [SEED]``.

Each is a fork that gets SIGINT or SIGTERM after a random share of the computing time that a whole one takes.
It ends with 130, or with 0 if the search was over; says so in one line; and the same command goes on to the
same end. What happened is printed as JSON, a line each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

from tests.laws.kills import RUN, command, ended, left, prepare, start


def campaign(root: Path, count: int, seed: int) -> None:
    """Runs one search undisturbed, then so many that are interrupted."""
    drawn = random.Random(seed)
    child = start(prepare(root / "whole", 4), RUN)
    _, status, used = os.wait4(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, (root / "whole/log").read_text()
    whole, seconds = left(root / "whole"), used.ru_utime + used.ru_stime
    for number in range(count):
        folder, by = prepare(root / f"{number}", 4), drawn.choice((signal.SIGINT, signal.SIGTERM))
        moment = drawn.uniform(0.0, 1.0)
        code = ended(start(folder, RUN, after=max(moment * seconds, 1e-3), by=by))
        told = (folder / "log").read_text()
        over = "done" in _states(folder)
        assert "Traceback" not in told, (number, moment, told)
        assert code == 130 or (code == 0 and over), (number, code, moment, told)
        assert told.count("oracle: interrupted\n") == (code == 130), (number, moment, told)
        assert command(folder, RUN) == 0, (folder / "log").read_text()
        same = {**left(folder), "other runs": []} == {**whole, "other runs": []}
        assert same, (number, moment)
        print(json.dumps({"at": round(moment, 3), "by": by.name, "code": code, "over": over}), flush=True)


def _states(folder: Path) -> list[str]:
    return left(folder)["last run"][:1] if (folder / "networks/small/report/comparison.csv").exists() else []


if __name__ == "__main__":
    campaign(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
