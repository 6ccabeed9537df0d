"""Trainings per second of the demo's search: this service beside what people have, in one run.

    python -m tests.benchmarks.throughput [--repeats 1] [--keep] [--only NAME ...]

The service runs the whole search, its preflight included: all rates in all replicates, and with a quarter of
the trainings; the others train the demo's first cycle (its grid, one replicate, the same training of one
candidate): the whole search would take them up to an hour, "table s" by their trainings per second. What runs
on Ray starts on a cluster that is up and has no worker yet; the order changes from repeat to repeat. What the
service compiles is kept on this machine: an earlier search, or the first repeat, may have paid for it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oracle.cli.specs import example
from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.spec import Spec
from oracle.spec_file import parse_specs
from oracle.spec_parts import ComponentSpec
from tests.benchmarks import baselines
from tests.benchmarks.breakdown import share_once_warm
from tests.benchmarks.machine import header, keep
from tests.support import open_session

OURS, ADAPTIVE, BASE = "silo-oracle", "silo-oracle, policy adaptive", "plain Ray Tune"
SEARCHES = OURS, ADAPTIVE
"""The ways that run the whole search."""


def service(spec: Spec, workers: int) -> dict[str, Any]:
    """The whole search with this service's Ray driver."""
    begin = time.perf_counter()
    with open_session(spec) as session:
        prepared = time.perf_counter()
        ray_tune.run([session], workers)
        wall = time.perf_counter() - begin
        trials = session.search.outcomes()
        execution = str(session.record.execution)
    training = sum((trial.ended - trial.started) / trial.pack for trial in trials)
    first = [(trial.max_lr, trial.score) for trial in trials if trial.cycle == trial.replicate == 0]
    return {
        "trainings": len(trials),
        "wall_seconds": wall,
        "trainings_per_second": len(trials) / wall,
        "training_share": training / (wall * workers),
        "best_accuracy": baselines.best_accuracy(first),
        "preflight_seconds": prepared - begin,
        "share_once_warm": share_once_warm(trials, workers),
        "execution": execution,
    }


WAYS: dict[str, Callable[[Spec, int], dict[str, Any]]] = {
    OURS: service,
    ADAPTIVE: service,
    BASE: baselines.plain_ray_tune,
    "Ray Tune, reuse_actors": baselines.ray_tune_reusing_actors,
    "Optuna GridSampler, one process": baselines.optuna_grid,
    "shell loop, xargs -P": baselines.shell_loop,
}


def measure(repeats: int, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Runs them all, in alternating order."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names[:: 1 if repeat % 2 == 0 else -1]:
            folder = Path(tempfile.mkdtemp(prefix="oracle-benchmark-"))
            places = {"storage": str(folder), "ledger": f"sqlite:///{folder}/ledger.db"}
            spec = parse_specs(example())[0].model_copy(update=places)
            whole = spec.cycles * spec.replicates * spec.policy_of_rates().candidates
            if name == ADAPTIVE:
                spec = spec.model_copy(update={"policy": ComponentSpec(name="adaptive")})
            if name not in SEARCHES:
                spec = spec.model_copy(update={"replicates": 1})
            with cluster([spec], None) as [workers]:
                run = WAYS[name](spec, workers)
            lasts = run["wall_seconds"] if name in SEARCHES else whole / run["trainings_per_second"]
            runs[name].append({**run, "table_seconds": lasts})
    return runs


def main() -> None:
    """Prints the table, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--keep", action="store_true", help="write results/DATE-throughput.json")
    options = parser.parse_args()
    runs = measure(options.repeats, options.only)
    medians = {
        name: {
            key: statistics.median(run[key] for run in found) if isinstance(value, int | float) else value
            for key, value in found[0].items()
        }
        for name, found in runs.items()
    }
    base = medians.get(BASE, {}).get("table_seconds")
    columns = "trainings", "wall s", "trainings/s", "table s", "ratio", "training / (wall × cores)"
    table = Table("", *columns, "best accuracy")
    for name, figures in medians.items():
        table.add_row(
            name,
            f"{figures['trainings']:.0f}",
            f"{figures['wall_seconds']:.1f}",
            f"{figures['trainings_per_second']:.2f}",
            f"{figures['table_seconds']:.0f}",
            f"{base / figures['table_seconds']:.1f}×" if base else "",
            f"{figures['training_share']:.2f}",
            f"{figures['best_accuracy']:.2%}",
        )
    console = Console(width=120)
    console.print(", ".join(f"{key} {value}" for key, value in header().items()))
    console.print(table)
    if ours := medians.get(OURS):
        console.print(
            f"{OURS}: {ours['execution']}; {ours['preflight_seconds']:.1f} s are preflight; once every "
            f"worker has ended its first pack, {ours['share_once_warm']:.2f} of wall × cores is training"
        )
    if options.keep:
        console.print(f"kept as {keep('throughput', {'runs': runs, 'medians': medians})}")


if __name__ == "__main__":
    main()
