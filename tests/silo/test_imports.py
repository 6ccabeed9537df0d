import os
import subprocess
import sys
from pathlib import Path

import silo

SCRIPT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "ray", "optuna", "sqlalchemy", "pydantic", "pandas"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import pandas
except ImportError:
    pass
else:
    raise SystemExit("the blocker does not block")

import silo

fit = silo.fit_curve(silo.load_table(11).intervals, pruning_rate=0.2)
print(fit.curve.q, fit.hitting is not None)
"""


def test_works_without_the_packages_of_the_other_layers() -> None:
    root = Path(silo.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1 True"), done.stderr


def test_the_public_names_exist() -> None:
    assert all(hasattr(silo, name) for name in silo.__all__)
    assert silo.__all__ == sorted(silo.__all__)
