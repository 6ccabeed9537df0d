"""Digests of the user's own modules: is this the code that a search began with?"""

from __future__ import annotations

import ast
import hashlib
import io
import site
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

_OURS = ("silo", "trials", "oracle", "dashboards")


def code_digests(names: Iterable[str]) -> dict[str, str]:
    """Module to digest of its code, for every module behind ``package.module:name``.

    Those are the modules that are named, and what they import that is neither installed nor the
    interpreter's: the rest of the user's project. Comments and blank lines play no part.

    Args:
        names: Names that were resolved already; those without a colon are this project's own.
    """
    found: dict[str, str] = {}
    waiting = [name.partition(":")[0] for name in names if ":" in name]
    named = set(waiting)
    while waiting:
        module = waiting.pop()
        if module in found or module.split(".")[0] in _OURS:
            continue
        path = _source(module)
        if path is None or (module not in named and _is_installed(path)):
            continue
        text = path.read_bytes()
        found[module] = _digest(text) if path.suffix == ".py" else hashlib.sha256(text).hexdigest()
        if path.suffix == ".py" and not _is_installed(path):
            waiting += _imports(text, module, is_package=path.name == "__init__.py")
    return dict(sorted(found.items()))


def _source(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file and Path(file).is_file() else None


def _is_installed(path: Path) -> bool:
    places = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    return any(path.resolve().is_relative_to(Path(place).resolve()) for place in places)


def _imports(text: bytes, module: str, *, is_package: bool) -> Iterator[str]:
    """The modules that a module's code names in its imports; names that are no modules may be among them."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from _with_parents(origin)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _digest(text: bytes) -> str:
    """Of the code without comments, blank lines and white space at the ends of lines."""
    lines = text.decode("utf-8", "replace").splitlines()
    try:
        comments = [
            token.start
            for token in tokenize.tokenize(io.BytesIO(text).readline)
            if token.type == tokenize.COMMENT
        ]
    except (tokenize.TokenError, SyntaxError):
        comments = []
    for row, column in comments:
        lines[row - 1] = lines[row - 1][:column]
    kept = [line.rstrip() for line in lines if line.strip()]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()
