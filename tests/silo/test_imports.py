import os
import subprocess
import sys
from pathlib import Path

import silo

ROOT = Path(silo.__file__).parents[1]

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "ray", "optuna", "sqlalchemy", "pydantic", "pandas"}:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import pandas
except ImportError:
    pass
else:
    raise SystemExit("the blocker does not block")

import numpy as np
import silo
from silo import cost, theory

table = silo.load_table(11)
fit = silo.fit_curve(table.intervals, pruning_rate=0.2)
print(fit.curve.q, fit.hitting is not None)

rates = np.geomspace(0.01, 0.1, 8)
luck = np.random.default_rng(0).normal(size=(5, 8, 3)) / 1000
measured = [
    silo.CycleAccuracies(
        cycle=i.cycle, rates=rates, accuracies=(0.9 - np.log(rates / i.optimum) ** 2 / 50)[:, None] + noise
    )
    for i, noise in zip(table.intervals, luck)
]
fit = silo.fit_curve(measured, pruning_rate=0.2, draws=5)
print(fit.drawn.draws, len(str(fit)) > 100)
print(silo.compare_rivals(table.intervals, pruning_rate=0.2).verdict.partition(":")[0])
print(round(silo.cycle_at_density(0.8**3, 0.2), 9))
print(theory.kept_power(0, 0.2), cost.silo_cost(7, 3).trainings, len(silo.load_table(2).rows) > 0)
try:
    import silo.scheduler
except ImportError as error:
    print(error)
"""

SAID = """\
1 True
5 True
An S-shape is supported
3.0
1.0 21 True
silo.scheduler needs torch (torch is blocked): pip install torch
"""

ALL_BUT_THE_SCHEDULER = """
import importlib
import pkgutil
import sys
import silo

print("torch" in sys.modules)
names = [one.name for one in pkgutil.walk_packages(silo.__path__, "silo.")]
names = [name for name in names if name != "silo.scheduler"]
for name in names:
    importlib.import_module(name)
print("torch" in sys.modules, "silo.fit.rivals" in names, "silo.paper" in names)
"""


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_works_without_the_packages_of_the_other_layers() -> None:
    assert run(BLOCKED) == SAID


def test_importing_silo_imports_no_torch() -> None:
    assert run(ALL_BUT_THE_SCHEDULER).splitlines() == ["False", "False True True"]


def test_the_public_names_exist_in_order() -> None:
    """Constants, then classes, then functions: ruff's order."""
    assert all(hasattr(silo, name) for name in silo.__all__)
    assert silo.__all__ == sorted(
        silo.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    assert len(set(silo.__all__)) == len(silo.__all__)
