"""Digests of the user's own modules: is this the code that a search began with?"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import site
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from silo.errors import InvalidInput

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
