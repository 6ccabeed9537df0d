"""Things chosen by name: one of ours, or the user's own as ``package.module:name``.

Digests of the user's own modules tell whether their code is that which a search began with.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import site
import symtable
import sys
import sysconfig
import tokenize
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.paths import has_references, looked_up
from trials.secrets import without_secrets
from trials.vision import is_missing_operator, load_torchvision

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


_FORMS: dict[str, tuple[type, str]] = {
    "optimizer": (
        torch.optim.Optimizer,
        "holds one network's parameters, and here several are trained at once: take 'sgd', 'adam', 'adamw' "
        "or 'rmsprop', or your own class with step(weights, gradients, mask, lr), see "
        "trials.optimizers.Optimizer",
    ),
    "schedule": (
        torch.optim.lr_scheduler.LRScheduler,
        "holds an optimizer: take 'warmup_drops', 'linear_decay', 'cyclical', 'cosine', 'one_cycle' or "
        "'constant', or your own function (*, steps, steps_per_unit) that gives a function of the step",
    ),
    "pruner": (
        torch_prune.BasePruningMethod,
        "puts hooks into modules: take 'global_magnitude', 'layer_magnitude', 'random' or another, or your "
        "own function of a trials.pruning.TrainedNetwork that gives trials.pruning.Scores",
    ),
    "data set": (
        torch.utils.data.Dataset,
        "gives examples one by one, of one split: take 'cifar10', 'mnist', 'image_folder' or another, or "
        "your own function (*, seed) that gives a trials.datasets.Dataset with three splits",
    ),
}
"""Kind to the class of torch's that people give for it, and what that can't do and what would."""


def check_form(kind: str, name: str, found: Any) -> None:
    """Refuses what belongs to another kind of program.

    Raises:
        InvalidInput: It is torch's own class of that kind, or a network that was made already.
    """
    theirs, why = _FORMS.get(kind, (type(None), ""))
    by_function = kind == "pruner" and getattr(found, "__module__", "") == torch_prune.__name__
    if by_function or (isinstance(found, type) and issubclass(found, theirs)):
        raise InvalidInput(f"{kind} {name!r} {why}")
    if kind == "network" and isinstance(found, nn.Module):
        raise InvalidInput(
            f"network {name!r} is a network that was made already, and each replicate needs its own: name "
            "the class or function that makes it"
        )


def usual_name(name: str) -> str | None:
    """``package.module:name`` of a name that is nearly so: with a file's path, a dot or a call's brackets.

    Returns:
        None where it is so, or can't be read.
    """
    text = re.sub(r"\(.*\)$", "", name.strip()).replace("::", ":")
    module, colon, attribute = text.partition(":")
    if not colon and re.search(r"[/\\]|\.py$", text):
        attribute = "NAME"
    elif not colon:
        module, _, attribute = text.rpartition(".")
    parts = [part for part in re.split(r"[/\\]", module.strip().removesuffix(".py")) if part != "."]
    if "" in parts or ".." in parts:  # of a path from elsewhere the last part is the module
        parts = parts[-1:]
    found = f"{'.'.join(parts)}:{attribute.strip()}"
    readable = all(part.isidentifier() for part in re.split(r"[.:]", found))
    return found if readable and found != name else None


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
        InvalidInput: The name is unknown, its module or its attribute is missing, or it is of another form.
    """
    given = known.get(name)
    if given is not None and not isinstance(given, str):
        return given
    module_name, colon, attribute = (given or name).partition(":")
    usual = None if given else usual_name(name)
    own = f"'package.module:name'{f', so as {usual!r}' if usual else ''}"
    if not colon:
        raise InvalidInput(
            f"unknown {kind} {name!r}: known are {listed(known)}{did_you_mean(name, known)}; "
            f"your own is given as {own}"
        )
    if usual or not module_name or not attribute or ":" in attribute:
        raise InvalidInput(
            f"{kind} {name!r} can't be read: your own is given as {own}, of a module that is importable from "
            "PYTHONPATH or the working directory"
        )
    found: Any = _import_module(kind, name, module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [each for each in dir(found) if not each.startswith("_")]
            raise InvalidInput(
                f"{kind} {name!r}: module {module_name!r} has no attribute {attribute!r}"
                f"{did_you_mean(part, public)} (read from {getattr(found, '__file__', None) or found!r})"
            )
        found = getattr(found, part)
    if given is None:
        check_form(kind, name, found)
    resolved: T = found
    return resolved


def call(
    kind: str, name: str, function: Callable[..., T], arguments: Mapping[str, Any], /, **context: Any
) -> T:
    """Calls ``function(**context, **arguments)``, telling a wrong argument from an error inside the
    function. References in the arguments are looked up for it, and kept out of its errors.

    Args:
        kind: Kind of thing that the function makes, for messages: ``"network"``.
        name: The function's name, as the user gave it.
        function: The thing that :func:`resolve` found.
        arguments: The user's arguments.
        context: The caller's own arguments. The user can't set these.

    Raises:
        InvalidInput: The function can't be called with these arguments, one is no bool where one belongs, or
            a reference can't be looked up; it was not called.
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
        return _call(kind, name, function, arguments, context)
    try:
        signature.bind(**context, **arguments)
    except TypeError as error:
        raise InvalidInput(_misfit(f"{kind} {name!r}", signature, arguments, context, error)) from None
    if problem := misplaced_flag(function, arguments):
        raise InvalidInput(f"{kind} {name!r}: {problem}")
    return _call(kind, name, function, arguments, context)


def with_values(kind: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A component's arguments with what references stand for.

    Raises:
        InvalidInput: One can't be looked up.
    """
    try:
        return dict(looked_up(arguments))
    except InvalidInput as error:
        raise InvalidInput(f"{kind} {name!r}: {error}") from error


def _call(
    kind: str, name: str, function: Callable[..., T], arguments: Mapping[str, Any], context: Mapping[str, Any]
) -> T:
    found = with_values(kind, name, arguments)
    if not has_references(arguments):
        return function(**context, **found)
    try:
        return function(**context, **found)
    except Exception as error:
        error.args = tuple(without_secrets(error.args))
        raise


def taken(function: Callable[..., Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """What of a context a function says that it takes; all of it, where it takes any keyword."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions have none
        return dict(context)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(context)
    return {name: value for name, value in context.items() if name in parameters}


def refused_keyword(error: TypeError) -> str | None:
    """The keyword that a call ended with, as one that isn't taken; None for another error."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return found and found.group(1)


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
        except (RuntimeError, ImportError) as error:
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
