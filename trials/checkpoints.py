"""Tensors in safetensors files that are there whole or not at all, each known by its checksum."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import uuid
from collections.abc import Mapping
from os.path import realpath
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from silo.errors import InvalidInput, SiloOracleError
from trials.paths import URI, inside, open_remote
from trials.secrets import without_secrets
from trials.tasks import StoredFile

_LASTING = {
    errno.ENOSPC: ("is full", "free some space there"),
    errno.EDQUOT: ("is full: its quota is used up", "free some space there"),
    errno.EROFS: ("is read-only", "make it writable"),
    errno.ENOTDIR: ("is no folder", "make it one or name a folder of yours"),
    errno.ELOOP: ("is no folder", "make it one or name a folder of yours"),
    errno.EACCES: ("can't be written by this user", "make it writable"),
    errno.EPERM: ("can't be written by this user", "make it writable"),
}
"""Errors of a write that would come again at once: in words, and what would do."""


class DamagedFile(SiloOracleError):
    """A stored file is missing, or its bytes are not those that were written."""

    def __init__(self, file: StoredFile, reason: str) -> None:
        super().__init__(f"{file.path}: {reason}")
        self.file = file


class StorageFailed(SiloOracleError):
    """The storage takes no more files, and won't until somebody sees to it: it is full or read-only."""


class Store:
    """The files of one search, below a folder or a URI that pyarrow's file systems take (``s3://…``).

    A local file is written under a temporary name, synced to the disk and renamed; object stores show an
    upload only when it is complete, and one that failed is deleted, as pyarrow completes it all the same.
    Whoever is killed leaves no half file under a file's own name; the checksum tells of what went wrong else.
    A path that leads out of the root, by its names or by a link, is refused with InvalidInput.

    Args:
        root: An absolute folder, or a URI; ``file://…`` is the folder that it names.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._remote: tuple[Any, str] | None = None
        if URI.match(root):
            filesystem, base = open_remote(root)
            if filesystem.type_name == "local":
                self.root = base
            else:
                self._remote = filesystem, base

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, and no object store."""
        return self._remote is None

    def write(self, path: str, tensors: Mapping[str, Tensor]) -> StoredFile:
        """Writes the tensors, replacing what was there."""
        data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
        return self.write_bytes(path, data)

    def write_bytes(self, path: str, data: bytes) -> StoredFile:
        """Writes a file, replacing what was there.

        Raises:
            StorageFailed: The storage is full or read-only.
            OSError: Whatever else went wrong; trying again may help.
        """
        try:
            if self._remote:
                _upload(self._remote[0], self._place(path), data)
            else:
                write_durably(Path(self._place(path)), data)
        except OSError as error:
            below = error.errno in (errno.ENOTDIR, errno.ELOOP) and os.path.isdir(self.root)
            if below or error.errno not in _LASTING:
                raise
            raise StorageFailed(self._lasting(error)) from error
        return StoredFile(path=path, sha256=hashlib.sha256(data).hexdigest())

    def claim(self, path: str, data: bytes) -> bytes:
        """Writes a file unless there is one, and gives what it holds; in a folder, one of two comes first."""
        with contextlib.suppress(FileNotFoundError):
            return self._read_bytes(path)
        if self._remote:
            self.write_bytes(path, data)
        else:
            whole = Path(self.root) / path
            made = self.write_bytes(f"{path}.{uuid.uuid4().hex}", data)
            try:
                os.link(Path(self.root) / made.path, whole)
            except FileExistsError:
                pass
            except OSError:  # a file system without links, as of many network shares and memory cards
                self.write_bytes(path, data)
            self.delete(made.path)
        return self._read_bytes(path)

    def read(self, file: StoredFile) -> dict[str, Tensor]:
        """The tensors of a file, on the CPU.

        Raises:
            DamagedFile: The file is missing or its checksum is another.
        """
        return safetensors.torch.load(self.read_bytes(file))

    def read_unchecked(self, path: str) -> dict[str, Tensor]:
        """The tensors of a file that is known by what it holds, on the CPU.

        Raises:
            OSError: It is missing, or can't be read.
            SafetensorError: It is damaged.
        """
        return safetensors.torch.load(self._read_bytes(path))

    def read_bytes(self, file: StoredFile) -> bytes:
        """The bytes of a file.

        Raises:
            DamagedFile: The file is missing or its checksum is another.
        """
        try:
            data = self._read_bytes(file.path)
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedFile(file, "the file is missing") from None
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise DamagedFile(file, "the file's checksum is not the recorded one")
        return data

    def files(self) -> set[str]:
        """The paths of all files below the root."""
        if not self._remote:
            root = Path(self.root)
            return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        from pyarrow import fs

        filesystem, base = self._remote
        found = filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return {each.path.removeprefix(f"{base}/") for each in found if each.type == fs.FileType.File}

    def delete(self, path: str) -> None:
        """Deletes a file; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            if self._remote:
                self._remote[0].delete_file(self._place(path))
            else:
                Path(self._place(path)).unlink()

    def check_writable(self) -> None:
        """Writes and deletes a small file.

        Raises:
            InvalidInput: The store can't be written to.
        """
        path = f".write-check-{uuid.uuid4().hex}"
        try:
            self.write(path, {})
            self.delete(path)
        except StorageFailed as error:
            raise InvalidInput(str(error)) from error
        except OSError as error:
            shown = without_secrets(f"{self.root} ({error.strerror or error})")
            raise InvalidInput(f"storage can't be written: {shown}; name a folder of yours") from error

    def _lasting(self, error: OSError) -> str:
        assert error.errno is not None  # it is one of these
        what, would_do = _LASTING[error.errno]
        return (
            f"storage {without_secrets(self.root)} on {platform.node()} {what} ({error.strerror or error}); "
            f"{would_do}, and run the same command again: every finished trial is kept"
        )

    def _read_bytes(self, path: str) -> bytes:
        if not self._remote:
            return Path(self._place(path)).read_bytes()
        with self._remote[0].open_input_stream(self._place(path)) as stream:
            data: bytes = stream.read()
            return data

    def _place(self, path: str) -> str:
        """Where a file lies; what lies elsewhere is nobody's who only writes rows or links."""
        stays = inside(path)
        if self._remote:
            place = f"{self._remote[1]}/{path}"
        else:
            place = f"{self.root}/{path}"
            # A link that leads to itself is no folder, which whoever opens it hears.
            stays = stays and Path(realpath(os.path.dirname(place))).is_relative_to(realpath(self.root))
        if not stays:
            raise InvalidInput(
                f"file {path!r} leads out of storage {without_secrets(self.root)}: nothing there is written, "
                "read or deleted"
            )
        return place


def _upload(filesystem: Any, path: str, data: bytes) -> None:
    filesystem.create_dir(os.path.dirname(path), recursive=True)
    try:
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
    except BaseException:
        # Closing has shown what was written so far: pyarrow's streams can't be given up.
        with contextlib.suppress(Exception):
            filesystem.delete_file(path)
        raise


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name beside it, syncs it to the disk, and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


Tensors = dict[str, Tensor]

_WEIGHTS, _MASKS, _REWIND = "weights/", "masks/", "rewind/"


def pack_start(
    state: Mapping[str, Tensor], masks: Mapping[str, Tensor], rewind: Mapping[str, Tensor]
) -> Tensors:
    """The file of a pruned network: its masked state, its masks, and the state to rewind to."""
    return {**_under(_WEIGHTS, state), **_under(_MASKS, masks), **_under(_REWIND, rewind)}


def unpack_start(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """State and masks of :func:`pack_start`'s file."""
    return _below(_WEIGHTS, tensors), _below(_MASKS, tensors)


def with_rewind(state: Mapping[str, Tensor], rewind: Mapping[str, Tensor] | None) -> Tensors:
    """The file of a trained network: its state, and of cycle 0 the state to rewind to."""
    return {**state, **_under(_REWIND, rewind or {})}


def without_rewind(tensors: Mapping[str, Tensor]) -> Tensors:
    """The state of :func:`with_rewind`'s file."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_REWIND)}


def rewind_of(tensors: Mapping[str, Tensor]) -> Tensors:
    """The state to rewind to, which every file since cycle 0 hands on; empty where there is none."""
    return _below(_REWIND, tensors)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
