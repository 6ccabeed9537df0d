"""Commands on a spec alone: init, schema, validate, plan."""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from oracle.errors import Refused
from oracle.observers import make_observers
from oracle.spec import Spec
from oracle.spec_file import (
    is_spec_file,
    json_schema,
    load_specs,
    load_variants,
    naming_variant,
    parse_specs,
)
from silo.checks import nearest
from silo.errors import InvalidInput
from trials.secrets import without_secrets

SPEC = click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False, path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

_OURS = ("digits", "loops")
_STUDY = "study-"
_TABLES_OF_INTERVALS = ("table10", "table11")


def examples() -> tuple[str, ...]:
    """The names of the example specs: the demo, own training loops, the studies, and each table of the paper
    with accuracies."""
    folder = importlib.resources.files("oracle.examples")
    studies = sorted(f"{_STUDY}{each.name}" for each in folder.joinpath("studies").iterdir() if each.is_dir())
    tables = sorted(
        (file.name.removesuffix(".yaml") for file in folder.joinpath("paper").iterdir()),
        key=lambda name: int(name.removeprefix("table")),
    )
    return *_OURS, *studies, *tables


def example(name: str = "digits") -> str:
    """A commented example spec.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name in _TABLES_OF_INTERVALS:
        raise InvalidInput(
            f"there is no example {name!r}: the paper's Tables 10 and 11 are intervals, to be fitted; give "
            f"oracle fit --table {name.removeprefix('table')}, or one of {', '.join(examples())}"
        )
    if name not in examples():
        raise InvalidInput(f"there is no example {name!r}: {nearest(name, examples())}")
    place = f"{name}.yaml" if name in _OURS else f"paper/{name}.yaml"
    if name.startswith(_STUDY):
        place = f"studies/{name.removeprefix(_STUDY)}/spec.yaml"
    return importlib.resources.files("oracle.examples").joinpath(place).read_text(encoding="utf-8")


@click.command()
@click.argument("spec_file", metavar="[SPEC]", default="oracle.yaml", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the search; by default the file's.")
@click.option(
    "--example",
    "example_name",
    default="digits",
    show_default=True,
    help="What to start from: digits, loops for training loops of your own, study-digits, study-fc or "
    "study-resnet20 for the studies, or table2 to table9 and table12 "
    "to table14 for the paper's tables of accuracies. Tables 10 and 11 are intervals: oracle fit --table 10.",
)
def init(spec_file: Path, name: str | None, example_name: str) -> None:
    """Write a commented spec to SPEC (oracle.yaml).

    \b
    Example:
      oracle init mine.yaml
    """
    line = f"name: {json.dumps(name or spec_file.stem)}"
    text = re.sub(r"^name: .*$", lambda _: line, example(example_name), count=1, flags=re.MULTILINE)
    parse_specs(text, source="--name" if name else f"name from {spec_file.name}")
    try:
        with spec_file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InvalidInput(f"{spec_file}: there is such a file already; name another one") from None
    except OSError as error:
        raise InvalidInput(f"{spec_file}: can't be written ({error.strerror})") from error
    click.echo(f"Wrote {spec_file}. Next: oracle plan {spec_file}, then oracle run {spec_file}")


@click.command()
def schema() -> None:
    """Print the spec's JSON Schema, for editors that complete YAML.

    \b
    Example:
      oracle schema > spec.schema.json
    """
    click.echo(json.dumps(json_schema(), indent=2))


@click.command()
@SPEC
@JSON
def validate(spec_file: Path, as_json: bool) -> None:
    """Check a spec, and that all it names exists and fits together.

    It builds the network, loads the data and tries a training step. Ends with 3 where the spec is
    valid, and its ledger or storage can't be used on this machine.

    \b
    Example:
      oracle validate mine.yaml
    """
    from oracle.plan import resolution_of
    from oracle.preflight import cautions, examine, missing_places, open_runner

    specs = load_variants(spec_file)
    found, lacking = [], []
    for variant, spec in specs.items():
        with naming_variant(spec_file, variant):
            missing = missing_places(spec)
            lacking += [f"{spec_file}: it can't run here: {line}" for line in missing]
            make_observers(spec)
            facts = examine(spec, open_runner(spec))
        shown = without_secrets(spec.model_dump(mode="json"))
        notes = {"classes": facts.num_classes, "notes": list(facts.notes), "missing": list(missing)}
        found.append({"valid": True, "spec": shown, "execution": asdict(facts.execution), **notes})
        if not as_json:
            classes = "" if facts.num_classes is None else f", {facts.num_classes} classes"
            which = f" variant {spec.name}," if len(specs) > 1 else ""
            click.echo(
                f"{spec_file}: valid.{which} {spec.network.name} with {facts.parameters:,} parameters "
                f"({facts.prunable:,} prunable) on {spec.dataset.name} ({facts.train:,} train, "
                f"{facts.validation:,} validation, {facts.test:,} test{classes}); {facts.steps_text}."
            )
            if facts.begins:
                click.echo(f"{spec_file}: network: {facts.begins}")
            for note in facts.notes:
                click.echo(f"{spec_file}: data: {note}")
        if facts.never_pruned is not None:
            click.echo(f"{spec_file}: {facts.never_pruned.sentence()}", err=True)
        found_out = resolution_of(spec, facts.validation)
        for warning in [*facts.warnings, *filter(None, [found_out and found_out.warning()])]:
            click.echo(f"{spec_file}: {warning}", err=True)
        for line in cautions(spec):
            click.echo(f"{spec_file}: {line}", err=True)
    if as_json:
        click.echo(json.dumps(found if len(specs) > 1 else found[0]))
    if lacking:
        raise Refused("\n".join(lacking))


@click.command()
@SPEC
@JSON
def plan(spec_file: Path, as_json: bool) -> None:
    """Say how long a search takes, and what it lacks to run.

    Trainings, time by a few measured steps, disk, and how far off the intervals' ends will be.

    \b
    Example:
      oracle plan mine.yaml
    """
    from oracle.plan import make_plan

    specs = load_variants(spec_file)
    found = []
    for variant, spec in specs.items():
        with naming_variant(spec_file, variant):
            make_observers(spec)
            made = make_plan(spec)
        found.append(made.to_dict())
        if as_json:
            continue
        if len(specs) > 1:
            click.echo(f"{spec.name}:")
        for label, text in made.lines():
            click.echo(f"{label:<12} {text}")
    if as_json:
        click.echo(json.dumps(found if len(specs) > 1 else found[0]))


def target_specs(target: str) -> tuple[Spec, ...]:
    """The specs if the target is a spec file; none if it can only be a search's name."""
    return load_specs(target) if is_spec_file(target) else ()


def echo_json(data: Any) -> None:
    """Prints data as one JSON document on standard output."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))
