"""The benchmark for a GPU's first ten minutes, on the CPU: every part says something, and it is true."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks import gpu_first
from tests.benchmarks.gpu.scale import SCALES
from tests.test_layers import HEAVY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BLOCKING = f"""
import importlib.machinery
import sys
class Blocked:  # to be looked for, as compilers do, is no fault
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {(*HEAVY, "psutil", "pytest")!r}:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name)
    def exec_module(self, module):
        raise ModuleNotFoundError(module.__name__)
sys.meta_path.insert(0, Blocked())
"""


def values(found, end):
    return [value for what, value in found.items() if what.endswith(end)]


def all_positive(found):
    return all(value > 0 for value in found.values())


TRUE = {
    "ceilings": all_positive,
    "equality": lambda found: len(found) == 12 and max(found.values()) < 1e-9,
    "repeat": lambda found: values(found, "the same bits twice") == [True] * 5,
    "synchronisations": lambda found: [*found.values()] == ["none to wait for"] * 4,
    "memory": lambda found: len(found) == 3 and all(abs(value) < 10**7 for value in found.values()),
    "kernels": lambda found: all(value > 10 for value in values(found, ": a step")) and len(found) == 16,
    "out_of_memory": lambda found: [*found.values()] == ["2 trained, 1 together"] * 2,
    "device_assert": lambda found: found["the runner"].startswith("DeviceLost: the GPU can't be used"),
    "speed_fp32": all_positive,
    "speed_bf16": all_positive,
    "search": lambda found: found["trainings"] == 24 and found["cycle 1: accuracy"] > 0.1,
    "speed_tf32": all_positive,
    "choice": lambda found: "measured for this search" in found["reason"],
}


@pytest.mark.parametrize("name", gpu_first.PARTS)
def test_a_part_says_what_is_true(name):
    module = importlib.import_module(f"tests.benchmarks.gpu.{gpu_first.PARTS[name][0]}")
    part, found = getattr(module, name)(SCALES["tiny"], torch.device("cpu")), {}
    while True:
        try:
            what, value = next(part)
        except StopIteration as ended:
            said = ended.value
            break
        assert what not in found
        found[what] = value
    failed = [what for what, value in found.items() if str(value).startswith("failed")]
    assert not failed, found
    assert TRUE[name](found), found
    assert said and "\n" not in said
    json.dumps(found)


def test_the_script_needs_torch_and_little_else_and_nothing_stops_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKING)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def run(*parts, wait):
        command = [sys.executable, "-m", "tests.benchmarks.gpu_first", "--device", "cpu", "--scale", "tiny"]
        done = subprocess.run(
            [*command, "--out", str(tmp_path), "--parts", *parts, *wait],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=900,
        )
        (kept,) = tmp_path.glob("*-gpu-first-cpu.json")
        return done.stdout.splitlines(), json.loads(kept.read_text())["parts"]

    lines, found = run("device_assert", "search", wait=["--patience", "20", "--seconds", "900"])
    assert [line.split()[:2] for line in lines[1:-1]] == [["device_assert", "done"], ["search", "done"]], (
        lines
    )
    assert all(TRUE[name](each["found"]) for name, each in found.items())
    lines, found = run("speed_fp32", "choice", wait=["--seconds", "6"])
    first, second = (each["state"] for each in found.values())
    assert first in ("late", "done") and second == "left out", lines  # a fast machine is in time
