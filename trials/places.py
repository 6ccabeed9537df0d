"""Places of files that are not this project's own: paths, and URIs that pyarrow's file systems take."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

from silo.errors import InvalidInput
from trials.paths import expanded
from trials.secrets import without_secrets

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
    from trials.datasets.checks import GIGABYTE, available_memory

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
