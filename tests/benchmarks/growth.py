"""What a search's time and its ledger grow with: candidates, cycles, replicates, trials.

    python -m tests.benchmarks.growth [--repeats 3] [--ledger 10000 100000] [--cycles 1000] [--keep]

The first table doubles n, k and r one at a time, and sets the time of the search against twice the base's:
above 1 it grows faster than its trainings. It is the search in one process, each candidate trained alone on
one core, start-up aside: what the ledger, the decisions and the prunings cost can hide behind no other
worker, and doubling n fills no half-empty pack. The searches go in turns, in both orders.

The second fills ledgers (SQLite) of 25 cycles, 10 replicates and as many rates as it takes with invented
outcomes, through the session that a driver talks to, and reads them back; each in a process of its own.

The third, with ``--cycles``, is of one long search of three tiny trainings a cycle: the seconds from one
decision to the next, all that a driver does among them, tenth by tenth of the cycles, and the process's
computing time among them, which other programs on the machine change less. A thousand cycles take half an
hour: alone by ``--repeats 0 --ledger --cycles 1000``.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dashboards.optuna.summary_study import SummaryStudy
from dashboards.report import write_report
from oracle.cycles import Cycle
from oracle.drivers import in_process
from oracle.ledger import Ledger
from oracle.observers import Observer
from oracle.preflight import open_runner
from oracle.results import Results
from oracle.search import Signal
from oracle.session import Session
from oracle.spec import Spec
from oracle.testing.replay import replayed
from tests.benchmarks.machine import header, keep, peak_memory
from tests.benchmarks.sleeping import CURVE, invented
from tests.support import open_session
from trials.datasets import LoadOnce, load_dataset
from trials.tasks import TrainPack

CYCLES, REPLICATES = 25, 10
BASE = {"candidates": 4, "cycles": 2, "replicates": 2}
LEFT = 0.05
"""Share of the weights that a long search's last cycle has."""


def spec_of(folder: Path, *, candidates: int, cycles: int, replicates: int, pack: int, epochs: int) -> Spec:
    """A search of FC 64³ on the digits whose number of trainings is known beforehand."""
    return Spec.model_validate(
        {
            "name": "growth",
            "network": {"name": "fc", "arguments": {"hidden": [64, 64, 64]}},
            "dataset": "digits",
            "cycles": cycles,
            "replicates": replicates,
            "grid": {"low": 0.01, "high": 0.4, "points": candidates, "extend": False},
            "training": {"epochs": epochs, "batch_size": 64, "pack": pack, "compile": False},
            "silo": CURVE,
            "storage": str(folder / "networks"),
            "ledger": f"sqlite:///{folder}/ledger.db",
        }
    )


def search_seconds(epochs: int, sizes: dict[str, int]) -> float:
    """Seconds of a search from a worker that has trained once to its last decision."""
    with tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as folder:
        spec = spec_of(Path(folder), **sizes, pack=1, epochs=epochs)
        with open_session(spec) as session:
            load = LoadOnce(load_dataset)
            open_runner(spec, load).run(TrainPack(cycle=0, replicate=0, max_lrs=(0.1,), start=None))
            begin = time.perf_counter()
            assert in_process.run(session, load) is Signal.DONE
            return time.perf_counter() - begin


def grow(repeats: int, epochs: int) -> dict[str, dict[str, float]]:
    """Seconds of the base and of each doubling, and the ratio to what its trainings alone would make it."""
    searches = {"base": BASE, **{f"twice the {name}": {**BASE, name: 2 * BASE[name]} for name in BASE}}
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for repeat in range(repeats):
        for name in list(searches)[:: 1 if repeat % 2 == 0 else -1]:
            seconds[name].append(search_seconds(epochs, searches[name]))
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    base = medians["base"] / math.prod(BASE.values())
    return {
        name: {
            "trainings": math.prod(sizes.values()),
            "seconds": medians[name],
            "over_linear": medians[name] / (base * math.prod(sizes.values())),
        }
        for name, sizes in searches.items()
    }


def fill(spec: Spec) -> dict[str, float]:
    """Runs a search on invented accuracies; seconds of it all, and of what the ledger writes."""
    with open_session(spec) as session:
        writing = 0.0
        add = session.ledger.add_outcomes

        def timed(*arguments: Any, **options: Any) -> None:
            nonlocal writing
            begin = time.perf_counter()
            add(*arguments, **options)
            writing += time.perf_counter() - begin

        session.ledger.add_outcomes = timed  # type: ignore[method-assign]
        inventing, begin = 0.0, time.perf_counter()
        while not isinstance(task := session.ask(), Signal):
            before = time.perf_counter()
            result = replayed(task, invented)
            inventing += time.perf_counter() - before
            session.tell(task, result)
        assert task is Signal.DONE
        return {"seconds": time.perf_counter() - begin - inventing, "writing_seconds": writing}


def resume(spec: Spec) -> dict[str, float]:
    """Seconds until a session stands where the ledger left it."""
    begin = time.perf_counter()
    with opened(spec) as (ledger, record), ledger.lease(spec.name) as lease:
        session = Session(spec, record, ledger, lease)
        assert session.search.done
        return {"seconds": time.perf_counter() - begin}


def report(spec: Spec) -> dict[str, float]:
    """Seconds of reading the search and writing its report, and the report's size in bytes."""
    begin = time.perf_counter()
    with opened(spec) as (ledger, record), tempfile.TemporaryDirectory() as folder:
        page = write_report(Results.read(ledger, record), Path(folder))
        return {"seconds": time.perf_counter() - begin, "bytes": page.stat().st_size}


@contextmanager
def opened(spec: Spec):
    """A ledger and the search in it."""
    ledger = Ledger(spec.ledger)
    try:
        yield ledger, ledger.search(spec.name)
    finally:
        ledger.close()


def in_a_process(phase: Callable[[Spec], dict[str, float]], spec: Spec) -> dict[str, float]:
    """What a phase finds in a process of its own, with that one's peak resident memory in bytes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_with_memory, phase, spec).result()


def _with_memory(phase: Callable[[Spec], dict[str, float]], spec: Spec) -> dict[str, float]:
    found = phase(spec)
    return {**found, "peak_bytes": peak_memory()}


def measure_ledger(trials: int, pack: int) -> dict[str, Any]:
    """Fills a ledger, and reads it back."""
    with tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as folder:
        rates = trials // (CYCLES * REPLICATES)
        sizes = {"candidates": rates, "cycles": CYCLES, "replicates": REPLICATES}
        spec = spec_of(Path(folder), **sizes, pack=pack, epochs=1)
        found = {phase.__name__: in_a_process(phase, spec) for phase in (fill, resume, report)}
        size = sum(file.stat().st_size for file in Path(folder).glob("ledger.db*"))
        return {"trials": rates * CYCLES * REPLICATES, "ledger_bytes": size, **found}


class Decided(Observer):
    """Notes when cycles are decided, and how long the process had computed by then."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.computed: list[float] = []

    def decided(self, session: Session, decision: Cycle) -> None:
        """Notes both."""
        self.times.append(time.perf_counter())
        self.computed.append(time.process_time())


def cycle_by_cycle(cycles: int) -> list[dict[str, float]]:
    """Seconds of a cycle, and its trainings alone, tenth by tenth of a search's cycles."""
    noted = Decided()
    with tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as folder:
        spec = spec_of(Path(folder), candidates=3, cycles=cycles, replicates=1, pack=3, epochs=1)
        pruning = spec.pruning.model_copy(update={"rate": 1 - LEFT ** (1 / cycles)})
        with open_session(
            spec.model_copy(update={"pruning": pruning}), observers=[SummaryStudy(), noted]
        ) as session:
            assert in_process.run(session) is Signal.DONE
            training = [max(trial.lasted for trial in each.trials) for each in session.search.decisions]
    lasted, computed = (
        [after - before for before, after in itertools.pairwise(times)]
        for times in (noted.times, noted.computed)
    )
    bounds = [round(len(lasted) * tenth / 10) for tenth in range(11)]
    return [
        {
            "from": first,
            "mean_seconds": statistics.mean(lasted[first:after]),
            "median_seconds": statistics.median(lasted[first:after]),
            "median_training_seconds": statistics.median(training[first:after]),
            "mean_computing_seconds": statistics.mean(computed[first:after]),
        }
        for first, after in itertools.pairwise(bounds)
        if first < after
    ]


def main() -> None:
    """Prints both tables, and keeps them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15, help="length of one training of the first table")
    parser.add_argument("--ledger", nargs="*", type=int, default=[10_000, 100_000], help="trials")
    parser.add_argument("--pack", type=int, default=16, help="trials that are written in one transaction")
    parser.add_argument("--cycles", type=int, default=0, help="cycles of the third table's search")
    parser.add_argument("--keep", action="store_true", help="write results/DATE-growth.json")
    options = parser.parse_args()
    console = Console(width=120)
    console.print(", ".join(f"{key} {value}" for key, value in header().items()))
    growth = grow(options.repeats, options.epochs) if options.repeats else {}
    table = Table("search in one process", "trainings", "seconds", "over linear")
    for name, figures in growth.items():
        table.add_row(
            name,
            f"{figures['trainings']:.0f}",
            f"{figures['seconds']:.2f}",
            f"{figures['over_linear']:.3f}×",
        )
    console.print(table)
    ledgers = [measure_ledger(trials, options.pack) for trials in options.ledger]
    console.print(ledger_table(ledgers))
    cycles = cycle_by_cycle(options.cycles) if options.cycles else []
    columns = ("mean", "median", "of which training", "mean computing")
    table = Table(f"a cycle of {options.cycles}, from", *columns)
    for found in cycles:
        seconds = [f"{1000 * value:.0f} ms" for name, value in found.items() if name != "from"]
        table.add_row(str(found["from"]), *seconds)
    console.print(table)
    if options.keep:
        kept = {"growth": growth, "pack": options.pack, "ledgers": ledgers, "cycles": cycles}
        console.print(f"kept as {keep('growth', kept)}")


def ledger_table(ledgers: list[dict[str, Any]]) -> Table:
    """A column per ledger; from the second on with the ratio to what is linear in the trials."""
    lines: dict[str, Callable[[dict[str, Any]], tuple[float, str]]] = {
        "on disk": lambda found: _bytes(found["ledger_bytes"]),
        "search on invented outcomes": lambda found: _seconds(found["fill"]["seconds"]),
        "… of which the ledger writes": lambda found: _seconds(found["fill"]["writing_seconds"]),
        "… peak memory": lambda found: _bytes(found["fill"]["peak_bytes"]),
        "resume": lambda found: _seconds(found["resume"]["seconds"]),
        "… peak memory ": lambda found: _bytes(found["resume"]["peak_bytes"]),
        "report": lambda found: _seconds(found["report"]["seconds"]),
        "… peak memory  ": lambda found: _bytes(found["report"]["peak_bytes"]),
        "… report.html": lambda found: _bytes(found["report"]["bytes"]),
    }
    table = Table("ledger, SQLite", *(f"{found['trials']:,} trials" for found in ledgers))
    for name, line in lines.items():
        cells = []
        for found in ledgers:
            value, text = line(found)
            linear = line(ledgers[0])[0] / ledgers[0]["trials"] * found["trials"]
            cells.append(text if found is ledgers[0] else f"{text} ({value / linear:.2f}× linear)")
        table.add_row(name.rstrip(), *cells)
    return table


def _seconds(value: float) -> tuple[float, str]:
    return value, f"{value:.2f} s"


def _bytes(value: float) -> tuple[float, str]:
    return value, f"{value / 1e6:,.1f} MB"


if __name__ == "__main__":
    main()
