"""A ledger that was edited anywhere gives no traceback, and no other number without a word."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from oracle.ledger import Ledger, database
from oracle.results import Results
from tests.effort import tries
from tests.laws.edits import edit
from tests.oracle.invented import invent, write_ledger

EDITS = tries(15)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    spec, search = invent(cycles=3, replicates=2)
    with closing(Ledger(write_ledger(folder, spec, search))) as ledger:
        run = ledger.start_run(spec.name, driver="in-process", host="here", versions={})
        ledger.end_run(run, state="done")
    return folder / "invented.db"


def told(path):
    """All numbers of a search, as its frames have them."""
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        results = Results.read(ledger, ledger.search("invented"), draws=0)
    return {name: getattr(results, name).to_csv() for name in ("trials", "candidates", "intervals")}


@pytest.mark.parametrize("seed", range(EDITS))
def test_an_edit_is_said_or_changes_no_number(whole, tmp_path, monkeypatch, seed, call):
    monkeypatch.setenv("ORACLE_LEDGER_PATIENCE", "0")
    monkeypatch.setattr(database, "_SQLITE_TIMEOUT_SECONDS", 0.05)
    path = tmp_path / "edited.db"
    shutil.copy(whole, path)
    what = edit(path, seed)
    code, _, err = call("status", "invented", "--ledger", f"sqlite:///{path}")
    assert code in (0, 1, 3), what
    assert bool(err) or code == 0, what
    if not err:
        assert told(path) == told(whole), what
