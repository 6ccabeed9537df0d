"""The files that the tests of docker/ read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def yaml_files() -> list[Path]:
    return sorted(DOCKER.rglob("*.yaml"))


def load(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def constraint(package: str) -> str:
    """The version that constraints.txt pins."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.findall(rf"^{re.escape(package)}==(.+)$", text, flags=re.MULTILINE | re.IGNORECASE)
    assert len(found) == 1, package
    return found[0]
