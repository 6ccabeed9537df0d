"""Searches whose drivers are killed at random moments.

    python -m tests.laws.kills FOLDER COUNT [SEED] [DRIVER]

Each driver is a fork of one process that has imported everything, but for Ray's, and ends as by SIGKILL when
it has computed for so long, on Ray when so long has passed.
Between the drivers others look, and are killed, too. What a search leaves in the end is printed as JSON, a
line each, that of one which nobody disturbed first.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import re
import signal
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from oracle.cli.main import main
from oracle.ledger import Ledger
from oracle.results import Results
from oracle.session import MARK
from tests.support import small_data

for late in (
    *("pandas", "plotly.graph_objects", "scipy.stats", "torch._dynamo"),
    *("torch.fx.experimental.symbolic_shapes", "trials.runner", "dashboards.report"),
):
    importlib.import_module(late)  # what commands import as they need it, each fork anew

RUN = ("run", "spec.yaml", "--driver", "in-process")
BUSY = "raylet failed to startup or the GCS has become overloaded.\n"
"""The end of what Ray says of a machine that is too busy to start it within its 30 seconds."""
KILLED = (-signal.SIGALRM, -signal.SIGPROF)
LOOKS = (("report", "spec.yaml"), ("export", "spec.yaml"), ("status", "spec.yaml"), ("stop", "spec.yaml"))


def command(folder: Path, arguments: tuple[str, ...], *, after: float | None = None) -> int:
    """Runs a command in a fork, which is killed after so many seconds; gives its exit code."""
    return ended(start(folder, arguments, after=after))


def to_its_end(folder: Path, run: tuple[str, ...]) -> int:
    """Runs a search, again where the machine is too busy to start Ray; gives its exit code."""
    while (code := command(folder, run)) == 3 and (folder / "log").read_text().endswith(BUSY):
        (folder / "log").unlink()
    return code


def ended(child: int) -> int:
    """Waits for a process; gives its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start(
    folder: Path, arguments: tuple[str, ...], *, after: float | None = None, by: int | None = None
) -> int:
    """Starts a command in a fork; gives its number.

    Args:
        folder: Its working directory.
        arguments: The command's.
        after: After how many seconds of computing, on Ray of time, it is killed or gets a signal.
        by: The signal.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(folder)
        log = os.open("log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if by is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
            signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), by))
            signal.setitimer(signal.ITIMER_PROF, after or 0.0)
        elif after is not None:  # SIGALRM and SIGPROF end a process as SIGKILL does
            signal.setitimer(signal.ITIMER_REAL if "ray" in arguments else signal.ITIMER_PROF, after)
        if "ray" in arguments:  # which may not be forked
            os.execv(sys.executable, [sys.executable, "-m", "oracle", *arguments])
        sys.argv = ["oracle", *arguments]
        main()
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(99)


def prepare(folder: Path, pack: int, **changes: Any) -> Path:
    """A folder with the spec of a search."""
    folder.mkdir(parents=True)
    training = {"epochs": 1, "batch_size": 64, "pack": pack, "compile": False}
    grid = {"low": 0.01, "high": 0.4, "points": 4, "extend": False}
    data = small_data(folder, **{"training": training, "grid": grid, "cycles": 2, **changes})
    YAML(typ="safe").dump(data, folder / "spec.yaml")
    return folder


def left(folder: Path, name: str = "small", url: str | None = None) -> dict[str, Any]:
    """Everything that a search leaves, but for when and where it was run."""
    with closing(Ledger(url or f"sqlite:///{folder}/ledger.db")) as ledger:
        record = ledger.search(name)
        assert record is not None
        results = Results.read(ledger, record, draws=0)
        (summary,) = (each for each in ledger.storage.get_all_studies() if each.study_name == name)
        rows = [[row.value, row.params, row.user_attrs] for row in ledger.summary_study(name).trials]
        count = sum(len(study.trials) for _, study in ledger._cycle_studies(name))
    networks = folder / "networks" / name
    files = [path for path in sorted(networks.rglob("*")) if path.is_file() and path.name != MARK]
    own = {path.relative_to(networks).as_posix(): path for path in files if "report" not in path.parts}
    runs = [run.state for run in results.recorded_runs]
    return {
        "trials": [[t.cycle, t.replicate, t.max_lr, t.score, t.checkpoint.sha256] for t in results.outcomes],
        "rows": count,
        "prunings": sorted([p.cycle, p.replicate, p.alive, p.start.sha256] for p in results.prunings),
        "choices": [[each.cycle, each.chosen, each.choice.rule] for each in results.decided],
        "table": (networks / "report/comparison.csv").read_text(),
        "files": {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in own.items()},
        "last run": [runs[-1], results.recorded_runs[-1].ended is not None],
        "other runs": sorted({*runs[:-1]} - {"interrupted", "done"}),
        "summary": {name: value for name, value in summary.user_attrs.items() if name != "as of"},
        "note": _note(summary.system_attrs, name),
        "summary's rows": rows,
    }


def _note(attributes: dict[str, Any], name: str) -> str:
    """A summary study's note without the search's name and the study's number."""
    text = "".join(str(value) for key, value in sorted(attributes.items()) if "note_str" in key)
    return re.sub(rf"studies/\d+|\b{name}(?=[:/])", "", text)


def campaign(root: Path, count: int, seed: int = 0, driver: str = "in-process") -> None:
    """Runs one search undisturbed, then so many whose drivers are killed."""
    drawn, run = random.Random(seed), (*RUN[:-1], driver)

    def now() -> float:
        return time.monotonic() if driver == "ray" else sum(os.times()[2:4])

    for pack in (1, 4) if count > 1 else (1,):
        began = now()
        assert to_its_end(prepare(root / f"whole-{pack}", pack), run) == 0
        lasted = now() - began
        print(json.dumps({"search": f"whole-{pack}", **left(root / f"whole-{pack}")}), flush=True)
        for number in range(0 if pack == 1 else 1, count, 2):
            folder, kills = prepare(root / f"{number}", pack), 0
            for _ in range(drawn.randint(2, 4)):
                kills += command(folder, run, after=drawn.uniform(0.02, 1.1) * lasted) in KILLED
                if (folder / "ledger.db").exists() and drawn.random() < 0.5:
                    kills += command(folder, drawn.choice(LOOKS), after=drawn.uniform(0.02, 0.5)) < 0
            assert to_its_end(folder, run) == 0, (folder / "log").read_text()
            assert "Traceback" not in (folder / "log").read_text(), folder
            print(
                json.dumps({"search": str(number), "pack": pack, "kills": kills, **left(folder)}), flush=True
            )


if __name__ == "__main__":
    campaign(Path(sys.argv[1]), *map(int, sys.argv[2:4]), *sys.argv[4:])
