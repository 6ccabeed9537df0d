"""Reading a spec from YAML, with one clear line for everything that is wrong in it."""

from __future__ import annotations

import io
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from oracle.errors import Refused
from oracle.spec import Spec
from oracle.spec_parts import LARGEST, MOST_PARTS, check_bounds, problems, shown
from silo.errors import InvalidInput


def load_spec(source: Spec | str | Path) -> Spec:
    """The spec in a YAML file that has no variants, or the one that is given, looked at.

    Raises:
        InvalidInput: As :func:`given_specs`, or the file has variants.
    """
    specs = given_specs(source)
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs.values())
        raise InvalidInput(f"{source}: has several variants; name one of their searches: {names}")
    (spec,) = specs.values()
    return spec


def load_specs(path: str | Path) -> tuple[Spec, ...]:
    """The specs in a YAML file: one, or one per variant.

    Raises:
        InvalidInput: The file can't be read, is no YAML, or is no valid spec.
    """
    return tuple(load_variants(path).values())


def load_variants(path: str | Path) -> dict[str, Spec]:
    """The specs in a YAML file by their variants' names; a file without variants has one, named ``""``.

    Raises:
        InvalidInput: As :func:`load_specs`.
    """
    try:
        with Path(path).open("rb") as stream:
            text = stream.read(LARGEST + 1).decode()  # one more: what is larger is refused
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{path}: the spec can't be read ({reason}); 'oracle init' writes one") from error
    return _parse_variants(text, str(path))


def given_specs(source: Spec | str | Path) -> dict[str, Spec]:
    """What Python is given as a search: a spec, or the YAML file of one, as :func:`load_variants` reads it.

    Raises:
        InvalidInput: It is neither, or as :func:`load_specs`, or a copy of a spec whose changes are wrong.
    """
    if isinstance(source, Spec):
        Spec(**source.model_dump(warnings=False))  # model_copy(update=…) has looked at nothing
        return {"": source}
    if not isinstance(source, str | Path):
        raise InvalidInput(
            "spec: give an oracle.Spec, such as oracle.Spec(**fields), or the path of its YAML file; got "
            f"{shown(source)}"
        )
    return load_variants(source)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a spec's file: what a spec takes, in the short forms too, and variants."""
    found = Spec.model_json_schema()
    found["description"] = found["description"].splitlines()[0]
    fields, needed = list(found["properties"]), [name for name in found.pop("required") if name != "cycles"]
    found["properties"]["variants"] = {
        "type": "object",
        "minProperties": 1,
        "description": "Name to what differs from the rest of the file: one search each.",
        "additionalProperties": {
            "type": ["object", "null"],
            "propertyNames": {"enum": [name for name in fields if name != "name"]},
        },
    }
    found["$defs"]["TrainingSpec"]["properties"]["arguments"] = {
        "type": "object",
        "description": "Keyword arguments of loop.",
    }
    lengths = [{"required": ["cycles"]}, {"required": ["until"], "properties": {"until": {"type": "number"}}}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "if": {"required": ["variants"]},  # which may hold what the file lacks
        "then": {"required": ["name"]},
        "else": {"required": needed, "oneOf": lengths},
    }


@contextmanager
def naming_variant(path: str | Path, variant: str) -> Iterator[None]:
    """Names the variant in an error about its spec, as those of :func:`load_variants` do.

    Args:
        path: The file.
        variant: The variant's name; with ``""`` errors stay as they are.
    """
    try:
        yield
    except (InvalidInput, Refused) as error:
        if not variant:
            raise
        raise type(error)(f"{path}: variants.{variant}: {error}") from error


def spec_name(path: str | Path) -> str:
    """The name in a YAML file: its search's, or what its variants' names begin with.

    Raises:
        InvalidInput: As :func:`load_specs`.
    """
    variants = load_variants(path)
    variant, spec = next(iter(variants.items()))
    return spec.name.removesuffix(f".{variant}") if variant else spec.name


def is_spec_file(target: str | Path) -> bool:
    """Whether a spec's file is meant, there or not, and no search's name."""
    text = str(target)
    named = isinstance(target, Path) or text.endswith((".yaml", ".yml")) or "/" in text
    return named or Path(target).is_file()


def parse_specs(text: str, *, source: str = "spec") -> tuple[Spec, ...]:
    """The specs in a YAML text: one, or one per entry of ``variants``.

    A variant is what differs from the rest of the file: its fields replace the file's, mappings are merged,
    but for one that has a ``name`` (a network, a schedule, a policy, …), which is replaced with its
    arguments. Of alternatives (epochs or iterations, points or step or values) the variant's count.
    The search of variant ``v`` in a file named ``n`` is called ``n.v``.

    Args:
        text: The YAML.
        source: What errors call it.

    Raises:
        InvalidInput: The text is no YAML, or no valid spec; one line per problem.
    """
    return tuple(_parse_variants(text, source).values())


def _parse_variants(text: str, source: str) -> dict[str, Spec]:
    data = _mapping(text, source)
    variants = data.pop("variants", None)
    if variants is None:
        return {"": _validated(data, source)}
    if not isinstance(variants, dict) or not variants:
        raise InvalidInput(
            f"{source}: variants must map names to what differs, such as "
            f"{{constant: {{training: {{schedule: constant}}}}}}, not {shown(variants)}"
        )
    if len(variants) > MOST_PARTS:
        raise InvalidInput(f"{source}: variants: has {len(variants):,}; at most {MOST_PARTS} are taken")
    specs: dict[str, Spec] = {}
    for name, changes in variants.items():
        if str(name) in specs:  # a number, and the text of its digits
            raise InvalidInput(f"{source}: variants.{name}: is there twice; give each a name of its own")
        if not isinstance(changes, dict | types.NoneType):
            raise InvalidInput(
                f"{source}: variants.{name}: must be a mapping of fields, not {shown(changes)}"
            )
        if isinstance(changes, dict) and {"name", "variants"} & set(changes):
            raise InvalidInput(f"{source}: variants.{name}: can't have the fields name and variants")
        merged = _merged(data, changes or {})
        merged["name"] = f"{data.get('name', '')}.{name}"
        specs[str(name)] = _validated(merged, f"{source}: variants.{name}")
    return specs


_ALTERNATIVES = (
    {"epochs", "iterations"},
    {"points", "step", "values"},
    {"low", "values"},
    {"high", "values"},
)
"""Fields of which a mapping has one: a variant's takes the place of the file's."""


def _merged(base: Any, changes: Any, alternatives: Sequence[set[str]] = _ALTERNATIVES) -> Any:
    if isinstance(base, str) and isinstance(changes, dict) and set(changes) == {"arguments"}:
        base = {"name": base}  # a bare name, to which a variant adds arguments
    if not isinstance(base, dict) or not isinstance(changes, dict) or "name" in changes:
        return changes
    given = {key for key, value in changes.items() if value is not None}
    replaced: set[str] = set().union(*(each for each in alternatives if each & given))
    kept = {key: value for key, value in base.items() if key in changes or key not in replaced}
    for key, value in changes.items():
        inner = () if key == "arguments" else alternatives  # whose names are anybody's
        kept[key] = _merged(base[key], value, inner) if key in base else value
    return kept


def _mapping(text: str, source: str) -> dict[str, Any]:
    try:
        check_bounds(text)
        data = YAML(typ="safe", pure=True).load(io.StringIO(text))
    except InvalidInput as error:
        raise InvalidInput(f"{source} {error}") from error
    except MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(error.problem).split())
        raise InvalidInput(f"{source}{where}: {problem}") from error
    except YAMLError as error:
        raise InvalidInput(f"{source}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        got = "nothing; 'oracle init' writes one" if data is None else type(data).__name__
        raise InvalidInput(f"{source}: a spec is a mapping of fields, got {got}")
    return data


def _validated(data: dict[str, Any], source: str) -> Spec:
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        lines = [f"{source}: {line}" for line in problems(error, Spec, ("variants",))]
        raise InvalidInput("\n".join(lines)) from error
