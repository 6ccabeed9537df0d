"""Places as people write them: paths, in which ``~`` and environment variables stand for what they do in a
shell; the user's files, at paths or URIs; and references in the arguments of components: ``${env:NAME}``
and ``${file:/PATH}`` are what workers have.

A reference is looked up when a component is called, and nowhere else: specs, recipes, keys and ledgers hold
the reference. From then on it is taken for a secret, see :mod:`trials.secrets`.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from silo.errors import InvalidInput
from trials.secrets import remember, without_secrets

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def expanded(path: str, what: str) -> str:
    """The path with ``~``, ``$NAME`` and ``${NAME}`` replaced.

    Args:
        path: The path, as it was given.
        what: The path's meaning, for messages: ``"storage"``.

    Raises:
        InvalidInput: There is no such variable, or no such home folder.
    """
    for name in (braced or bare for braced, bare in _VARIABLE.findall(path)):
        if name not in os.environ:
            raise InvalidInput(
                f"{what}: {path!r}: the environment variable {name} is not set here; set it, or write it out"
            )
    try:
        return str(Path(os.path.expandvars(path)).expanduser())
    except RuntimeError:
        raise InvalidInput(f"{what}: no home folder for {path!r}; give a path without ~") from None


def inside(path: str) -> bool:
    """Whether a path stays below the folder or URI that it is joined to, whatever lies there."""
    names = path.split("/")
    return not any(name in ("", ".", "..") for name in names) and not set(path) & set("\\\0")


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written into a folder that may have to be made first; None if something can.

    Nothing is made.
    """
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        reason = f"{place} is no folder" if not place.is_dir() else error.strerror or str(error)
        return reason if place == folder or not place.is_dir() else f"{reason} in {place}"


URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")

_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors of a read that come again: nobody can read a file there."""


def read_place(place: str, what: str) -> bytes:
    """The bytes of a file of the user's, at a path or a URI that pyarrow's file systems take.

    Args:
        place: The path, with ``~`` and environment variables, or the URI.
        what: The file's meaning, for messages: ``"checkpoint"``.

    Raises:
        InvalidInput: There is none, it can't be read by this user, or it is larger than there is memory.
        OSError: It can't be read now; trying again may help.
    """
    try:
        if not URI.match(place):
            here = Path(expanded(place, what))
            _check_kind(place, what, not here.exists() or here.is_file() or here.is_dir())
            _check_size(place, what, here.stat().st_size)
            return here.read_bytes()
        filesystem, path = open_remote(place, what)
        about = filesystem.get_file_info(path)
        _check_kind(place, what, about.type.name != "Unknown")
        _check_size(place, what, about.size or 0)
        with filesystem.open_input_stream(path) as stream:
            data: bytes = stream.read()
            return data
    except OSError as error:
        reason = f"{what} {without_secrets(place)} can't be read on {platform.node()}: "
        if isinstance(error, _NO_FILE):
            raise InvalidInput(
                f"{reason}{error.strerror or 'there is no such file'}; put it where every node sees it, or "
                "give a URI such as s3://bucket/file"
            ) from error
        raise OSError(without_secrets(f"{reason}{error.strerror or error}")) from error


def _check_kind(place: str, what: str, ends: bool) -> None:
    if not ends:  # a device or a pipe
        raise InvalidInput(f"{what} {place} is no file")


def _check_size(place: str, what: str, size: int) -> None:
    from trials.datasets.base import GIGABYTE, available_memory

    needed, there = 2 * size, available_memory()  # its bytes, and the tensors in them
    if needed > there:
        raise InvalidInput(
            f"{what} {without_secrets(place)} needs {needed / GIGABYTE:,.1f} GB of memory in every worker, "
            f"{there / GIGABYTE:,.1f} GB are available on {platform.node()}: give one of fewer tensors"
        )


def open_remote(root: str, what: str = "storage") -> tuple[Any, str]:
    """The file system and the path in it that a URI names.

    Args:
        root: The URI.
        what: Its meaning, for messages.

    Raises:
        InvalidInput: It is none that pyarrow takes, or there is no pyarrow.
    """
    try:
        from pyarrow import fs
    except ImportError as error:
        raise InvalidInput(
            f"{what} {root!r} is a URI, which needs pyarrow: pip install pyarrow, or give a path"
        ) from error
    try:
        filesystem, base = fs.FileSystem.from_uri(root)
    except (ValueError, OSError) as error:
        problem = f"{what} {root!r} is no URI that pyarrow's file systems take: {error}"
        raise InvalidInput(without_secrets(problem)) from error
    return filesystem, base.rstrip("/")


_REFERENCE = re.compile(r"\$\{(env|file):([^{}]*)\}")
_BEGUN = re.compile(r"\$\{\s*(?:env|file)\s*:")

_LARGEST = 65_536
"""Bytes of a file that a reference may name."""


def check_references(data: Any) -> None:
    """Looks whether what begins as a reference is one; whether there is such a thing is not looked at.

    Raises:
        InvalidInput: One can't be read.
    """
    for text in _texts(data):
        whole = [match.group(2).strip() for match in _REFERENCE.finditer(text)]
        if len(whole) < len(_BEGUN.findall(text)) or not all(whole):
            raise InvalidInput(f"{text!r} is no reference: give ${{env:NAME}} or ${{file:/PATH}}")


def has_references(data: Any) -> bool:
    """Whether anything in JSON-able data is to be looked up."""
    return any(map(_REFERENCE.search, _texts(data)))


def looked_up(data: Any) -> Any:
    """JSON-able data with the values in place of the references.

    Raises:
        InvalidInput: There is no such variable or file on this machine, or it is empty.
    """
    if isinstance(data, Mapping):
        return {name: looked_up(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [looked_up(value) for value in data]
    return _REFERENCE.sub(_value, data) if isinstance(data, str) else data


def _value(found: re.Match[str]) -> str:
    kind, name = found.groups()
    value = os.environ.get(name) if kind == "env" else _read(name)
    if value is None:
        raise InvalidInput(
            f"the environment variable {name} is not set on {platform.node()}: set it wherever workers run, "
            "or give ${file:/PATH}"
        )
    if not value.strip():  # what a shell makes of a secret that it doesn't have
        raise InvalidInput(f"{found.group()} is empty on {platform.node()}: leave it out, or give it a value")
    remember(value)
    return value


def _read(name: str) -> str:
    path, what = Path(expanded(name, "${file:…}")), f"${{file:{name}}} on {platform.node()}"
    if not path.is_absolute():
        raise InvalidInput(f"${{file:{name}}}: give an absolute path, as workers have folders of their own")
    try:
        if not path.is_file():
            raise InvalidInput(f"{what}: there is no such file")
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise InvalidInput(f"{what}: it has more than {_LARGEST:,} bytes, as no secret has")
        return data.decode().rstrip("\r\n")
    except OSError as error:
        raise InvalidInput(f"{what}: it can't be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise InvalidInput(f"{what}: it is no UTF-8 text") from None


def _texts(data: Any) -> list[str]:
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, list | tuple):
        return [text for each in data for text in _texts(each)]
    return [data] if isinstance(data, str) else []
