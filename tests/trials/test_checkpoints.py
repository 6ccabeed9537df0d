import errno
import hashlib
import os
import sys
import uuid

import pytest
import torch

from silo.errors import InvalidInput, SiloOracleError
from trials.checkpoints import DamagedFile, StorageFailed, Store
from trials.tasks import StoredFile

TENSORS = {
    "float32": torch.tensor([1.5, -0.0, float("nan"), float("inf"), 1e-45]),
    "float64": torch.randn(3, 4, dtype=torch.float64).t(),
    "bfloat16": torch.randn(5).bfloat16(),
    "scalar": torch.tensor(7),
    "masks/a.b": torch.tensor([[True, False], [False, True]]),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "empty": torch.empty(0, 3),
}


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.fixture(params=["folder", "file", "mock", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return Store(request.getfixturevalue("bucket").uri(uuid.uuid4().hex))
    roots = {"folder": str(tmp_path / "s"), "file": f"file://{tmp_path}/s", "mock": "mock:///bucket/s"}
    return Store(roots[request.param])


@pytest.fixture
def folder(tmp_path):
    return Store(str(tmp_path / "s"))


def test_bit_for_bit(store):
    file = store.write("cycle-00/replicate-1/a.safetensors", TENSORS)
    assert file.path == "cycle-00/replicate-1/a.safetensors" and len(file.sha256) == 64
    read = store.read(file)
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read[name].dtype == tensor.dtype and read[name].shape == tensor.shape, name
        assert bits(read[name]) == bits(tensor), name


def test_the_checksum_follows_from_the_tensors_alone(store, tmp_path):
    other = Store(str(tmp_path / "elsewhere"))
    assert store.write("a", TENSORS) == store.write("a", TENSORS) == other.write("a", dict(TENSORS))
    assert store.write("a", {"scalar": torch.tensor(8)}).sha256 != other.write(
        "a", {"scalar": TENSORS["scalar"]}
    )


def test_the_newest_is_read(store):
    first = store.write("a", {"x": torch.zeros(2)})
    second = store.write("a", {"x": torch.ones(2)})
    assert torch.equal(store.read(second)["x"], torch.ones(2))
    with pytest.raises(DamagedFile, match="checksum"):
        store.read(first)


OUTSIDE = ("../precious", "a/../../precious", "/precious", "", "a//b", "a\\..\\b", "a\0b")


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_root(store, path):
    """Rows that others can write name files; what they name elsewhere is left alone."""
    with pytest.raises(InvalidInput, match="does not lie below the search's storage"):
        StoredFile(path=path, sha256="0" * 64)
    for touch in (store.delete, store.read_unchecked, lambda path: store.write(path, {})):
        with pytest.raises(InvalidInput, match=r"leads out of storage .*: nothing there is"):
            touch(path)


def test_no_link_leads_out_of_the_root_and_the_root_may_be_one(tmp_path):
    precious, root = tmp_path / "precious", tmp_path / "s"
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    precious.mkdir()
    (precious / "a").write_bytes(b"kept")
    (root / "cycle-00").symlink_to(precious)
    store = Store(str(root))
    for touch in (store.delete, store.read_unchecked, lambda path: store.write(path, {})):
        with pytest.raises(InvalidInput, match="file 'cycle-00/a' leads out of storage"):
            touch("cycle-00/a")
    assert (precious / "a").read_bytes() == b"kept"
    file = store.write("cycle-01/a", TENSORS)
    assert store.read(file).keys() == TENSORS.keys()
    store.delete(file.path)
    assert not list((tmp_path / "disk/cycle-01").iterdir())


@pytest.mark.parametrize("what", ["a file", "a link to itself"])
def test_a_root_that_is_no_folder_any_more_is_named(tmp_path, what):
    store = Store(f"{tmp_path}/s/networks")
    written = store.write("a", TENSORS)
    (tmp_path / "s").rename(tmp_path / "moved")
    if what == "a file":
        (tmp_path / "s").touch()
        with pytest.raises(DamagedFile, match="the file is missing"):
            store.read(written)
    else:
        (tmp_path / "s").symlink_to("s")
    said = r"storage .*/s/networks on .* is no folder \(.*\); make it one or name a folder of yours, and run"
    with pytest.raises(StorageFailed, match=said):
        store.write("b", TENSORS)
    with pytest.raises(InvalidInput, match=said):
        store.check_writable()


def test_a_file_is_claimed_where_there_are_no_links(tmp_path, monkeypatch):
    def refuses(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    store = Store(str(tmp_path))
    assert [store.claim("a", data) for data in (b"first", b"second")] == [b"first"] * 2
    assert store.files() == {"a"}


def test_a_missing_file_is_damaged_and_is_deleted_without_complaint(store):
    missing = StoredFile(path="not/there", sha256="0" * 64)
    with pytest.raises(DamagedFile, match="not/there: the file is missing") as caught:
        store.read(missing)
    assert caught.value.file == missing and isinstance(caught.value, SiloOracleError)
    store.delete("not/there")
    file = store.write("a", TENSORS)
    store.delete("a")
    store.delete("a")
    with pytest.raises(DamagedFile, match="missing"):
        store.read(file)


def test_the_files_are_listed_by_their_paths(store):
    assert store.files() == set()
    store.write("b/c/d", TENSORS)
    store.write("a", TENSORS)
    assert store.files() == {"a", "b/c/d"}
    store.delete("a")
    assert store.files() == {"b/c/d"}


def flipped(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


@pytest.mark.parametrize(
    "damage", [flipped, lambda data: data[:-1], lambda data: b"", lambda data: data + b"\0"]
)
def test_other_bytes_are_damaged(folder, damage):
    file = folder.write("a", TENSORS)
    path = os.path.join(folder.root, "a")
    with open(path, "rb") as stream:
        data = stream.read()
    with open(path, "wb") as stream:
        stream.write(damage(data))
    with pytest.raises(DamagedFile, match="a: the file's checksum is not the recorded one"):
        folder.read(file)


def test_the_checksum_is_that_of_the_file(folder, tmp_path):
    file = folder.write("a", TENSORS)
    assert hashlib.sha256((tmp_path / "s" / "a").read_bytes()).hexdigest() == file.sha256


@pytest.mark.parametrize("root", ["{}/s", "file://{}/s"])
@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(root, broken, tmp_path, monkeypatch):
    store = Store(root.format(tmp_path))
    old = store.write("a", {"x": torch.zeros(2)})

    def fails(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fails)
        with pytest.raises(
            StorageFailed, match=r"^storage .*/s on .* is full \(No space left on device\); free some space"
        ):
            store.write("a", {"x": torch.ones(2)})
    assert [each.name for each in (tmp_path / "s").iterdir()] == ["a"]
    assert torch.equal(store.read(old)["x"], torch.zeros(2))


def test_what_is_renamed_is_on_the_disk_by_then(folder, monkeypatch):
    happened = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: happened.append("sync") or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda *paths: happened.append("rename") or replace(*paths))
    folder.write("a", TENSORS)
    assert happened == ["sync", "rename", "sync"]


def test_a_file_uri_is_the_folder_that_it_names(tmp_path):
    uri, folder = Store(f"file://{tmp_path}/a%20b"), Store(str(tmp_path / "a b"))
    assert torch.equal(folder.read(uri.write("x", TENSORS))["bytes"], TENSORS["bytes"])


def test_a_writable_store_is_left_as_it_was(store, tmp_path):
    store.check_writable()
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


@pytest.mark.parametrize("root", ["{}/file/below", "file://{}/file/below"])
def test_a_store_that_can_not_be_written_is_refused(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        InvalidInput, match=r"storage .*/file/below on .* is no folder .*name a folder of yours"
    ):
        Store(root.format(tmp_path)).check_writable()


@pytest.mark.parametrize("root", ["nowhere://a/b", "file://"])
def test_no_such_uri(root):
    with pytest.raises(InvalidInput, match="no URI that pyarrow's file systems take"):
        Store(root)


def test_pyarrow_is_needed_for_uris_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    Store(str(tmp_path))
    with pytest.raises(InvalidInput, match="needs pyarrow: pip install pyarrow"):
        Store("s3://bucket/folder")
