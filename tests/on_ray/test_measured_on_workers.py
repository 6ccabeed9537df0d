"""Where the driver has no GPU, ways are measured on a worker of the cluster. Here none is had."""

import os

import pytest
from torch import nn

from oracle.drivers import cluster, nodes
from oracle.ledger import Ledger
from silo.errors import InvalidInput
from tests.support import open_session, small_spec
from trials.tasks import Execution


@pytest.fixture
def asked(monkeypatch):
    """What workers chose, for a driver that has not their device."""
    found = []
    genuine = nodes.choose_execution_on_worker

    def choose(spec, workers):
        found.append(genuine(spec, workers))
        return found[-1]

    monkeypatch.setattr("oracle.execution.measured_on_workers", lambda spec: True)
    monkeypatch.setattr(nodes, "choose_execution_on_worker", choose)
    return found


def test_a_new_search_is_computed_as_a_worker_chose_and_stays_so(asked, ray_cluster, call, write):
    for cycles, *driver in ((1, "--address", ray_cluster.address), (2, "--driver", "in-process")):
        spec = write(cycles=cycles, replicates=1, resources={"workers": 1})
        code, _, err = call("run", spec, *driver)
        assert code == 0, err
    (choice,) = asked
    assert choice.execution == Execution(pack_size=16) and "rule of thumb" in choice.reason
    ledger = Ledger(small_spec(write().parent).ledger)
    record = ledger.search("small")
    ledger.close()
    assert (record.execution, record.execution_reason) == (choice.execution, choice.reason)


def test_why_a_worker_could_not_measure_is_said_and_kept(asked, ray_cluster, call, write, monkeypatch):
    def fails(spec, workers):  # in here, as workers can't import this module
        raise RuntimeError("what comes first\nno CUDA device is here")

    monkeypatch.setattr(nodes, "_choose_way", fails)
    spec = write(cycles=1, replicates=1, resources={"workers": 1})
    code, _, err = call("run", spec, "--address", ray_cluster.address)
    assert code == 0, err
    why = "no CUDA device is here"
    assert asked == [why] and f"that failed ({why}); a rule of thumb decides" in err
    ledger = Ledger(small_spec(write().parent).ledger)
    record = ledger.search("small")
    ledger.close()
    assert record.execution_reason.endswith(f"; measuring on a worker failed ({why})")
    assert f"measuring on a worker failed ({why})" in err.split(", up to 16", 1)[1]  # the search's first line


def test_what_a_worker_refuses_is_said_in_its_words(ray_cluster, tmp_path):
    optimizer = "tests.trials.test_engine:Odd"
    training = {"epochs": 1, "compile": True, "optimizer": {"name": optimizer, "arguments": {}}}
    spec = small_spec(tmp_path, training=training)
    here = {"name": f"{__name__}:OnlyHere", "arguments": {"process": os.getpid()}}
    lost = small_spec(tmp_path, network=here, cycles=1)
    with cluster.cluster([spec], ray_cluster.address), open_session(lost) as session:
        with pytest.raises(InvalidInput, match="has no begin"):
            nodes.choose_execution_on_worker(spec, 1)
        with pytest.raises(
            InvalidInput, match=r"network: .*OnlyHere.* FileNotFoundError: no such file there"
        ):
            nodes.check_workers([session], {})


class OnlyHere(nn.Sequential):
    """Can be built in one process alone, as if its file were nowhere else."""

    def __init__(self, *, input_shape, num_classes, process):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
        if os.getpid() != process:
            raise FileNotFoundError("no such file there")
