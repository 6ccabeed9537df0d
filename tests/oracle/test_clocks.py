"""A clock that is set while a search runs: costs and durations are measured by one that never is."""

import itertools
import time

import pytest

import oracle
from oracle.ledger import Ledger
from oracle.results.costs import worker_seconds
from tests.support import small_spec

TRAINING = {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False}


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_set_changes_no_cost(tmp_path, monkeypatch, hours):
    """By hours at every look: a training seems to last as long, or to end before it began."""
    clock = (1.7e9 + 3600 * hours * index for index in itertools.count())
    began = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: next(clock))
        spec = small_spec(tmp_path, cycles=2, replicates=1, training=TRAINING)
        found = oracle.run(spec, driver="in-process")
    most = time.monotonic() - began
    assert all(0 < trial.wall_seconds < most for trial in found.outcomes)
    assert 0 < worker_seconds(found.outcomes) < most and 0 < found.wall_seconds < most
    assert (found.trials.ended - found.trials.started).dt.total_seconds().abs().min() > 3600  # points in time
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    studies = [ledger.cycle_study("small", 0), ledger.summary_study("small")]
    rows = [row for study in studies for row in study.get_trials()]
    assert len(rows) > 5 and all(row.duration.total_seconds() >= 0 for row in rows)
    cycle = studies[0].get_trials()
    assert all(row.duration.total_seconds() < most for row in cycle)
    ledger.close()
