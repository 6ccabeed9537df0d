"""What the driver costs beside the trainings: on real workers that sleep, and with a thousand simulated ones.

    python -m tests.benchmarks.driver [--workers 8 64] [--simulated 1000] [--ledger URL ...] [--keep]

First, real Ray workers, each one process, sleep in place of training. Once all of them are there, what they
spend beside sleeping is the driver's: Ray, Tune, the session and the ledger, on as many cores as there are.

Then the driver's own work alone: the searcher that Tune talks to gets the results of a thousand workers, in
random order, as fast as it takes them. One over the time per trial is where it saturates. Ledgers are SQLite,
and the databases that are named.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oracle.drivers import ray_tune
from oracle.drivers.cluster import cluster
from oracle.ledger.database import check_url
from oracle.session import Session
from oracle.spec import Spec
from oracle.testing.replay import replayed
from tests.benchmarks.breakdown import share_once_warm
from tests.benchmarks.machine import header, keep
from tests.benchmarks.sleeping import CURVE, invented, sleeping
from tests.support import open_session

REPLICATES = 4


def spec_of(folder: Path, ledger: str | None, *, packs: int, pack: int, cycles: int, workers: int) -> Spec:
    """A search of so many packs a cycle."""
    rates = max(2, math.ceil(packs / REPLICATES) * pack)
    return Spec.model_validate(
        {
            "name": f"driver-{uuid.uuid4().hex[:8]}",
            "network": {"name": "fc", "arguments": {"hidden": [16]}},
            "dataset": "digits",
            "cycles": cycles,
            "replicates": REPLICATES,
            "grid": {"low": 0.01, "high": 0.4, "points": rates, "extend": False},
            "training": {"epochs": 1, "batch_size": 64, "pack": pack, "compile": False},
            "silo": CURVE,
            "resources": {"workers": workers},
            "storage": str(folder / "networks"),
            "ledger": ledger or f"sqlite:///{folder}/ledger.db",
        }
    )


def on_ray(workers: int, *, seconds: float, each: int) -> dict[str, float]:
    """Runs a search whose trainings sleep, with ``each`` packs a worker."""
    with tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as place:
        folder, meeting = Path(place), Path(place) / "meeting"
        meeting.mkdir()
        spec = spec_of(folder, None, packs=workers * each, pack=1, cycles=1, workers=workers)
        runners = sleeping(seconds=seconds, workers=workers, meeting=str(meeting))
        with cluster([spec], None) as [found], open_session(spec) as session:
            assert found == workers
            begin, computing = time.perf_counter(), time.process_time()
            ray_tune.run([session], workers, open_runners=runners)
            wall, computing = time.perf_counter() - begin, time.process_time() - computing
            outcomes = session.search.outcomes()
    share = share_once_warm(outcomes, workers)
    asleep = statistics.mean(trial.ended - trial.started for trial in outcomes)
    return {
        "workers": workers,
        "trials": len(outcomes),
        "seconds_asleep": asleep,
        "wall_seconds": wall,
        "share_asleep": share,
        "worker_seconds_beside_sleep_per_trial": asleep * (1 / share - 1),
        "trials_per_second": workers * share / asleep,
        "driver_cpu_seconds_per_trial": computing / len(outcomes),
    }


class MemoryDesk:
    """The desk without Ray; what is laid out is in ``tasks``."""

    def __init__(self) -> None:
        self.tasks: list[tuple[int, str, Any]] = []
        self.put, self.close = _Call(self.tasks.extend), _Call(lambda: None)


class _Call:
    def __init__(self, work: Callable[..., None]) -> None:
        self.remote = work


class Clocked:
    """An object whose methods' time is added up."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.seconds, self.calls = inner, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._clocked(found) if callable(found) else found

    def _clocked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begin
                self.calls += 1

        return call


def simulated(workers: int, *, ledger: str | None, pack: int, cycles: int) -> dict[str, Any]:
    """Tells a searcher a whole search's results, one pack at a time, out of those that the workers have."""
    with (
        tempfile.TemporaryDirectory(prefix="oracle-benchmark-") as place,
        open_session(
            spec_of(Path(place), ledger, packs=workers, pack=pack, cycles=cycles, workers=workers)
        ) as session,
    ):
        clocked = session.ledger = Clocked(session.ledger)
        seconds = sum(answering(session, workers))
        trials = len(session.search.outcomes())
        assert session.search.done
    return {
        "ledger": check_url(session.spec.ledger).get_backend_name(),
        "workers": workers,
        "pack": pack,
        "trials": trials,
        "seconds": seconds,
        "trials_per_second": trials / seconds,
        "ledger_share": clocked.seconds / seconds,
        "ledger_calls_per_trial": clocked.calls / trials,
    }


def answering(session: Session, workers: int) -> Iterator[float]:
    """Seconds that the searcher takes for each result; the first are those for laying out the tasks."""
    desk, generator = MemoryDesk(), random.Random(0)
    with clock() as spent:
        searcher = ray_tune._Workers([session], workers, desk)
    yield spent()
    while desk.tasks:
        taken = generator.randrange(min(workers, len(desk.tasks)))
        desk.tasks[0], desk.tasks[taken] = desk.tasks[taken], desk.tasks[0]
        number, _, task = desk.tasks.pop(0)
        result = replayed(task, invented)
        with clock() as spent:
            searcher.on_trial_result("worker", {"number": number, "result": result, "finished": 1})
        yield spent()


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """Gives what tells the seconds between entering and leaving."""
    begin = time.perf_counter()
    end = None
    yield lambda: (end or time.perf_counter()) - begin
    end = time.perf_counter()


def main() -> None:
    """Prints both tables, and keeps them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", nargs="*", type=int, default=[8, 64], help="real ones")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a real worker's sleep")
    parser.add_argument("--each", type=int, default=20, help="sleeps of a real worker")
    parser.add_argument("--simulated", type=int, default=1000, help="simulated workers; 0 for none")
    parser.add_argument("--packs", nargs="*", type=int, default=[1, 16], help="trials per pack, simulated")
    parser.add_argument("--cycles", type=int, default=4, help="of a simulated search")
    parser.add_argument("--ledger", nargs="*", default=[], help="SQLAlchemy URLs of empty databases")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-driver.json")
    options = parser.parse_args()
    console = Console(width=120)
    console.print(", ".join(f"{key} {value}" for key, value in header().items()))
    real = [
        _median([on_ray(count, seconds=options.seconds, each=options.each) for _ in range(options.repeats)])
        for count in options.workers
    ]
    if real:
        console.print(real_table(real))
    places = [None, *options.ledger] if options.simulated else []
    alone = [
        _median(
            [
                simulated(options.simulated, ledger=ledger, pack=pack, cycles=options.cycles)
                for _ in range(options.repeats)
            ]
        )
        for ledger in places
        for pack in options.packs
    ]
    if alone:
        console.print(simulated_table(alone))
    if options.keep:
        console.print(f"kept as {keep('driver', {'sleeping': real, 'simulated': alone})}")


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each figure's median; what is no figure is the same in all of them."""
    return {
        name: statistics.median(run[name] for run in runs) if isinstance(value, float) else value
        for name, value in runs[0].items()
    }


def real_table(found: list[dict[str, Any]]) -> Table:
    """A row per number of workers."""
    table = Table(
        "sleeping workers",
        "trials",
        "asleep s",
        "trials/s",
        "asleep / time",
        "beside it ms/trial",
        "driver CPU ms/trial",
    )
    for run in found:
        table.add_row(
            f"{run['workers']}",
            f"{run['trials']}",
            f"{run['seconds_asleep']:.2f}",
            f"{run['trials_per_second']:.1f}",
            f"{run['share_asleep']:.3f}",
            f"{1000 * run['worker_seconds_beside_sleep_per_trial']:.0f}",
            f"{1000 * run['driver_cpu_seconds_per_trial']:.1f}",
        )
    return table


def simulated_table(found: list[dict[str, Any]]) -> Table:
    """A row per ledger and size of a pack."""
    table = Table(
        "ledger",
        "simulated workers",
        "trials a pack",
        "trials",
        "trials/s",
        "ms/trial",
        "ledger's share",
    )
    for run in found:
        table.add_row(
            run["ledger"],
            f"{run['workers']:,}",
            f"{run['pack']}",
            f"{run['trials']:,}",
            f"{run['trials_per_second']:.0f}",
            f"{1000 / run['trials_per_second']:.2f}",
            f"{run['ledger_share']:.0%}",
        )
    return table


if __name__ == "__main__":
    main()
