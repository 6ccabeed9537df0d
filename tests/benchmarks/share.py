"""The share of wall time × workers that is training in a search on Ray, and where the rest goes.

    python -m tests.benchmarks.share [--repeats 1] [--only demo long] [--workers 2] [--keep]

Two searches: the demo's, whose trainings take a fraction of a second, and the same network, data and
schedule with 40 times the epochs: some ten seconds each, one candidate at a time, nothing compiled. The limit
of the share is 1. Each starts on a cluster that is up and has no worker yet; the order changes from repeat to
repeat.

Then one pack of each, in this process and warm, by what it does: a step is forward, backward, mask and
update. Ray gives its workers a low priority (RAY_worker_niceness, 15): beside other work they starve.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

import trials.training
from oracle.cli.specs import example
from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.execution import cores
from oracle.spec import Spec
from oracle.spec_file import parse_specs
from tests.benchmarks.breakdown import breakdown, share_once_warm
from tests.benchmarks.machine import header, keep
from tests.support import open_session
from trials.checkpoints import Store
from trials.engine import Engine
from trials.engine.steps import EagerStep, GraphStep
from trials.runner import Runner
from trials.tasks import Execution, TrainPack

EPOCHS = 600
WORDS = {
    "preflight": "preflight",
    "start_up": "start-up, to a worker's first task",
    "first_pack": "training: each worker's first pack, data and compilation included",
    "training": "training: all later packs",
    "waiting": "waiting within a cycle",
    "cycle_end": "waiting at a cycle's end: the others, decision, pruning",
    "after": "after a worker's last pack",
}


def demo(folder: Path, workers: int) -> Spec:
    """The demo's search."""
    places = {"storage": str(folder), "ledger": f"sqlite:///{folder}/ledger.db"}
    spec = parse_specs(example())[0]
    return spec.model_copy(
        update={**places, "resources": spec.resources.model_copy(update={"workers": workers})}
    )


def long(demonstration: Spec, epochs: int) -> Spec:
    """36 trainings of about ten seconds: the demo's with 40 times the epochs, each candidate alone, eager."""
    data = demonstration.model_dump()
    times = epochs // data["training"]["epochs"]
    schedule = data["training"]["schedule"]["arguments"]
    stretched = {"warmup": schedule["warmup"] * times, "drops": [times * drop for drop in schedule["drops"]]}
    data |= {"name": "long", "cycles": 3, "replicates": 2}
    data["grid"] |= {"points": 6, "extend": False}
    data["training"] |= {"epochs": epochs, "pack": 1, "compile": False}
    data["training"]["schedule"]["arguments"] = {**schedule, **stretched}
    return Spec.model_validate(data)


def measure(spec: Spec) -> dict[str, Any]:
    """Runs a search, and says where its workers' time went."""
    with cluster([spec], None) as [workers]:
        begin = time.time()
        with open_session(spec) as session:
            prepared = time.time()
            ray_tune.run([session], workers)
            end = time.time()
            outcomes, execution = session.search.outcomes(), session.record.execution
    parts = breakdown(outcomes, workers, begin=begin, prepared=prepared, end=end)
    return {
        "trainings": len(outcomes),
        "workers": workers,
        "execution": str(execution),
        "wall_seconds": end - begin,
        "seconds_per_pack": statistics.median(each.ended - each.started for each in outcomes),
        "training_share": parts.training_share,
        "share_once_warm": share_once_warm(outcomes, workers),
        "worker_seconds": asdict(parts),
        "shares": parts.shares(),
        "within_a_pack": within_a_pack(spec, execution),
    }


def within_a_pack(spec: Spec, execution: Execution) -> dict[str, float]:
    """Shares of a warm pack of cycle 0 in this process; they add up to 1."""
    with tempfile.TemporaryDirectory() as storage:
        runner = Runner(spec.recipe(execution=execution), storage=storage)
        rates = spec.policy_of_rates().rates[: execution.pack_size]
        task = TrainPack(cycle=0, replicate=0, max_lrs=rates, start=None)
        runner.run(task)
        with timed() as seconds:
            (first, *_) = runner.run(task)
    whole = first.ended - first.started
    found = {name: each / whole for name, each in seconds.items()}
    return {**found, "the rest": 1 - sum(found.values())}


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds that trainings on the CPU spend in each of their parts while this is open."""
    seconds = dict.fromkeys(("steps", "batches", "validations and test", "files"), 0.0)

    def clocked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                seconds[name] += time.perf_counter() - begin

        return run

    batches = trials.training.batches

    def batches_clocked(*arguments: Any, **options: Any) -> Iterator[Any]:
        found = batches(*arguments, **options)
        take = clocked("batches", lambda: next(found, None))
        while (batch := take()) is not None:
            yield batch

    with ExitStack() as stack:
        for kind in (EagerStep, GraphStep):
            stack.enter_context(patch.object(kind, "__call__", clocked("steps", kind.__call__)))
        stack.enter_context(patch.object(trials.training, "batches", batches_clocked))
        counted = clocked("validations and test", Engine.scores)
        stack.enter_context(patch.object(Engine, "scores", counted))
        stack.enter_context(patch.object(Store, "write", clocked("files", Store.write)))
        yield seconds


def main() -> None:
    """Prints the tables, and keeps what is in them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=["demo", "long"], default=["demo", "long"])
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of a training of the long search")
    parser.add_argument("--keep", action="store_true", help="write results/DATE-share.json")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    for repeat in range(options.repeats):
        for name in options.only[:: 1 if repeat % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as folder:
                demonstration = demo(Path(folder), options.workers)
                spec = demonstration if name == "demo" else long(demonstration, options.epochs)
                runs[name].append(measure(spec))
    console = Console(width=110)
    console.print(", ".join(f"{key} {value}" for key, value in header().items()))
    for table in tables(runs):
        console.print(table)
    for name, found in runs.items():
        console.print(f"{name}: {found[0]['workers']} workers, {found[0]['execution']}")
    if options.keep:
        console.print(f"kept as {keep('share', {'runs': runs})}")


def tables(runs: dict[str, list[dict[str, Any]]]) -> list[Table]:
    """The medians of the repeats, a column per search."""

    def row(label: str, value: Callable[[dict[str, Any]], float], form: str) -> list[str]:
        return [label, *(format(statistics.median(map(value, found)), form) for found in runs.values())]

    whole = Table("search on Ray", *runs)
    whole.add_row(*row("trainings", lambda run: run["trainings"], ".0f"))
    whole.add_row(*row("wall time, seconds", lambda run: run["wall_seconds"], ".1f"))
    whole.add_row(*row("one pack, seconds", lambda run: run["seconds_per_pack"], ".2f"))
    whole.add_row(
        *row("training's share of wall × workers (limit 1)", lambda run: run["training_share"], ".3f")
    )
    whole.add_row(*row("… once every worker is warm", lambda run: run["share_once_warm"], ".3f"))
    shares = Table("share of wall × workers", *runs)
    for name, words in WORDS.items():
        shares.add_row(*row(words, lambda run, name=name: run["shares"][name], ".3f"))
    inside = Table("share of one warm pack, in one process", *runs)
    for name in next(iter(runs.values()))[0]["within_a_pack"]:
        inside.add_row(*row(name, lambda run, name=name: run["within_a_pack"][name], ".3f"))
    return [whole, shares, inside]


if __name__ == "__main__":
    main()
