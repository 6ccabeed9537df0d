"""Seconds from ``oracle submit`` to the first training, on a cluster that is up: medians.

    python -m tests.benchmarks.submit [--repeats 5] [--nodes 2] [--keep]

It starts a cluster on this machine, submits one search for nothing, and then small ones, one after another.
``accepted`` is when the command returns, the cluster's preflight being over; ``first training`` is when a
worker begins with it, by the ledger; ``python`` is what a Ray job needs that does nothing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from oracle.ledger import Ledger
from tests.benchmarks.machine import header, keep
from tests.clusters import Cluster, running
from tests.support import small_data


def main() -> None:
    """Prints the medians, and keeps them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-submit.json")
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with running(folder, nodes=options.nodes) as cluster:
            submitted(cluster, folder, "warm")
            pairs = [submitted(cluster, folder, f"search-{index}") for index in range(options.repeats)]
            bare = [job(cluster) for _ in range(options.repeats)]
    accepted, first = zip(*pairs, strict=True)
    found = {"accepted": accepted, "first training": first, "python": bare}
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    for name, seconds in medians.items():
        print(f"{name:16} {seconds:6.1f} s")
    if options.keep:
        print(f"kept as {keep('submit', {'nodes': options.nodes, 'seconds': medians})}")


def submitted(cluster: Cluster, folder: Path, name: str) -> tuple[float, float]:
    """Seconds until a search is accepted, and until its first training begins."""
    path = folder / f"{name}.yaml"
    YAML(typ="safe").dump(small_data(folder, name=name, cycles=1), path)
    begin, clock = time.perf_counter(), time.time()
    done = cluster.oracle("submit", path, "--address", cluster.url)
    accepted = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(done.stderr + done.stdout)
    cluster.oracle("logs", "-f", name, "--address", cluster.url)
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    started = min(outcome.started for outcome in ledger.outcomes(name).values())
    ledger.close()
    return accepted, started - clock


def job(cluster: Cluster) -> float:
    """Seconds of a Ray job that does nothing."""
    ray = str(Path(sys.executable).with_name("ray"))
    begin = time.perf_counter()
    command = [ray, "job", "submit", "--address", cluster.url, "--", "true"]
    subprocess.run(command, env=cluster.environment, capture_output=True, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
