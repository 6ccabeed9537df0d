"""Arguments that are true or false, told from those that are not: to Python any text is true, ``no`` too."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

_WORDS = ("no", "off", "on", "yes")
"""What YAML 1.1 read as true or false, and YAML 1.2, which specs are written in, reads as text."""

_HINT = "; YAML reads no, off, on and yes as text"


def misplaced_flag(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """The first argument that is no bool where one belongs, or the reverse, and what would do.

    A parameter says what belongs there by its annotation, or else by its default. Where neither says
    anything, a word that looks like a bool is refused: it would be true whatever it says.

    Args:
        function: What takes the arguments, by keyword.
        arguments: Name to value.

    Returns:
        None if there is none, else a sentence that begins with "argument".
    """
    parameters = _parameters(function)
    for name, value in arguments.items():
        kinds = _kinds(parameters.get(name))
        is_word = isinstance(value, str) and value.lower() in _WORDS
        if kinds == {bool} and value is not None and not isinstance(value, bool):
            return f"argument {name!r} must be true or false, got {value!r}{_HINT if is_word else ''}"
        if kinds and kinds <= {int, float, complex} and isinstance(value, bool):
            return f"argument {name!r} must be a number, got {value!r}"
        if not kinds and is_word:
            return (
                f"argument {name!r} is the text {value!r}: write true or false{_HINT}; where text is meant, "
                "annotate the parameter with str"
            )
    return None


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except Exception:  # some have no signature, and annotations may name what isn't imported
        pass
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _kinds(parameter: inspect.Parameter | None) -> set[Any]:
    """The types that a parameter takes, None aside; empty where nothing is said."""
    if parameter is None or parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return set()
    found: set[Any] = set()
    if parameter.annotation is not inspect.Parameter.empty:
        found = set(_flat(parameter.annotation)) - {types.NoneType, "None"}
    if not found and parameter.default not in (inspect.Parameter.empty, None):
        return {type(parameter.default)}
    return found


def _flat(annotation: Any) -> typing.Iterator[Any]:
    """The parts of a union; a text that couldn't be evaluated is taken by its words."""
    origin = typing.get_origin(annotation)
    if isinstance(annotation, str):
        known = {"bool": bool, "int": int, "float": float}
        words = (part.strip() for part in annotation.removeprefix("Optional[").rstrip("]").split("|"))
        yield from (known.get(word, word) for word in words)
    elif origin is typing.Annotated:
        yield from _flat(annotation.__origin__)
    elif origin is typing.Literal:
        yield from map(type, typing.get_args(annotation))
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _flat(part)
    elif annotation not in (Any, object):
        yield annotation
