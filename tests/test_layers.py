"""Imports point down: silo < trials < oracle < dashboards < the service < the command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = {"silo": 0, "trials": 1, "oracle": 2, "dashboards": 3, "oracle.service": 4, "oracle.cli": 5}
TESTING = ("trials.testing", "oracle.testing")
HEAVY = (
    *("ray", "optuna", "optuna_dashboard", "sqlalchemy", "pydantic", "plotly", "pandas", "rich", "click"),
)


def level(module: str) -> int | None:
    if module.startswith(("oracle.cli", "oracle.__main__")):
        return LEVELS["oracle.cli"]
    if module.startswith(("oracle.service", "oracle.__init__")):
        return LEVELS["oracle.service"]
    return LEVELS.get(module.split(".")[0])


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


def sources():
    for package in ("silo", "trials", "oracle", "dashboards"):
        yield from sorted((ROOT / package).rglob("*.py"))


def test_imports_point_down():
    paths = list(sources())
    assert len(paths) > 100
    for path in paths:
        check_imports(path)


def check_imports(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = level(module)
    for name in imported(path):
        other = level(name)
        assert other is None or other <= own, f"{module} imports {name}, which is above it"
        if not module.startswith(TESTING):
            assert not name.startswith(TESTING), f"{module} imports {name}, which is for tests"
        if own <= LEVELS["trials"]:
            assert name.split(".")[0] not in HEAVY, f"{module} imports {name}"
        if own == LEVELS["silo"] and module != "silo.scheduler":
            assert name.split(".")[0] != "torch", f"{module} imports {name}"


INTERNALS = {
    "ray._private": {"oracle/drivers/ray_internals.py"},
    "storages._rdb": {"oracle/ledger/rows.py"},
}


@pytest.mark.parametrize("internal", INTERNALS)
def test_the_internals_of_ray_and_optuna_are_touched_in_one_place(internal):
    touching = {
        str(path.relative_to(ROOT)) for path in sources() if internal in path.read_text(encoding="utf-8")
    }
    assert touching == INTERNALS[internal]


LIGHT = ("silo", "silo.fit", "trials.runner", "trials.training", "oracle.search")
BENCHMARKS_OF_TORCH = ("tests.benchmarks.steps", "tests.benchmarks.search", "tests.benchmarks.gpu.right")


def test_what_trains_and_decides_imports_where_the_heavy_packages_are_not_installed():
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import {", ".join([*LIGHT, *BENCHMARKS_OF_TORCH])}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
