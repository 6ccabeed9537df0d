"""Files in an object store, over the protocol that it speaks."""

import uuid

import pytest
import torch

from silo.errors import InvalidInput
from tests.object_store import BUCKET
from trials import checkpoints
from trials.checkpoints import DamagedFile, Store
from trials.paths import read_place

SECRET = "wJalrXUtnFEMI"


@pytest.fixture
def folder():
    return uuid.uuid4().hex


@pytest.fixture
def store(bucket, folder):
    return Store(bucket.uri(folder))


def test_a_file_is_one_object_whose_bytes_are_those_of_a_file_in_a_folder(bucket, store, folder, tmp_path):
    tensors = {"x": torch.arange(5.0)}
    here, there = Store(str(tmp_path)).write("cycle-00/a", tensors), store.write("cycle-00/a", tensors)
    assert here == there
    assert bucket.files(folder) == {"cycle-00/a": (tmp_path / "cycle-00/a").read_bytes()}


def test_the_server_may_come_from_the_environment(bucket, folder, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    file = Store(f"s3://{BUCKET}/{folder}").write("a", {"x": torch.ones(2)})
    assert list(bucket.files(folder)) == ["a"]
    assert torch.equal(Store(bucket.uri(folder)).read(file)["x"], torch.ones(2))


def test_a_file_of_the_users_own_is_read_from_its_address(bucket, store, folder):
    store.write_bytes("net.pt", b"weights")
    base, _, options = bucket.uri(folder).partition("?")
    assert read_place(f"{base}/net.pt?{options}", "checkpoint") == b"weights"
    with pytest.raises(
        InvalidInput, match=r"checkpoint .*none\.pt.* can't be read on .*; put it where every node"
    ):
        read_place(f"{base}/none.pt?{options}", "checkpoint")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\1", lambda data: b""])
def test_other_bytes_are_damaged(bucket, store, folder, damage):
    file = store.write("a", {"x": torch.ones(2)})
    bucket.put(f"{BUCKET}/{folder}/a", damage(bucket.read(f"{BUCKET}/{folder}/a")))
    with pytest.raises(DamagedFile, match="a: the file's checksum is not the recorded one"):
        store.read(file)


class Torn:
    """A file system whose streams break in the middle."""

    def __init__(self, filesystem, error):
        self._filesystem, self._error = filesystem, error

    def __getattr__(self, name):
        return getattr(self._filesystem, name)

    def open_output_stream(self, path):
        return TornStream(self._filesystem.open_output_stream(path), self._error)


class TornStream:
    def __init__(self, stream, error):
        self._stream, self._error = stream, error

    def __enter__(self):
        self._stream.__enter__()
        return self

    def __exit__(self, *failure):
        self._stream.__exit__(*failure)

    def write(self, data):
        self._stream.write(data[: len(data) // 2])
        raise self._error


@pytest.mark.parametrize("error", [OSError("the connection broke"), KeyboardInterrupt()])
def test_a_write_that_breaks_leaves_no_object(bucket, store, folder, error, monkeypatch):
    upload = checkpoints._upload
    monkeypatch.setattr(checkpoints, "_upload", lambda files, *rest: upload(Torn(files, error), *rest))
    with pytest.raises(type(error)):
        store.write("a", {"x": torch.ones(2)})
    assert bucket.files(folder) == {}


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down"])
def test_a_passing_trouble_is_not_noticed(bucket, store, status):
    bucket.trouble(status)
    file = store.write("a", {"x": torch.ones(2)})
    assert len(bucket.refused) == 1
    bucket.trouble(status)
    assert torch.equal(store.read(file)["x"], torch.ones(2))
    assert len(bucket.refused) == 1


def test_a_bucket_that_is_not_there_is_refused(bucket):
    with pytest.raises(InvalidInput, match=r"storage can't be written: s3://no-such-bucket/x.*not found"):
        Store(bucket.uri("x").replace(BUCKET, "no-such-bucket")).check_writable()


@pytest.mark.parametrize("problem", ["s3://AKIA:{}@bucket/x?nope=1", "s3://AKIA:{}@no-such-bucket/x?{}"])
def test_credentials_in_a_uri_are_not_shown(bucket, problem):
    uri = problem.format(SECRET, f"endpoint_override={bucket.endpoint}")
    with pytest.raises(InvalidInput) as caught:
        Store(uri).check_writable()
    assert "AKIA:***@" in str(caught.value) and SECRET not in str(caught.value)
