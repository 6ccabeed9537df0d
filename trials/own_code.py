"""Digests of the user's own modules: is this the code that a search began with?"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import re
import site
import symtable
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator, Sequence
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
    and imports for type checkers play no part. Of ``__main__``, the script or notebook that also runs the
    search, it is the statements that define what is named and what that refers to: the others may change.

    Args:
        names: Names that were resolved already; those without a colon are this project's own.

    Raises:
        InvalidInput: A module can't be read as Python, or was edited since this process imported it.
    """
    found: dict[str, str] = {}
    names = tuple(names)
    named = {name.partition(":")[0] for name in names if ":" in name}
    waiting = sorted(named)
    while waiting:
        module = waiting.pop()
        if module in found or module.split(".")[0] in _OURS:
            continue
        if module == "__main__":
            wanted = {name.partition(":")[2].split(".")[0] for name in names if name.startswith("__main__:")}
            content, place = _main_of(wanted)
            if content:
                found[module] = _digest_of_code(content, place)
                _check_current(f"{module}:{sorted(wanted)}", sys.modules[module], found[module], place)
                waiting += _imports(content, _package_of(module, place))
            continue
        path = _file_of(module)
        if path is None or (_is_installed(path) and module not in named):
            continue
        content = path.read_bytes()
        found[module] = _digest(content, path)
        _check_current(module, sys.modules.get(module), found[module], path)
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
    return _digest_of_code(content, path) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()


def _digest_of_code(content: bytes, path: Path) -> str:
    try:
        ast.parse(content)
        tokens = [(t.type, t.string) for t in tokenize.tokenize(io.BytesIO(content).readline)]
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        raise InvalidInput(f"{path}: it can't be read as Python ({error}); mend it first") from error
    # Blocks by their begin and end, whatever they are indented with; statements by their end.
    shown = {tokenize.INDENT: ">", tokenize.DEDENT: "<", tokenize.NEWLINE: ";"}
    words = [shown.get(kind, text) for kind, text in tokens if kind not in _UNSEEN]
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _check_current(key: str, loaded: ModuleType | None, digest: str, path: Path) -> None:
    if loaded is None:
        return
    known, before = _seen.setdefault(key, (loaded, digest))
    if known is not loaded:
        _seen[key] = (loaded, digest)
    elif before != digest and path.is_file():  # a notebook's cells run as often as they are edited
        raise InvalidInput(
            f"{path}: it was edited since this process imported it, and what was imported is what would run; "
            "start a new process, or reload the module"
        )


def _main_of(wanted: Iterable[str]) -> tuple[bytes, Path]:
    """The part of a script, or of the cells that a notebook has run, that names rest on; its file."""
    main = sys.modules["__main__"]
    path = _file_of("__main__")
    cells = [path.read_text(encoding="utf-8")] if path else [str(cell) for cell in getattr(main, "In", ())]
    statements: list[tuple[ast.stmt, str]] = []
    for cell in cells:
        try:
            body = ast.parse(cell).body
        except (SyntaxError, ValueError):
            if path:
                return cell.encode(), path  # what is wrong with it is said where it is digested
            continue  # a cell that has never run
        lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", cell)  # as Python counts them
        statements += [(each, "".join(lines[_first_line(each) - 1 : each.end_lineno])) for each in body]
    kept = _rest_on(wanted, statements)
    return "\n".join(statements[index][1] for index in kept).encode(), path or Path("the notebook")


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(each.lineno for each in decorators)])


def _rest_on(wanted: Iterable[str], statements: Sequence[tuple[ast.stmt, str]]) -> list[int]:
    """Places of the statements that define names, and whatever those refer to; all if a name isn't found."""
    bound = [_bound(statement) for statement, _ in statements]
    kept = {index for index, names in enumerate(bound) if "*" in names}  # who knows what they define
    waiting, looked = [*wanted], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in looked:
            looked.add(name)
            places = [index for index, names in enumerate(bound) if name in names]
            if not places and name in wanted:
                return [*range(len(statements))]
            # What stands before a definition is forgotten: a cell that is run twice is as one run once.
            begin = max((index for index in places if _redefines(statements[index][0], name)), default=0)
            new = {index for index in places if index >= begin} - kept
            kept |= new
            waiting += [used for index in new for used in _used(statements[index][1])]
        if not waiting:
            new = _acting(statements, bound, kept) - kept
            kept |= new
            waiting += [used for index in new for used in _used(statements[index][1])]
    return sorted(kept)


def _acting(
    statements: Sequence[tuple[ast.stmt, str]], bound: Sequence[set[str]], kept: set[int]
) -> set[int]:
    """Places of the statements that act on what those that are kept define; of equal ones the last."""
    names = set().union(*(bound[index] for index in kept))
    own = set().union(*(bound[index] for index in kept if not _imports_only(statements[index][0])))
    last = {
        text: index
        for index, (statement, text) in enumerate(statements)
        if not bound[index] & names and _acts_on(statement, names, own)
    }
    return set(last.values())


def _imports_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _acts_on(statement: ast.stmt, names: set[str], own: set[str]) -> bool:
    """Whether a statement may change what is kept: a call of it, or with it first, or what it decorates.

    What decorators of imported modules are put on changes nothing but itself.
    """
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        acted = [statement.value.func, *statement.value.args[:1]]
    elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        acted, names = list(statement.decorator_list), own
    else:
        return False
    found = {node.id for part in acted for node in ast.walk(part) if isinstance(node, ast.Name)}
    return bool(found & names)


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement defines, or whose attributes or items it sets, also when it is called."""
    found = set()
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        top = symtable.symtable(ast.unparse(statement), "statement", "exec")
        outer = {each.get_name() for each in _inner_symbols(top) if each.is_global()}
        parts = [each for each in ast.walk(statement) if isinstance(each, ast.Attribute | ast.Subscript)]
        stored = {_owner(each) for each in parts if not isinstance(each.ctx, ast.Load)}
        return {statement.name, *(stored & outer)}
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.MatchAs | ast.MatchStar):
            found |= {node.name} if node.name else set()
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(
            node.ctx, ast.Load
        ):
            found |= {_owner(node)} - {""}
    return found


def _owner(node: ast.expr) -> str:
    """The name whose item's attribute, or the like, an expression is; empty if it is none's."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _redefines(statement: ast.stmt, name: str) -> bool:
    """Whether a statement defines a name, whatever it was before."""
    made_of: list[ast.AST]
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        made_of = [*statement.decorator_list, statement.args]
    elif isinstance(statement, ast.ClassDef):
        made_of = [*statement.decorator_list, *statement.bases]
    elif isinstance(statement, ast.Assign):
        made_of = [statement.value]
        plain = [part for each in statement.targets for part in (each, *getattr(each, "elts", ()))]
        if not any(isinstance(each, ast.Name) and each.id == name for each in plain):
            return False
    else:
        return isinstance(statement, ast.Import | ast.ImportFrom)
    return not any(
        isinstance(node, ast.Name) and node.id == name for part in made_of for node in ast.walk(part)
    )


def _used(source: str) -> set[str]:
    """The global names that a statement refers to, in whatever function."""
    top = symtable.symtable(source, "statement", "exec")
    found = {each.get_name() for each in top.get_symbols() if each.is_referenced()}
    return found | {each.get_name() for each in _inner_symbols(top) if each.is_global()}


def _inner_symbols(top: symtable.SymbolTable) -> Iterator[symtable.Symbol]:
    """The symbols of all functions and classes in a table."""
    waiting = top.get_children()
    while waiting:
        table = waiting.pop()
        yield from table.get_symbols()
        waiting += table.get_children()
