"""Two ledgers don't share a storage: the second search of a name is refused, and deletes nothing."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.session import MARK, claim_storage
from trials.checkpoints import Store


@pytest.fixture
def open_ledger(tmp_path):
    opened = []

    def make(name):
        opened.append(Ledger(f"sqlite:///{tmp_path}/{name}.db", create=True))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def files(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "report" not in str(path)
    }


def test_another_ledger_with_the_same_names_is_refused_and_deletes_nothing(finished, call, write):
    before = files(finished / "networks")
    write(ledger=f"sqlite:///{finished}/another.db")
    code, _, err = call("run", "spec.yaml", "--driver", "in-process")
    assert code == 3
    assert f"storage {finished}/networks/small holds the networks of search 'small' of another ledger" in err
    assert "/ledger.db; give this search another name or storage" in err
    assert files(finished / "networks") == before


def test_a_ledger_that_was_deleted_and_made_anew_is_another(finished, call):
    for file in finished.glob("ledger.db*"):
        file.unlink()
    code, _, err = call("run", "spec.yaml", "--driver", "in-process")
    assert code == 3 and "delete that folder if nobody needs them any more" in err
    shutil.rmtree(finished / "networks")
    assert call("run", "spec.yaml", "--driver", "in-process")[0] == 0


def test_a_copy_of_a_ledger_is_refused_and_a_moved_one_goes_on(finished, call, write):
    assert call("run", "spec.yaml", "--driver", "in-process")[0] == 0
    shutil.copy(finished / "ledger.db", finished / "copy.db")
    write(ledger=f"sqlite:///{finished}/copy.db")
    code, _, err = call("run", "spec.yaml", "--driver", "in-process")
    assert code == 3 and f"the ledger {finished}/ledger.db, of which this one is a copy" in err
    (finished / "ledger.db").unlink()
    assert call("run", "spec.yaml", "--driver", "in-process")[0] == 0
    assert json.loads((finished / "networks/small" / MARK).read_text())["place"] == f"{finished}/copy.db"


def test_a_storage_without_a_mark_is_taken_as_it_is_and_a_broken_mark_is_not(open_ledger, tmp_path):
    ledger, store = open_ledger("one"), Store(str(tmp_path / "s"))
    store.write_bytes("cycle-00/x", b"")
    claim_storage(store, ledger, "s")
    claim_storage(store, ledger, "s")
    with pytest.raises(Refused, match="networks of search 's' of another"):
        claim_storage(store, ledger, "t")
    (tmp_path / "s" / MARK).write_text("[]")
    with pytest.raises(Refused, match=r"its mark .* can't be read; delete that file if"):
        claim_storage(store, ledger, "s")
    assert files(tmp_path / "s").keys() == {"x", MARK}


@pytest.mark.parametrize("harm", [Path.mkdir, lambda mark: mark.symlink_to(mark)], ids=["folder", "loop"])
def test_a_mark_that_cannot_be_opened_is_named(open_ledger, tmp_path, harm):
    (tmp_path / "s").mkdir()
    harm(tmp_path / "s" / MARK)
    with pytest.raises(Refused, match=r"storage .*/s: its mark .* can't be read or written \("):
        claim_storage(Store(str(tmp_path / "s")), open_ledger("one"), "s")


def test_a_mark_of_a_ledger_that_nobody_can_look_for_is_that_of_one_that_was_moved(open_ledger, tmp_path):
    ledger, store = open_ledger("one"), Store(str(tmp_path / "s"))
    claim_storage(store, ledger, "s")
    mark = tmp_path / "s" / MARK
    own = json.loads(mark.read_text())
    mark.write_text(json.dumps({**own, "place": f"/{'a' * 300}/ledger.db"}))
    claim_storage(store, ledger, "s")
    assert json.loads(mark.read_text()) == own


def test_of_two_at_once_one_comes_first(open_ledger, tmp_path):
    ledgers = [open_ledger(str(number)) for number in range(4)]

    def claim(ledger):
        try:
            claim_storage(Store(str(tmp_path / "s")), ledger, "s")
        except Refused:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, ledgers)) == 1


@pytest.mark.slow
def test_an_object_store_carries_the_mark_too(open_ledger, bucket):
    store = Store(bucket.uri("claimed"))
    claim_storage(store, open_ledger("one"), "s")
    claim_storage(store, open_ledger("one"), "s")
    with pytest.raises(Refused, match=r"of another ledger, .*one.db"):
        claim_storage(store, open_ledger("two"), "s")
