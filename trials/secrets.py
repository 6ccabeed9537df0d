"""Keeps the passwords of database and storage URLs out of what is printed, recorded and exported."""

from __future__ import annotations

import re
from typing import Any

_NAMES = r"(?:[\w-]*[_-])?(?:password|passwd|secret|token|api_?key|access_?key|secret_?key|credentials)"
"""Names of fields that hold a secret."""

_SHORTEST = 6
"""Characters of a field's value that may be a secret: ``token: cls`` is none."""

_PATTERNS = (
    re.compile(r"(://[^/:@\s]*:)[^\s]*(?=@)"),
    re.compile(r"(?i)([?&][^=&\s]*(?:password|secret|token|(?<!ssl)key)[^=&\s]*=)[^&\s]*"),
    re.compile(
        rf"(?i)(?<![\w-])({_NAMES}[\"']?[ \t]*[:=][ \t]*([\"']))(?:\\.|(?!\2)[^\\\n]){{{_SHORTEST},}}(?=\2)"
    ),
    re.compile(rf"(?i)(?<![\w-])({_NAMES}[\"']?[ \t]*[:=][ \t]*[\"']?)[^\s\"',&}}]{{{_SHORTEST},}}"),
)


def without_secrets(value: Any) -> Any:
    """JSON-able data or a text, with ``***`` for passwords in URLs, and in fields such as ``hf_token``."""
    if isinstance(value, dict):
        return {
            name: "***" if _is_secret(name, inner) else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str):
        for pattern in _PATTERNS:
            value = pattern.sub(r"\1***", value)
    return value


def _is_secret(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return len(value) >= _SHORTEST and bool(re.fullmatch(rf"(?i){_NAMES}", name))
