"""Commands on a spec alone: init, schema, validate, plan."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import click

from oracle.spec import Spec
from oracle.spec_file import load_spec, parse_spec
from silo.errors import InvalidInput
from trials.secrets import without_secrets

SPEC = click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False, path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def example() -> str:
    """The commented example spec."""
    return importlib.resources.files("oracle.examples").joinpath("digits.yaml").read_text(encoding="utf-8")


@click.command()
@click.argument("spec_file", metavar="[SPEC]", default="oracle.yaml", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the search; by default the file's.")
def init(spec_file: Path, name: str | None) -> None:
    """Write a commented spec, ready to run, to SPEC (oracle.yaml)."""
    line = f"name: {json.dumps(name or spec_file.stem)}"
    text = re.sub(r"^name: .*$", lambda _: line, example(), count=1, flags=re.MULTILINE)
    parse_spec(text, source="--name" if name else f"name from {spec_file.name}")
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
    """Print the spec's JSON Schema, so that editors complete and check specs."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}
    click.echo(json.dumps(document, indent=2))


@click.command()
@SPEC
@JSON
def validate(spec_file: Path, as_json: bool) -> None:
    """Check a spec: its fields, and that its network, data set and all else can be built."""
    from oracle.preflight import examine, open_runner

    spec = load_spec(spec_file)
    facts = examine(spec, open_runner(spec))
    if as_json:
        shown = without_secrets(spec.model_dump(mode="json"))
        click.echo(json.dumps({"valid": True, "spec": shown, "pack": facts.pack_size}))
        return
    click.echo(
        f"{spec_file}: valid. {spec.network.name} with {facts.parameters:,} parameters "
        f"({facts.prunable:,} prunable) on {spec.dataset.name} ({facts.train:,} train, "
        f"{facts.validation:,} validation, {facts.test:,} test); {facts.steps:,} steps a training."
    )


@click.command()
@SPEC
@JSON
def plan(spec_file: Path, as_json: bool) -> None:
    """Say what a search means: trainings, time from a few measured steps, disk, missing resources."""
    from oracle.plan import make_plan

    spec = load_spec(spec_file)
    made = make_plan(spec)
    if as_json:
        click.echo(json.dumps(made.to_dict()))
        return
    for label, text in made.lines():
        click.echo(f"{label:<12} {text}")


def target_spec(target: str) -> Spec | None:
    """The spec if the target is a spec file; None if it can only be a search's name."""
    looks_like_file = target.endswith((".yaml", ".yml")) or "/" in target or Path(target).is_file()
    return load_spec(target) if looks_like_file else None


def echo_json(data: Any) -> None:
    """Prints data as one JSON document on standard output."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))
