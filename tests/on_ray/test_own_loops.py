"""Training loops of one's own, as they ship: in process and on Ray the same."""

from ruamel.yaml import YAML

from oracle.cli.specs import example
from oracle.ledger import Ledger
from tests.processes import start

SMALLER = {"cycles": 2, "replicates": 1, "grid": {"values": [0.01, 0.1], "extend": False}}
TRAININGS = 6 * 2 * 1 * 2


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


def test_the_example_s_loops_give_the_same_in_process_and_on_ray(tmp_path, ray_cluster):
    here, there = write(tmp_path / "here"), write(tmp_path / "there")
    for process in (start(here, "--driver", "in-process"), start(there, "--address", ray_cluster.address)):
        _, err = process.communicate()
        assert process.returncode == 0, err
    whole = found(here.parent)
    assert len(whole) == TRAININGS and whole == found(there.parent)
    names = {name for name, *_ in whole}
    assert len(names) == 6
    for name in names:  # rates make a difference: it is trained, and by them
        assert len({score for (whose, *_), (score, *_) in whole.items() if whose == name}) > 2
