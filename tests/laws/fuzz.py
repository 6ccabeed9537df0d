"""Ledgers with one random edit each: ``python -m tests.laws.fuzz FOLDER COUNT [SEED]``.

Of a search that is done and of one that is half done, which share their ledger with another: status, report,
export, compare and run, each a fork. None ends in a traceback, and what is printed and exported is what it
was, or something is said; Python's warnings don't count. What was edited is printed, a line each, and it ends
with 1 if anything was silent.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from oracle.drivers import in_process
from oracle.search import Signal
from oracle.testing.sessions import open_session
from tests.laws.edits import edit
from tests.laws.kills import RUN, command, prepare
from trials.runner import Runner

LOOKS = (
    ("status", "small", "--json"),
    ("report", "small", "--json"),
    ("export", "small", "--json"),
    ("compare", "small", "other", "--format", "csv"),
)


def make(folder: Path, *, done: bool) -> None:
    """A ledger with a search that is done or half done, beside another."""
    from oracle.spec_file import load_spec

    for seed, name in enumerate(("small", "other")):  # whose keys differ
        ledger = f"sqlite:///{folder}/ledger.db"
        prepare(folder / name, 4, name=name, ledger=ledger, cycles=3, seed=seed)
        spec = load_spec(folder / name / "spec.yaml")
        with open_session(spec) as session:
            run = session.ledger.start_run(name, driver="in-process", host="here", versions={"torch": "2"})
            if done or name == "other":
                assert in_process.run(session) is Signal.DONE
            else:
                _begin(session)
            session.ledger.end_run(run, state="done" if session.search.done else "interrupted")


def _begin(session) -> None:  # type: ignore[no-untyped-def]
    """Runs a session until one cycle is decided, and one pack of the next is trained."""
    runner = Runner(session.recipe, storage=session.spec.storage_root(), initial=session.initial)
    while session.search.finished(1) == 0:
        task = session.ask()
        session.tell(task, runner.run(task))


def tried(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """What commands tell in a folder: name, whether it says that something is wrong, all that it shows."""
    for arguments in LOOKS:
        place = folder / arguments[0]
        place.mkdir()
        said, lines = _told(place, (*arguments, "--ledger", f"sqlite:///{folder}/ledger.db"))
        tables = [table.read_text() for table in sorted(place.rglob("*.csv"))]
        yield arguments[0], said, "\n".join([*lines, *tables])
    said, _ = _told(folder / "small", RUN)
    table = folder / "small/networks/small/report/comparison.csv"
    yield "run", said, table.read_text() if table.exists() else ""


def _told(place: Path, arguments: tuple[str, ...]) -> tuple[bool, list[str]]:
    """Whether a command says that something is wrong, and all else that it prints."""
    (place / "log").unlink(missing_ok=True)
    code = command(place, arguments)
    lines = (place / "log").read_text().splitlines()
    said = [line for line in lines if line.startswith("oracle: ")]
    assert "Traceback" not in "\n".join(lines), (place, arguments, lines)
    assert code == 0 or (said and code in (1, 2, 3)), (place, arguments, code, lines)
    return bool(said), [line for line in lines if line not in said]


def campaign(root: Path, count: int, seed: int) -> None:
    """Makes both ledgers, and edits them."""
    os.environ |= {"ORACLE_LEDGER_PATIENCE": "0", "PYTHONWARNINGS": "ignore", "COLUMNS": "150"}
    wholes, unsaid = {}, 0
    for kind in ("done", "half-done"):
        make(root / kind, done=kind == "done")
        shutil.copytree(root / kind, root / f"{kind}-kept")
        wholes[kind] = {name: shown for name, _, shown in tried(root / kind)}
    wholes["half-done"]["run"] = wholes["done"]["run"]
    for number in range(count):
        kind = ("done", "half-done")[number % 2]
        shutil.rmtree(root / kind)
        shutil.copytree(root / f"{kind}-kept", root / kind)
        what = edit(root / kind / "ledger.db", seed + number)
        shown = list(tried(root / kind))
        silent = [name for name, said, text in shown if not said and text != wholes[kind][name]]
        for name, _, text in shown:
            if name in silent:
                (root / f"{number}-{name}").write_text(text)
                (root / f"{kind}-{name}").write_text(wholes[kind][name])
        unsaid += bool(silent)
        print(f"{number} ({kind}): {what}: {silent or 'said, or the same'}", flush=True)
    sys.exit(1 if unsaid else 0)


if __name__ == "__main__":
    campaign(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
