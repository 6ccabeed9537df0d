"""Trainings per second of the demo's search: this service beside plain Ray Tune, in one run.

    python -m tests.benchmarks.throughput [--repeats 1] [--keep]

Plain Ray Tune trains the demo's first cycle (its grid and replicates, the same training of one candidate)
with ``tune.grid_search`` in a fresh actor per trial, as its documentation shows it: the whole search would
take it most of an hour. The service runs the whole search. Both start on a cluster that is up and has no
worker yet; the order changes from repeat to repeat.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oracle.cli.specs import example
from oracle.drivers import ray_tune
from oracle.spec import Spec
from oracle.spec_file import parse_spec
from tests.benchmarks.machine import header, keep
from tests.support import open_session


def service(spec: Spec, workers: int) -> dict[str, float]:
    """The whole search with this service's Ray driver."""
    with open_session(spec) as session:
        begin = time.perf_counter()
        ray_tune.run([session], workers)
        wall = time.perf_counter() - begin
        trials = session.search.outcomes()
        training = sum((trial.ended - trial.started) / trial.pack for trial in trials)
        first = min(trial.started for trial in trials)
        span = max(trial.ended for trial in trials) - first
    return {
        "trainings": len(trials),
        "wall_seconds": wall,
        "trainings_per_second": len(trials) / wall,
        "training_share": training / (wall * workers),
        "training_share_after_start": training / (span * workers),
    }


def plain_ray_tune(spec: Spec, workers: int) -> dict[str, float]:
    """The first cycle's trials with ``tune.grid_search`` and nothing else."""
    from ray import tune

    recipe = dataclasses.asdict(spec.recipe(pack_size=1))
    storage = spec.storage_root() + "-plain"

    def train_one(config: dict[str, Any]) -> None:
        import torch
        from ray import tune

        from trials.recipe import Recipe
        from trials.runner import Runner
        from trials.tasks import TrainPack

        torch.set_num_threads(1)
        runner = Runner(Recipe.from_dict(recipe), storage=storage)
        task = TrainPack(cycle=0, replicate=config["replicate"], max_lrs=(config["max_lr"],), start=None)
        (trial,) = runner.run(task)
        tune.report({"accuracy": trial.accuracy, "seconds": trial.ended - trial.started})

    grid = {
        "max_lr": tune.grid_search(list(spec.grid.grid().values)),
        "replicate": tune.grid_search(list(range(spec.replicates))),
    }
    tuner = tune.Tuner(
        tune.with_resources(train_one, {"cpu": 1}),
        param_space=grid,
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    )
    begin = time.perf_counter()
    found = tuner.fit()
    wall = time.perf_counter() - begin
    seconds = [result.metrics["seconds"] for result in found]
    return {
        "trainings": len(seconds),
        "wall_seconds": wall,
        "trainings_per_second": len(seconds) / wall,
        "training_share": sum(seconds) / (wall * workers),
    }


def measure(repeats: int) -> dict[str, list[dict[str, float]]]:
    """Runs both, in alternating order."""
    runs: dict[str, list[dict[str, float]]] = {"silo-oracle": [], "plain Ray Tune": []}
    ways = {"silo-oracle": service, "plain Ray Tune": plain_ray_tune}
    for repeat in range(repeats):
        for name in list(ways)[:: 1 if repeat % 2 == 0 else -1]:
            folder = Path(tempfile.mkdtemp(prefix="oracle-benchmark-"))
            places = {"storage": str(folder), "ledger": f"sqlite:///{folder}/ledger.db"}
            spec = parse_spec(example()).model_copy(update=places)
            with ray_tune.cluster(spec, None) as workers:
                runs[name].append(ways[name](spec, workers))
    return runs


def main() -> None:
    """Prints the table, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-throughput.json")
    options = parser.parse_args()
    runs = measure(options.repeats)
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    base = medians["plain Ray Tune"]["trainings_per_second"]
    table = Table("", "trainings", "wall s", "trainings/s", "ratio", "training / (wall × cores)")
    for name, figures in medians.items():
        table.add_row(
            name,
            f"{figures['trainings']:.0f}",
            f"{figures['wall_seconds']:.1f}",
            f"{figures['trainings_per_second']:.2f}",
            f"{figures['trainings_per_second'] / base:.1f}×",
            f"{figures['training_share']:.2f}",
        )
    console = Console(width=110)
    console.print(", ".join(f"{key} {value}" for key, value in header().items()))
    console.print(table)
    share = medians["silo-oracle"]["training_share_after_start"]
    console.print(f"silo-oracle, from the first training's start to the last one's end: {share:.2f}")
    if options.keep:
        console.print(f"kept as {keep('throughput', {'runs': runs, 'medians': medians})}")


if __name__ == "__main__":
    main()
