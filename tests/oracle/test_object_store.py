"""Searches whose networks lie in an object store: the same results, whatever happens to it."""

import uuid

import pytest

import oracle
from oracle.drivers import in_process
from oracle.observers import Observer
from oracle.preflight import open_runner
from oracle.search import Signal
from oracle.session import MARK
from tests.object_store import BUCKET
from tests.support import open_session, results, run_in_process, small_spec
from trials.tasks import Failed, PruneNetwork

SHORT = {"cycles": 2, "training": {"epochs": 1, "batch_size": 64, "pack": 3, "compile": False}}


@pytest.fixture
def folder():
    return uuid.uuid4().hex


@pytest.fixture
def spec(tmp_path, bucket, folder):
    return small_spec(tmp_path, storage=bucket.uri(folder), **SHORT)


@pytest.fixture(scope="module")
def on_a_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    session = run_in_process(small_spec(folder, **SHORT))
    files = folder / "networks/small"
    found = {path.relative_to(files).as_posix(): path for path in files.rglob("*") if path.is_file()}
    return results(session), networks({name: path.read_bytes() for name, path in found.items()})


def networks(files):
    """The files but for the mark, which tells of the ledger."""
    return {name: data for name, data in files.items() if name != MARK}


def test_a_search_finds_and_leaves_what_it_does_on_a_folder(spec, bucket, folder, on_a_folder):
    session = run_in_process(spec)
    assert (results(session), networks(bucket.files(f"{folder}/small"))) == on_a_folder


def test_a_network_is_taken_from_there_and_begun_with_there(spec, bucket, folder, tmp_path):
    run_in_process(spec)
    taken = oracle.load("small", spec.ledger).trained_network()
    bucket.put(f"{BUCKET}/{folder}/net.pt", taken.write(tmp_path / "net.pt").read_bytes())
    place, _, options = bucket.uri(folder).partition("?")
    network = {"name": "fc", "arguments": {"hidden": [16]}, "checkpoint": f"{place}/net.pt?{options}"}
    again = small_spec(tmp_path, network=network, **SHORT)
    runner = open_runner(again)
    begun = runner.network(0).state_dict()
    assert begun.keys() == taken.module.state_dict().keys()
    assert all(begun[name].equal(tensor) for name, tensor in taken.module.state_dict().items())


@pytest.mark.parametrize("damage", [None, lambda data: data[: len(data) // 2], lambda data: data[:-1] + b"~"])
def test_what_vanished_or_was_damaged_is_trained_again(spec, bucket, folder, on_a_folder, damage):
    with open_session(spec) as session:
        while not isinstance(task := session.ask(), PruneNetwork):
            in_process_step(session, task)
    path = f"{BUCKET}/{folder}/small/{task.parent.path}"
    if damage is None:
        bucket.filesystem.delete_file(path)
    else:
        bucket.put(path, damage(bucket.read(path)))
    witness = Witness()
    with open_session(spec, observers=[witness]) as session:
        assert in_process.run(session) is Signal.DONE
    assert witness.reasons == [f"{task.parent.path} is missing or damaged"]
    assert (results(session), networks(bucket.files(f"{folder}/small"))) == on_a_folder
    assert len(session.ledger.outcomes("small")) == len(on_a_folder[0])


def test_while_the_server_is_away_tasks_fail_and_are_tried_again(spec, bucket, folder, on_a_folder):
    away = Away(bucket)
    with open_session(spec, observers=[away]) as session:
        assert in_process.run(session) is Signal.DONE
    assert len(away.reasons) == 1 and "NETWORK_CONNECTION" in away.reasons[0]
    assert (results(session), networks(bucket.files(f"{folder}/small"))) == on_a_folder


def test_losers_that_could_not_be_deleted_are_deleted_by_the_next_run(spec, bucket, folder, on_a_folder):
    with open_session(spec) as session:
        session._store.delete = lambda path: (_ for _ in ()).throw(OSError("Slow Down"))
        assert in_process.run(session) is Signal.DONE
    assert len(bucket.files(f"{folder}/small")) > len(on_a_folder[1])
    with open_session(spec) as session:
        assert (results(session), networks(bucket.files(f"{folder}/small"))) == on_a_folder


def test_credentials_in_a_uri_are_in_no_row_report_or_line(bucket, folder, call, write, tmp_path):
    storage = bucket.uri(folder).replace("s3://", "s3://AKIA:wJalrXUtnFEMI@")
    spec_file = write(storage=storage, **SHORT | {"cycles": 1})
    shown = [call(*command, spec_file) for command in (["run", "--driver", "in-process"], ["status"])]
    bucket.filesystem.delete_dir(f"{BUCKET}/{folder}")
    longer = write(storage=storage, **SHORT)
    shown += [call(*command, longer) for command in (["run", "--driver", "in-process"], ["report"], ["plan"])]
    assert [code for code, _, _ in shown] == [0] * 5, shown
    spec_file.unlink()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"AKIA:***@" in data for data in written.values())
    assert not any(b"wJalrXUtnFEMI" in data for data in written.values())
    assert "wJalrXUtnFEMI" not in str(shown)


def test_credentials_in_an_error_are_in_no_row_or_line(tmp_path):
    witness = Witness()
    with open_session(small_spec(tmp_path, **SHORT), observers=[witness]) as session:
        task = session.ask()
        for _ in range(3):
            session.tell(task, Failed(error="no bucket at s3://AKIA:wJalrXUtnFEMI@bucket/x"))
        (row, *_) = session.ledger.cycle_study("small", 0).trials
    shown = [row.user_attrs["error"], session.first_error, *witness.reasons]
    assert shown == ["no bucket at s3://AKIA:***@bucket/x"] * 5


def in_process_step(session, task):
    from trials.runner import Runner

    runner = Runner(session.recipe, storage=session.spec.storage_root())
    session.tell(task, runner.run(task))


class Witness(Observer):
    def __init__(self):
        self.reasons = []

    def retried(self, session, task, reason):
        self.reasons.append(reason)


class Away(Witness):
    """The server goes with the first result, and comes back with the first failure."""

    def __init__(self, bucket):
        super().__init__()
        self._bucket, self._gone = bucket, False

    def trained(self, session, outcomes):
        if not self._gone:
            self._gone = True
            self._bucket.stop()

    def retried(self, session, task, reason):
        super().retried(session, task, reason)
        self._bucket.start()
