"""A search whose drivers were killed, and those who looked, leaves what one leaves that nobody disturbed."""

import json
import os
import subprocess
import sys

import pytest

from tests.effort import tries
from tests.processes import ROOT


@pytest.mark.slow
def test_kills_at_random_moments_leave_nothing_undone(tmp_path):
    arguments = [sys.executable, "-m", "tests.laws.kills", str(tmp_path), str(tries(1))]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found = {each["search"]: each for each in map(json.loads, done.stdout.splitlines())}
    others = [each for name, each in found.items() if not name.startswith("whole")]
    assert len(others) == tries(1) and sum(each.pop("kills") for each in others) >= len(others)
    for each in others:
        whole = found[f"whole-{each.pop('pack')}"]
        assert {**each, "search": whole["search"]} == whole, each["search"]
