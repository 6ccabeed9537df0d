"""A ledger's file that is deleted, moved or replaced under a search: nothing is written elsewhere."""

import os
import shutil

import pytest

import oracle
from oracle.errors import LedgerFailed
from oracle.ledger import Ledger
from oracle.ledger.database import FileReplaced
from tests.support import small_spec

TRAINING = {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False}


def _deleted(file):
    for each in file.parent.glob("ledger.db*"):
        each.unlink()


def _moved(file):
    file.parent.rename(file.parent.with_name("moved"))


def _replaced(file):
    shutil.copy(file, file.with_name("copy"))
    os.replace(file.with_name("copy"), file)


def _linked_elsewhere(file):
    file.rename(file.with_name("kept"))
    shutil.copy(file.with_name("kept"), file.with_name("copy"))
    file.symlink_to("copy")


@pytest.mark.parametrize("harm", [_deleted, _moved, _replaced, _linked_elsewhere])
def test_a_search_stops_and_says_so(tmp_path, harm):
    class Harms(oracle.Observer):
        def trained(self, session, outcomes):
            if not told:
                told.append(file.read_bytes() if harm in (_replaced, _linked_elsewhere) else None)
                harm(file)

    told, folder = [], tmp_path / "ledgers"
    folder.mkdir()
    file = folder / "ledger.db"
    spec = small_spec(tmp_path, ledger=f"sqlite:///{file}", cycles=1, replicates=1, training=TRAINING)
    with pytest.raises(LedgerFailed, match=r"ledger sqlite:.*ledger\.db was deleted, moved or replaced"):
        oracle.run(spec, driver="in-process", observers=[Harms()])
    (left,) = told
    assert file.read_bytes() == left if left else not file.exists()


def test_one_that_is_gone_is_made_by_no_reader(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    ledger.close()
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(FileReplaced):
        ledger.names()
    assert not (tmp_path / "ledger.db").exists()


def test_one_that_was_named_from_here_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = Ledger("sqlite:///ledger.db", create=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ledger.engine.dispose()  # what is asked next connects anew
    assert not ledger.names()
    ledger.close()
    assert not list((tmp_path / "elsewhere").iterdir())
