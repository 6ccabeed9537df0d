"""Laws that take whole searches: a few tries here, in one process; any number by the commands of each."""

import json
import os
import subprocess
import sys

import pytest

from tests.effort import tries
from tests.postgresql import programs
from tests.processes import ROOT

CAMPAIGNS = {"cuts": (tries(2), 2), "fuzz": (tries(5), 0), "interrupts": (tries(2), 0), "kills": (tries(1),)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Name of a campaign to its exit code and what it has printed."""
    folder = tmp_path_factory.mktemp("laws")
    wanted = [name for name in CAMPAIGNS if name != "cuts" or programs() is not None]
    arguments = [",".join(map(str, (name, *CAMPAIGNS[name]))) for name in wanted]
    run = subprocess.run(
        [sys.executable, "-m", "tests.laws.campaigns", str(folder), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    codes = dict(map(json.loads, run.stdout.splitlines()))
    assert list(codes) == wanted, run.stderr
    return {name: (codes[name], (folder / name / "log").read_text()) for name in wanted}


@pytest.mark.parametrize("law", CAMPAIGNS)
def test_nothing_is_lost_or_unsaid(done, law):
    if law not in done:
        pytest.skip("PostgreSQL is not installed")
    code, printed = done[law]
    assert code == 0, printed[-3000:]


def test_kills_at_random_moments_leave_what_a_search_leaves_that_nobody_disturbed(done):
    found = {each["search"]: each for each in map(json.loads, done["kills"][1].splitlines())}
    others = [each for name, each in found.items() if not name.startswith("whole")]
    assert len(others) == tries(1) and sum(each.pop("kills") for each in others) >= len(others)
    for each in others:
        whole = found[f"whole-{each.pop('pack')}"]
        assert {**each, "search": whole["search"]} == whole, each["search"]
