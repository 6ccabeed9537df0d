"""Memory per copy of a pack, per worker of a search on Ray, and of its driver (Linux).

    python -m tests.benchmarks.memory [--copies 1 2 4 8] [--networks fc64 resnet20] [--repeats 3] [--keep]

The first table trains packs, each in a process of its own that has the data and the network in memory: by how
much its peak resident memory grows. A copy is weights, best weights, gradients, the optimizer's state and
what its forward pass keeps for the backward one. The networks go in turns, in both orders.

The second runs a small search on Ray, on the digits and on a data set of CIFAR-10's size, and reads the
proportional set sizes of its warm workers, of its driver and of Ray's own processes whenever a pack is done.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.observers import Observer
from oracle.session import Session
from oracle.spec import Spec
from tests.benchmarks.machine import forget_peak, header, keep, peak_memory, proportional_memory
from tests.support import open_session
from trials.engine import EVALUATION_BATCH
from trials.runner import Runner
from trials.tasks import Component, Execution, Recipe, TrainPack, Trial

# Network, its arguments, the shape of its inputs, the batch.
NETWORKS: dict[str, tuple[str, dict[str, Any], list[int], int]] = {
    "fc64": ("fc", {"hidden": [64, 64, 64]}, [64], 32),
    "resnet20": ("resnet20", {}, [3, 32, 32], 128),
}
CIFAR_SIZE = {"shape": [3, 32, 32], "train_size": 45_000, "validation_size": 5_000, "test_size": 10_000}
DATASETS: dict[str, Any] = {
    "digits, 0.5 MB": "digits",
    "of CIFAR-10's size, 184 MB": {"name": "synthetic", "arguments": CIFAR_SIZE},
}


def pack_growth(network: str, copies: int, compiled: bool) -> dict[str, int]:
    """Bytes by which this process grows at its peak to train a pack, and those of one copy's weights."""
    execution, rates = (
        Execution(pack_size=copies, compiled=compiled),
        tuple(0.01 * (1 + each) for each in range(copies)),
    )
    task = TrainPack(cycle=0, replicate=0, max_lrs=rates, start=None)
    with tempfile.TemporaryDirectory() as folder:
        # Another network's pack first: whatever torch imports for this way is not a copy's.
        Runner(recipe_of("fc", {"hidden": [4]}, [4], 32, execution), storage=folder).run(task)
        runner = Runner(recipe_of(*NETWORKS[network], execution), storage=folder)
        weights = sum(each.numel() * each.element_size() for each in runner.network(0).parameters())
        before = forget_peak()
        trained = runner.run(task)
        assert isinstance(trained, tuple), trained
        return {"growth": peak_memory() - before, "before": before, "weights": weights}


def recipe_of(
    name: str, arguments: dict[str, Any], shape: list[int], batch: int, execution: Execution
) -> Recipe:
    """Two steps and a validation of a whole batch of it, which is the largest thing a validation holds."""
    sizes = {"train_size": 512, "validation_size": EVALUATION_BATCH, "test_size": 256}
    return Recipe(
        network=Component(name=name, arguments=arguments),
        dataset=Component(name="synthetic", arguments={"shape": shape, **sizes}),
        pruner=Component(name="global_magnitude"),
        pruning_rate=0.2,
        length=2,
        unit="iterations",
        batch_size=batch,
        optimizer=Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4}),
        schedule=Component(name="constant"),
        execution=execution,
    )


def grow(networks: list[str], copies: list[int], repeats: int, compiled: bool) -> dict[str, dict[int, Any]]:
    """Medians of :func:`pack_growth` by network and copies."""
    runs = [(network, count) for network in networks for count in copies]
    found: dict[tuple[str, int], list[dict[str, int]]] = defaultdict(list)
    for repeat in range(repeats):
        for run in runs[:: 1 if repeat % 2 == 0 else -1]:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found[run].append(pool.submit(pack_growth, *run, compiled).result())
    return {
        network: {
            count: {key: statistics.median(each[key] for each in found[network, count]) for key in measured}
            for count in copies
            for measured in [found[network, count][0]]
        }
        for network in networks
    }


class Sizes(Observer):
    """Reads the sizes of a search's processes, in bytes, whenever a pack is done."""

    def __init__(self) -> None:
        self.workers: dict[str, list[int]] = defaultdict(list)
        self.driver: list[int] = []
        self.ray: list[int] = []

    def trained(self, session: Session, outcomes: tuple[Trial, ...]) -> None:
        """A worker's first pack has loaded its data; from then on it is warm."""
        worker = outcomes[0].worker
        self.workers[worker].append(proportional_memory(int(worker.rpartition(":")[2])))
        self.driver.append(proportional_memory(os.getpid()))
        workers = {int(name.rpartition(":")[2]) for name in self.workers}
        others = (each.pid for each in psutil.Process().children(recursive=True) if each.pid not in workers)
        self.ray.append(sum(map(_size_or_none, others)))

    def medians(self) -> dict[str, float]:
        """Bytes of a worker (the largest of each one's readings), of the driver and of Ray's processes."""
        return {
            "worker": statistics.median(map(max, self.workers.values())),
            "driver": max(self.driver),
            "ray": max(self.ray),
        }


def _size_or_none(process: int) -> int:
    try:
        return proportional_memory(process)
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0


def search_sizes(dataset: Any, workers: int) -> dict[str, float]:
    """Sizes of the processes of a search of 24 short trainings."""
    with tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as folder:
        spec = Spec.model_validate(
            {
                "name": "memory",
                "network": {"name": "fc", "arguments": {"hidden": [64, 64, 64]}},
                "dataset": dataset,
                "cycles": 2,
                "replicates": 2,
                "grid": {"low": 0.01, "high": 0.1, "points": 6, "extend": False},
                "training": {"iterations": 200, "batch_size": 32, "pack": 1, "compile": False},
                "resources": {"workers": workers},
                "storage": folder,
                "ledger": f"sqlite:///{folder}/ledger.db",
            }
        )
        sizes = Sizes()
        with cluster([spec], None) as [found], open_session(spec, observers=[sizes]) as session:
            ray_tune.run([session], found)
        return sizes.medians()


def main() -> None:
    """Prints the tables, and keeps what is in them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--copies", nargs="*", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--compile", action="store_true", help="compile the steps of the packs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-memory.json")
    options = parser.parse_args()
    packs = grow(options.networks, sorted(set(options.copies)), options.repeats, options.compile)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in DATASETS}
    for repeat in range(options.repeats):
        for name in list(DATASETS)[:: 1 if repeat % 2 == 0 else -1]:
            runs[name].append(search_sizes(DATASETS[name], options.workers))
    searches = {
        name: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for name, found in runs.items()
    }
    console = Console(width=110)
    console.print(", ".join(f"{key} {value}" for key, value in header().items()))
    console.print(pack_table(packs))
    console.print(search_table(searches))
    if options.keep:
        found = {
            "compiled": options.compile,
            "packs": packs,
            "workers": options.workers,
            "searches": searches,
        }
        console.print(f"kept as {keep('memory', found)}")


def pack_table(packs: dict[str, dict[int, Any]]) -> Table:
    """A row per network and number of copies, with what each copy adds to the row before it."""
    table = Table("pack", "copies", "growth", "ratio to the first's", "per copy more", "of one's weights")
    for network, counts in packs.items():
        before = 0, 0.0
        first = next(iter(counts.values()))["growth"]
        for count, figures in counts.items():
            more = (figures["growth"] - before[1]) / (count - before[0])
            table.add_row(
                network,
                str(count),
                _megabytes(figures["growth"]),
                f"{figures['growth'] / first:.2f}×",
                _megabytes(more),
                f"{more / figures['weights']:.1f}×",
            )
            before = count, figures["growth"]
    return table


def search_table(searches: dict[str, dict[str, float]]) -> Table:
    """A column per data set."""
    table = Table("proportional set size", *searches)
    words = {"worker": "a warm worker", "driver": "the driver", "ray": "Ray's own processes"}
    for key, label in words.items():
        table.add_row(label, *_beside_the_first(found[key] for found in searches.values()))
    return table


def _beside_the_first(sizes: Iterable[float]) -> list[str]:
    first, *others = sizes
    return [_megabytes(first), *(f"{_megabytes(each)} ({each / first:.2f}×)" for each in others)]


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    main()
