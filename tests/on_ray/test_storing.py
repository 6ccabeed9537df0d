"""Files are written beside the next training, and a result comes when they are there: whoever is killed."""

import itertools
import os
import signal
import threading
from pathlib import Path

import psutil

from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.observers import Observer
from oracle.search import Signal
from tests.support import open_session, results, run_in_process, small_spec
from trials.checkpoints import Store

# A network of 17 MB, trained in a moment: writing it takes long enough to be caught at it.
LARGE = {
    "network": {"name": "fc", "arguments": {"hidden": [2048, 2048]}},
    "cycles": 1,
    "replicates": 1,
    "grid": {"low": 0.01, "high": 0.4, "points": 7, "extend": False},
    "training": {"iterations": 3, "batch_size": 64, "pack": 1, "compile": False},
    "resources": {"workers": 1},
}


class Witness(Observer):
    """Reads every file of which it hears; has the first worker killed in the middle of writing one."""

    def __init__(self, storage):
        self._store, self._hunt = Store(storage), None
        self.told, self.retried_tasks, self.killed, self.left = [], [], None, None

    def trained(self, session, outcomes):
        for outcome in outcomes:
            self._store.read(outcome.checkpoint)  # raises if it isn't there
            written = (Path(self._store.root) / outcome.checkpoint.path).stat().st_mtime
            self.told.append((outcome, written))
        if self._hunt is None:
            pid = int(outcomes[0].worker.split(":")[1])
            self._hunt = threading.Thread(target=self._kill_while_it_writes, args=(pid,), daemon=True)
            self._hunt.start()

    def retried(self, session, task, reason):
        self.retried_tasks.append(task)

    def _kill_while_it_writes(self, pid):
        worker, pattern, nap = psutil.Process(pid), "cycle-*/replicate-*/.*.tmp", threading.Event()
        while True:
            while not list(Path(self._store.root).glob(pattern)):
                nap.wait(0.001)
            worker.suspend()
            while worker.status() != psutil.STATUS_STOPPED:
                nap.wait(0.001)
            if left := list(Path(self._store.root).glob(pattern)):
                self.killed, self.left = pid, left
                os.kill(pid, signal.SIGKILL)
                return
            worker.resume()


def test_files_are_written_beside_the_next_training_and_a_worker_killed_in_between_loses_nothing(
    tmp_path, ray_cluster
):
    spec = small_spec(tmp_path, **LARGE)
    witness = Witness(spec.storage_root())
    with (
        cluster([spec], ray_cluster.address) as [workers],
        open_session(spec, observers=[witness]) as session,
    ):
        assert ray_tune.run([session], workers) == {"small": Signal.DONE}
    assert witness.killed and all(path.exists() for path in witness.left)
    assert 1 <= len(witness.retried_tasks) <= 3  # one is written, one trained, one perhaps read for training
    assert results(session) == results(run_in_process(small_spec(tmp_path / "alone", **LARGE)))
    after = sorted((t.started, t.ended, w) for t, w in witness.told if str(witness.killed) not in t.worker)
    pairs = list(itertools.pairwise(after))
    assert all(then[0] >= before[1] for before, then in pairs)  # a thread trains one pack after another
    assert any(then[0] < before[2] for before, then in pairs), "each training waited for the disk"
