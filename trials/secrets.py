"""Keeps the passwords of database and storage URLs out of what is printed, recorded and exported."""

from __future__ import annotations

import re
from typing import Any

_PATTERNS = (
    re.compile(r"(://[^/:@\s]*:)[^\s]*(?=@)"),
    re.compile(r"(?i)([?&][^=&\s]*(?:password|secret|token|key)[^=&\s]*=)[^&\s]*"),
)


def without_secrets(value: Any) -> Any:
    """JSON-able data or a text, in which URLs show ``***`` for a password."""
    if isinstance(value, dict):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str):
        for pattern in _PATTERNS:
            value = pattern.sub(r"\1***", value)
    return value
