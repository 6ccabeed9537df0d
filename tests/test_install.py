"""`make CPU=1` from an index of its own: torch and torchvision, and no later `make` takes others."""

import inspect
import os
import re
import shutil
import subprocess
import zipfile

import pytest

from tests.processes import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "silo-oracle"
version = "1"
dependencies = ["torch>=2", "torchvision>=0.2"]
[project.optional-dependencies]
dev = ["torchmetrics>=1"]
postgresql = []
"""
BACKEND = """

REQUIRED = ["torch>=2", "torchvision>=0.2", 'torchmetrics>=1; extra == "dev"']


def build_editable(folder, config_settings=None, metadata_directory=None):
    extras = [f"Provides-Extra: {name}" for name in ("dev", "postgresql")]
    return write_wheel(folder, "silo_oracle", "1", *extras, *(f"Requires-Dist: {each}" for each in REQUIRED))
"""


def write_wheel(folder, name, version, *lines):
    """A package with nothing in it, and what else is in its metadata."""
    info, file = f"{name}-{version}.dist-info", f"{name}-{version}-py3-none-any.whl"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
    with zipfile.ZipFile(f"{folder}/{file}", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file


def add(index, name, version):
    (index / name).mkdir(parents=True, exist_ok=True)
    write_wheel(index / name, name, version)
    links = [f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in (index / name).glob("*.whl")]
    (index / name / "index.html").write_text("<!DOCTYPE html>" + "".join(links))


def make(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (folder / "usual").as_uri()}
    done = subprocess.run(
        ["make", ".venv/.installed", f"CPU_INDEX={(folder / 'cpu').as_uri()}", *arguments],
        cwd=folder,
        env=environment | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = subprocess.run(
        [folder / ".venv" / "bin" / "python", "-m", "pip", "list", "--format", "freeze"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("==") for line in listed.stdout.split() if line.startswith("torch"))


def test_torch_without_cuda_is_installed_and_stays(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    constraints = (ROOT / "constraints.txt").read_text()
    pinned = dict(re.findall(r"^(torch\w*)==(\S+)$", constraints, re.MULTILINE))
    assert {"torch", "torchvision"} < set(pinned)
    for name, version in pinned.items():
        add(tmp_path / "usual", name, version)
    for name in ("torch", "torchvision"):
        add(tmp_path / "cpu", name, f"{pinned[name]}+cpu")
    (tmp_path / "constraints.txt").write_text(constraints)
    (tmp_path / "backend.py").write_text("import zipfile\n\n\n" + inspect.getsource(write_wheel) + BACKEND)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    without_cuda = pinned | {name: f"{pinned[name]}+cpu" for name in ("torch", "torchvision")}
    assert make(tmp_path, "CPU=1") == without_cuda
    assert make(tmp_path) == without_cuda
    later = {**pinned, "torch": "99.0.0", "torchvision": "98.0.0"}
    for name, version in later.items():
        add(tmp_path / "usual", name, version)
    for name in ("torch", "torchvision"):
        add(tmp_path / "cpu", name, f"{later[name]}+cpu")
    constraints = "".join(f"{name}=={version}\n" for name, version in later.items())
    (tmp_path / "constraints.txt").write_text(constraints)
    assert make(tmp_path) == later | {"torch": "99.0.0+cpu", "torchvision": "98.0.0+cpu"}
