"""References in the arguments of components: ``${env:NAME}`` and ``${file:/PATH}`` are what workers have.

It is looked up when a component is called, and nowhere else: specs, recipes, keys and ledgers hold the
reference. From then on it is taken for a secret, see :mod:`trials.secrets`.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from silo.errors import InvalidInput
from trials.paths import expanded
from trials.secrets import remember

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
        InvalidInput: There is no such variable or file on this machine.
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
