"""Things chosen by name, ours or the user's own as ``package.module:name``; digests of the user's code."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import io
import os
import site
import sys
import sysconfig
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.vision import is_missing_operator, load_torchvision

T = TypeVar("T")

_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def resolve(kind: str, name: str, known: Mapping[str, T | str]) -> T:
    """Finds the thing that a name stands for.

    Args:
        kind: Kind of the thing, for messages: ``"network"``.
        name: A key of ``known``, or ``"package.module:name"``, which is imported. The working directory is
            searched last, also where the interpreter doesn't search it by itself.
        known: The things that come with this project, themselves or as ``package.module:name``: those are
            imported only if they are asked for.

    Raises:
        InvalidInput: The name is unknown, or its module or its attribute is missing.
    """
    given = known.get(name)
    if given is not None and not isinstance(given, str):
        return given
    module_name, colon, attribute = (given or name).partition(":")
    if not colon:
        raise InvalidInput(
            f"unknown {kind} {name!r}: known are {listed(known)}{did_you_mean(name, known)}; "
            "your own is given as 'package.module:name'"
        )
    if not module_name or not attribute or ":" in attribute:
        raise InvalidInput(f"{kind} {name!r} can't be read: your own is given as 'package.module:name'")
    found: Any = _import_module(kind, name, module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [each for each in dir(found) if not each.startswith("_")]
            raise InvalidInput(
                f"{kind} {name!r}: module {module_name!r} has no attribute {attribute!r}"
                f"{did_you_mean(part, public)} (read from {getattr(found, '__file__', None) or found!r})"
            )
        found = getattr(found, part)
    resolved: T = found
    return resolved


def call(
    kind: str, name: str, function: Callable[..., T], arguments: Mapping[str, Any], /, **context: Any
) -> T:
    """Calls ``function(**context, **arguments)``, telling a wrong argument from an error inside the
    function.

    Args:
        kind: Kind of thing that the function makes, for messages: ``"network"``.
        name: The function's name, as the user gave it.
        function: The thing that :func:`resolve` found.
        arguments: The user's arguments.
        context: The caller's own arguments. The user can't set these.

    Raises:
        InvalidInput: The function can't be called with these arguments; it was not called.
    """
    if not callable(function):
        raise InvalidInput(f"{kind} {name!r} is not a function or a class but {type(function).__name__}")
    for argument in arguments:
        if argument in context:
            raise InvalidInput(
                f"argument {argument!r} of {kind} {name!r} can't be given: "
                "leave it out, it is set by the search itself"
            )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions have none
        return function(**context, **arguments)
    try:
        signature.bind(**context, **arguments)
    except TypeError as error:
        raise InvalidInput(_misfit(f"{kind} {name!r}", signature, arguments, context, error)) from None
    return function(**context, **arguments)


def listed(names: Iterable[str]) -> str:
    """The names in quotes, separated by commas; "nothing" for none."""
    return ", ".join(repr(name) for name in names) or "nothing"


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())


def _import_module(kind: str, name: str, module_name: str) -> ModuleType:
    # A console script's path begins with the script's folder. Last, so that it hides no installed package.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        try:
            return importlib.import_module(module_name)
        except RuntimeError as error:
            if not is_missing_operator(error):
                raise
            load_torchvision()
            return importlib.import_module(module_name)
    except ImportError as error:
        missing = getattr(error, "name", None) or ""
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{missing}."):
            raise InvalidInput(
                f"{kind} {name!r}: there is no module {missing!r}; it must be importable, "
                f"from PYTHONPATH or the working directory ({os.getcwd()})"
            ) from None
        raise InvalidInput(
            f"{kind} {name!r}: module {module_name!r} can't be imported: {one_line(error)}"
        ) from error


def _misfit(
    what: str,
    signature: inspect.Signature,
    arguments: Mapping[str, Any],
    context: Mapping[str, Any],
    error: TypeError,
) -> str:
    parameters = signature.parameters.values()
    accepted = [each.name for each in parameters if each.kind in _BY_KEYWORD]
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    offered = [each for each in accepted if each not in context]
    for argument in arguments:
        if not isinstance(argument, str) or (argument not in accepted and not takes_any):
            hint = did_you_mean(argument, offered)
            return f"{what} takes no argument {argument!r}{hint}: it takes {listed(offered)}"
    for each in context:
        if each not in accepted and not takes_any:
            return (
                f"{what} must take the keyword {each!r}, which is passed to it: it takes {listed(accepted)}"
            )
    for parameter in parameters:
        needed = parameter.kind in _BY_KEYWORD and parameter.default is inspect.Parameter.empty
        if needed and parameter.name not in arguments and parameter.name not in context:
            return f"{what} needs the argument {parameter.name!r}: given were {listed(arguments)}"
    return f"{what} can't be called by keywords: {error}"


_OURS = ("silo", "trials", "oracle", "dashboards")

_UNSEEN = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)

_seen: dict[str, tuple[ModuleType, str]] = {}
"""Module and digest of each module that this process has looked at: what runs is what was imported then."""


def code_digests(names: Iterable[str]) -> dict[str, str]:
    """Module to digest of its code, for every module behind ``package.module:name``.

    Those are the modules that are named, and what they import that is neither installed nor the
    interpreter's, whether it is imported yet or not: the rest of the user's project. Comments, blank lines
    and imports for type checkers play no part.

    Args:
        names: Names that were resolved already; those without a colon are this project's own.

    Raises:
        InvalidInput: A module can't be read as Python, or was edited since this process imported it.
    """
    found: dict[str, str] = {}
    named = {name.partition(":")[0] for name in names if ":" in name}
    waiting = sorted(named)
    while waiting:
        module = waiting.pop()
        if module in found or module.split(".")[0] in _OURS:
            continue
        path = _file_of(module)
        if path is None or (_is_installed(path) and module not in named):
            continue
        content = path.read_bytes()
        found[module] = _digest(content, path)
        _check_current(module, found[module], path)
        if path.suffix == ".py" and not _is_installed(path):
            waiting += _imports(content, _package_of(module, path))
    return dict(sorted(found.items()))


def _file_of(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, AttributeError, ValueError):  # its parent is no package, or can't be imported
            return None
        file = spec.origin if spec else None
    return Path(file) if file and Path(file).is_file() else None


def _package_of(module: str, path: Path) -> list[str]:
    """The package that a module's relative imports start from."""
    given = getattr(sys.modules.get(module), "__package__", None)
    if given is not None:
        return [part for part in given.split(".") if part]
    return module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]


def _is_installed(path: Path) -> bool:
    places = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    return any(path.resolve().is_relative_to(Path(place).resolve()) for place in places)


def _imports(content: bytes, package: list[str]) -> Iterator[str]:
    """The modules that a module's code names in its imports; names that are no modules may be among them."""
    waiting: list[ast.AST] = [ast.parse(content)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from _with_parents(origin)
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _with_parents(module: str) -> Iterator[str]:
    parts = [part for part in module.split(".") if part]
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _digest(content: bytes, path: Path) -> str:
    """Of Python code by its words and indents; of anything else by its bytes."""
    if path.suffix != ".py":
        return hashlib.sha256(content).hexdigest()
    try:
        ast.parse(content)
        tokens = [(t.type, t.string) for t in tokenize.tokenize(io.BytesIO(content).readline)]
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        raise InvalidInput(f"{path}: it can't be read as Python ({error}); mend it first") from error
    # Blocks by their begin and end, whatever they are indented with; statements by their end.
    shown = {tokenize.INDENT: ">", tokenize.DEDENT: "<", tokenize.NEWLINE: ";"}
    words = [shown.get(kind, text) for kind, text in tokens if kind not in _UNSEEN]
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _check_current(module: str, digest: str, path: Path) -> None:
    loaded = sys.modules.get(module)
    if loaded is None:
        return
    known, before = _seen.setdefault(module, (loaded, digest))
    if known is not loaded:
        _seen[module] = (loaded, digest)
    elif before != digest:
        raise InvalidInput(
            f"{path}: it was edited since this process imported it, and what was imported is what would run; "
            "start a new process, or reload the module"
        )
