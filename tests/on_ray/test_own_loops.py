"""Training loops of one's own, as they ship: in process and on Ray the same, killed once on the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from oracle.cli.specs import example
from oracle.ledger import Ledger
from tests.processes import rows

ROOT = Path(__file__).parents[2]
TRAININGS = 6 * 3 * 4 * 2


def start(folder, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "oracle", "run", "loops.yaml", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_and_resumed(folder, driver, share):
    """What the six searches found: killed once after a share of the trainings, and run again."""
    spec = YAML(typ="safe", pure=True).load(example("loops"))
    place = {"ledger": f"sqlite:///{folder}/ledger.db", "storage": str(folder / "networks")}
    YAML(typ="safe").dump(spec | place, folder / "loops.yaml")
    process = start(folder, "--driver", driver)
    while rows(folder, "loops.%") < share * TRAININGS:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert rows(folder, "loops.%") < TRAININGS
    process = start(folder, "--driver", driver)
    _, err = process.communicate()
    assert process.returncode == 0, err
    ledger = Ledger(place["ledger"])
    try:
        return {
            (name, t.cycle, t.replicate, t.max_lr): (t.score, t.test_score, t.checkpoint.sha256)
            for name in (record.name for record in ledger.searches())
            for t in ledger.outcomes(name).values()
        }
    finally:
        ledger.close()


@pytest.mark.slow
def test_the_example_s_loops_give_the_same_in_process_and_on_ray_killed_or_not(tmp_path):
    folders = [tmp_path / name for name in ("here", "ray")]
    for folder in folders:
        folder.mkdir()
    here = killed_and_resumed(folders[0], "in-process", 0.6)
    ray = killed_and_resumed(folders[1], "ray", 0.3)
    assert len(here) == TRAININGS and here == ray
    names = {name for name, *_ in here}
    assert len(names) == 6
    for name in names:  # rates make a difference: it is trained, and by them
        assert len({score for (whose, *_), (score, *_) in here.items() if whose == name}) > 6
