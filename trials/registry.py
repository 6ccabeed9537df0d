"""Things chosen by name: one of ours, or the user's own as ``package.module:name``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
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
