"""Laws that take whole searches, in processes of their own: a few tries here, any number by the command."""

import os
import subprocess
import sys

import pytest

from tests.effort import tries
from tests.postgresql import programs
from tests.processes import ROOT

CAMPAIGNS = {
    "cuts": (tries(2), 2),
    "fuzz": (tries(5),),
    "interrupts": (tries(2),),
}


@pytest.mark.slow
@pytest.mark.parametrize("law", CAMPAIGNS)
def test_nothing_is_lost_or_unsaid(tmp_path_factory, law):
    if law == "cuts" and programs() is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp(law)
    done = subprocess.run(
        [sys.executable, "-m", f"tests.laws.{law}", str(folder), *map(str, CAMPAIGNS[law])],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
