"""Checks of data sets' arguments."""

from pathlib import Path
from typing import Any

from silo.errors import InvalidInput


def folder_of(root: Any) -> Path:
    """A folder's path, ``~`` expanded; the folder need not exist.

    Raises:
        InvalidInput: It is no path, or the home folder it names doesn't exist.
    """
    try:
        return Path(root).expanduser()
    except (TypeError, RuntimeError) as error:
        raise InvalidInput(f"root {root!r} can't be used: give a folder, such as data ({error})") from None


def whole_number(name: str, value: Any, *, least: int = 1) -> int:
    """The value itself.

    Raises:
        InvalidInput: It is no integer (a bool is none) or below ``least``; ``name`` says which argument it
            was.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number from {least} on: given was {value!r}")
    return value
