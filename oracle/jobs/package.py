"""The package that travels to the cluster: the spec without its secrets, and the user's working directory."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from sqlalchemy import URL, make_url

from oracle.ledger.database import check_url
from oracle.spec import Spec
from oracle.spec_file import load_specs, spec_name
from silo.errors import InvalidInput
from trials.secrets import without_secrets

LARGEST = 100 * 1024**2
"""Bytes that Ray takes at most."""

_NAMED = 5
"""How many of the largest files are named when there is too much."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A zip file with everything that a search needs on the cluster.

    Attributes:
        path: The file.
        name: The search's name, of a spec with variants what their names begin with.
        searches: The names of its searches.
        spec_file: The spec's place in it.
        ledger: The ledger's URL, without a password.
    """

    path: Path
    name: str
    searches: tuple[str, ...]
    spec_file: str
    ledger: str


def make_package(spec_file: Path, folder: Path, *, working_dir: Path | None = None) -> Package:
    """Packs a spec and the working directory whose modules it names.

    Args:
        spec_file: The spec.
        folder: Where the zip file is written.
        working_dir: What travels with the spec; its .gitignore and .rayignore are heeded.

    Raises:
        InvalidInput: The spec is wrong, names a place that only this machine has, or holds a secret other
            than the ledger's password, which is taken out; or there is more than Ray takes.
    """
    specs = load_specs(spec_file)
    for spec in specs:
        _check_places(spec)
    text, name = _text_without_secrets(spec_file), spec_name(spec_file)
    path, place = folder / "working_dir.zip", f"{name}.yaml"
    if working_dir is not None:
        _zip(working_dir, path, without=spec_file)
        _check_specs(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package:
        if place in package.namelist():
            place = f"submitted-{place}"
        # One date, so that the same content is the same package to Ray.
        package.writestr(zipfile.ZipInfo(place, (2000, 1, 1, 0, 0, 0)), text)
    _check_size(path, working_dir)
    return Package(
        path=path,
        name=name,
        searches=tuple(spec.name for spec in specs),
        spec_file=place,
        ledger=_without_password(specs[0].ledger),
    )


def _check_places(spec: Spec) -> None:
    if "://" not in spec.storage and not Path(spec.storage).is_absolute():
        raise InvalidInput(
            f"storage: {spec.storage!r} is a folder below the working directory, which on a cluster is gone "
            "with the job; give an absolute folder that all nodes share, or a URI such as s3://bucket/folder"
        )
    check_url(spec.ledger)
    url = make_url(spec.ledger)  # what ~ stands for on the head isn't known here
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_absolute():
        raise InvalidInput(
            f"ledger: {spec.ledger} is a file below the working directory, which on a cluster is gone with "
            "the job; give postgresql+psycopg://user@host/database, or sqlite:////folder/on/the/head/file.db"
        )


def _text_without_secrets(spec_file: Path) -> str:
    """The spec's text; what is wrong with the spec is found before."""
    yaml = YAML()
    data = yaml.load(spec_file.read_text(encoding="utf-8"))
    for part in (data, *(data.get("variants") or {}).values()):
        if part and "ledger" in part:
            part["ledger"] = _without_password(part["ledger"])
    stream = io.StringIO()
    yaml.dump(data, stream)
    text = stream.getvalue()
    for line in text.splitlines():
        if without_secrets(line) != line:
            raise InvalidInput(
                f"{spec_file}: a secret stands in it ({without_secrets(line.strip())}), and everybody who "
                "reaches the cluster could read it; take it out, and give it to the cluster's nodes"
            )
    return text


def _without_password(url: str) -> str:
    given = check_url(url)
    bare = URL.create(
        given.drivername, given.username, None, given.host, given.port, given.database, given.query
    )
    return bare.render_as_string()


def _check_specs(path: Path) -> None:
    """Refuses secrets in the other specs that lie in the working directory."""
    with zipfile.ZipFile(path) as package:
        for name in package.namelist():
            if name.endswith((".yaml", ".yml")):
                text = package.read(name).decode(errors="replace")
                if without_secrets(text) != text:
                    raise InvalidInput(
                        f"--working-dir: a secret stands in {name}, and everybody who reaches the cluster "
                        "could read it; take it out, or name the file in .gitignore or .rayignore"
                    )


def _zip(working_dir: Path, path: Path, *, without: Path) -> None:
    from oracle.drivers.ray_internals import zip_folder

    if not working_dir.is_dir():
        raise InvalidInput(f"--working-dir: {working_dir} is no folder; name the one that holds your modules")
    inside = without.resolve().is_relative_to(working_dir.resolve())
    excludes = [f"/{without.resolve().relative_to(working_dir.resolve())}"] if inside else []
    zip_folder(working_dir, path, excludes=excludes)


def _check_size(path: Path, working_dir: Path | None) -> None:
    size = path.stat().st_size
    if size < LARGEST:
        return
    with zipfile.ZipFile(path) as package:
        largest = sorted(package.infolist(), key=lambda item: -item.compress_size)[:_NAMED]
    named = ", ".join(f"{item.filename} ({_mebibytes(item.compress_size)})" for item in largest)
    raise InvalidInput(
        f"--working-dir: {working_dir} packs to {_mebibytes(size)}, and Ray takes {_mebibytes(LARGEST)}; the "
        f"largest: {named}. Leave out what the search doesn't need in .gitignore or .rayignore"
    )


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB"
