"""Paths as people write them: ``~`` and environment variables stand for what they stand for in a shell; and
paths as rows name them."""

import os
import re
import tempfile
from pathlib import Path

from silo.errors import InvalidInput

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
