"""Keeps secrets out of what is printed, recorded and exported: by their names, their form, and their values.

A spec that holds one is refused (:func:`secret_in`); a reference stands for it, see :mod:`trials.paths`.
All that leaves a process goes through :func:`without_secrets`, too, for those that come another way.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_PREFIX = r"(?:[\w-]*[_-]|[A-Za-z0-9]*(?-i:[a-z0-9](?=[A-Z])))?"
"""``hf_token``, ``x-api-key`` and ``authToken`` are named as ``token`` and ``api_key`` are."""

_PASSWORDS = r"password|passwd|passphrase|pwd|pw|secret"
_NAMES = rf"{_PREFIX}(?:{_PASSWORDS}|token|(?:api|access|secret|private)[_-]?key|credentials|auth|cookie)"
"""Names of fields that hold a secret, beside ``Authorization``."""

_SHORTEST = 6
"""Characters of a field's value that may be a secret: ``token: cls`` is none."""

_NOT = r"(?!\$\{|[~.]{0,2}/|<|\[)"
"""What a secret doesn't begin with: a reference, a path, a special token such as ``<pad>``."""

_KNOWN_FORMS = (
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS's key ids
    r"gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,}",
    r"sk-[\w-]{20,}|AIza[\w-]{35}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*",
)

_VALUE = rf"[^\s\"',&}}\])]{{{_SHORTEST},}}"

_PATTERNS = (
    re.compile(r"(^[\w+.-]+://[^/:@\s]*:)(?!\$\{)(?!\d{1,5}/)[^\n]*(?=@)"),
    re.compile(r"(://[^/:@\s]*:)(?!\$\{)(?!\d{1,5}[/\s])[^\s/@]+(?: [^\s/@]+)+(?=@)"),
    re.compile(r"(://[^/:@\s]*:)(?!\$\{)[^\s]*(?=@)"),
    re.compile(
        r"(?i)([?&](?:[^=&\s]*(?:password|passwd|passphrase|secret|token|signature|credential|(?<!ssl)key)"
        r"[^=&\s]*|(?:[^=&\s]*[-_.])?(?:sig|pwd|pw|auth))=)(?!\$\{)[^&\s\"']*"
    ),
    re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+ )?)" + _NOT + r"[^\s\"',}]+"),
    re.compile(r"(?i)(\b(?:bearer|basic) )(?=[^\s\"']*(?:\d|(?-i:[a-z][A-Z])))[\w.~+/=-]{8,}"),
    re.compile(rf"(?i)(?<![\w-])({_PREFIX}auth[\"']?[ \t]*[:=][ \t]*[\[(])(?![^\])\n]*\$\{{)[^\])\n]*"),
    re.compile(
        rf"(?i)(?<![\w-])({_NAMES}[\"']?[ \t]*[:=][ \t]*([\"']))"
        rf"{_NOT}(?:\\.|(?!\2)[^\\\n]){{{_SHORTEST},}}"
    ),
    re.compile(rf"(?i)(?<![\w-])({_NAMES}[\"']?[ \t]*[:=][ \t]*[\"']?){_NOT}{_VALUE}"),
    re.compile(rf"()(?<![A-Za-z0-9])(?:{'|'.join(_KNOWN_FORMS)})(?![A-Za-z0-9])"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[^-]*"),
)

_known: set[str] = set()
"""Values that references stood for in this process, as texts have them."""


def remember(value: str) -> None:
    """Makes a text a secret, wherever it stands from now on, and each line of it."""
    for each in (value, *value.splitlines()):
        if len(each.strip()) >= 4:  # else every other word would be one
            forms = each.strip(), quote(each, safe=""), json.dumps(each)[1:-1], repr(each)[1:-1]
            _known.update(forms)


def without_secrets(value: Any) -> Any:
    """JSON-able data or a text, with ``***`` for passwords in URLs, and in fields such as ``hf_token``."""
    if isinstance(value, dict):
        return {
            name: _hidden(inner) if _is_secret(name, inner) else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str):
        for known in sorted(_known, key=len, reverse=True):
            value = value.replace(known, "***")
        for pattern in _PATTERNS:
            value = pattern.sub(r"\1***", value)
    return value


def secret_in(data: Any, path: str = "") -> str | None:
    """The first thing in JSON-able data that looks like a secret, named without it; None where nothing does.

    Returns:
        Its path and what gives it away: ``"headers.token, by its name"``.
    """
    if isinstance(data, Mapping):
        for name, inner in data.items():
            place = f"{path}.{name}" if path else str(name)
            if _is_secret(name, inner):
                return f"{place}, by its name"
            if found := secret_in(inner, place):
                return found
    elif isinstance(data, list | tuple):
        for index, inner in enumerate(data):
            if found := secret_in(inner, f"{path}[{index}]"):
                return found
    elif isinstance(data, str):
        if without_secrets(data) != data:
            return f"{path}, by its form"
        whole = re.fullmatch(r"[A-Za-z0-9+/=]{32,}", data)
        if any(map(_is_random, [data] if whole else re.findall(r"[A-Za-z0-9+=]{20,}", data))):
            return f"{path}, as it looks drawn at random"
    return None


def _is_secret(name: object, value: object) -> bool:
    """Whether a field's name and value are those of a secret, or of something that holds some."""
    if not isinstance(name, str) or isinstance(value, bool | float | None):
        return False
    if isinstance(value, int | list | tuple | Mapping):
        sure = rf"{_PREFIX}(?:{_PASSWORDS})" if isinstance(value, int) else _NAMES
        referred = re.search(r"\$\{(?:env|file):", repr(value))  # [user, reference] is no secret
        return bool(re.fullmatch(f"(?i){sure}", name)) and _holds_a_text(value) and not referred
    text = str(value)
    shortest = 1 if re.fullmatch(rf"(?i){_PREFIX}(?:{_PASSWORDS})", name) else _SHORTEST
    innocent = len(text) < shortest or not re.match(_NOT, text)
    return not innocent and bool(re.fullmatch(f"(?i)authorization|{_NAMES}", name))


def _holds_a_text(value: object) -> bool:
    """Whether something holds what may be secret: a number itself, or texts that are no references."""
    if isinstance(value, Mapping):
        return any(map(_holds_a_text, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_a_text, value))
    return isinstance(value, int) or (isinstance(value, str) and bool(re.match(_NOT + ".", value)))


def _hidden(value: object) -> Any:
    """A secret's place: lists and mappings keep their form."""
    if isinstance(value, dict):
        return {name: _hidden(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner) for inner in value]
    return "***"


def _is_random(text: str) -> bool:
    """Whether letters and digits look drawn at random: they change between kinds more often than in words.

    Checksums (hexadecimal, or named as one) are no secrets.
    """
    text = text.strip("=")
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+|\D+", text):
        return False
    # A capital belongs to the word that it begins.
    changes = len(re.findall(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])|[a-z](?=[A-Z])", text)) / (len(text) - 1)
    counts = Counter(text).values()
    entropy = -sum(count / len(text) * math.log2(count / len(text)) for count in counts)  # bits
    return changes >= 0.24 and entropy >= 3.5
