"""Training loops of one's own, as they ship: in process and on Ray the same, killed once on the way."""

import signal
import subprocess

import pytest
from ruamel.yaml import YAML

from oracle.cli.specs import example
from oracle.ledger import Ledger
from tests.processes import rows, start

SMALLER = {"cycles": 2, "replicates": 1, "grid": {"values": [0.01, 0.03, 0.1], "extend": False}}
TRAININGS = 6 * 2 * 1 * 3


def write(folder):
    """The spec file of the example with fewer trainings, in a new folder."""
    folder.mkdir()
    spec = YAML(typ="safe", pure=True).load(example("loops")) | SMALLER
    place = {"ledger": f"sqlite:///{folder}/ledger.db", "storage": str(folder / "networks")}
    YAML(typ="safe").dump(spec | place, folder / "loops.yaml")
    return folder / "loops.yaml"


def found(folder):
    """What the six searches found."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    try:
        return {
            (name, t.cycle, t.replicate, t.max_lr): (t.score, t.test_score, t.checkpoint.sha256)
            for name in (record.name for record in ledger.searches())
            for t in ledger.outcomes(name).values()
        }
    finally:
        ledger.close()


def run(*arguments):
    process = start(*arguments)
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_the_example_s_loops_give_the_same_in_process_and_on_ray_killed_or_not(tmp_path, ray_cluster):
    here, there = write(tmp_path / "here"), write(tmp_path / "there")
    run(here, "--driver", "in-process")
    on_ray = there, "--address", ray_cluster.address
    process = start(*on_ray)
    while rows(there.parent, "loops.%") < TRAININGS / 3:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert rows(there.parent, "loops.%") < TRAININGS
    run(*on_ray)
    whole = found(here.parent)
    assert len(whole) == TRAININGS and whole == found(there.parent)
    names = {name for name, *_ in whole}
    assert len(names) == 6
    for name in names:  # rates make a difference: it is trained, and by them
        assert len({score for (whose, *_), (score, *_) in whole.items() if whose == name}) > 2
