"""Where the time of a search's workers goes, from its outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

from trials.tasks import Trial


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Seconds of all workers together; they add up to ``wall × workers``.

    Attributes:
        preflight: Before the workers are asked for.
        start_up: Until a worker's first task starts; of one that never trained, all there is.
        first_pack: A worker's first pack: it loads the data, and compiles the step if that is the way.
        training: All later packs.
        waiting: Between two packs of a cycle; a grid that was extended lets workers wait here, too.
        cycle_end: Between a worker's last pack of a cycle and its first of a later one: the others' last
            packs, the decision, the prunings.
        after: From a worker's last pack to the search's end.
    """

    preflight: float
    start_up: float
    first_pack: float
    training: float
    waiting: float
    cycle_end: float
    after: float

    @property
    def total(self) -> float:
        """Wall time × workers."""
        return sum(asdict(self).values())

    @property
    def training_share(self) -> float:
        """The share that is training, each worker's first pack included; 1 would be the limit."""
        return (self.first_pack + self.training) / self.total

    def shares(self) -> dict[str, float]:
        """Each part's share; they add up to 1."""
        return {field.name: getattr(self, field.name) / self.total for field in fields(self)}


def breakdown(
    trials: Iterable[Trial], workers: int, *, begin: float, prepared: float, end: float
) -> Breakdown:
    """The breakdown of a search that ran undisturbed.

    Args:
        trials: Its outcomes.
        workers: How many workers it had, each for all of its time.
        begin: When its preflight began, in seconds since 1970.
        prepared: When that had ended and the workers were asked for.
        end: When the search had ended.
    """
    seen = packs(trials)
    waiting = cycle_end = 0.0
    for mine in seen.values():
        for (before, _, ended), (cycle, started, _) in pairwise(mine):
            if cycle == before:
                waiting += started - ended
            else:
                cycle_end += started - ended
    idle = max(workers - len(seen), 0) * (end - prepared)
    return Breakdown(
        preflight=workers * (prepared - begin),
        start_up=idle + sum(mine[0][1] - prepared for mine in seen.values()),
        first_pack=sum(mine[0][2] - mine[0][1] for mine in seen.values()),
        training=sum(ended - started for mine in seen.values() for _, started, ended in mine[1:]),
        waiting=waiting,
        cycle_end=cycle_end,
        after=sum(end - mine[-1][2] for mine in seen.values()),
    )


def share_once_warm(trials: Iterable[Trial], workers: int) -> float:
    """Training's share of time × workers from the end of the last worker's first pack to the last pack's end.

    Args:
        trials: Outcomes of a search that ran undisturbed, with more packs than workers.
        workers: How many workers it had.
    """
    seen = packs(trials)
    warm = max(mine[0][2] for mine in seen.values())
    every = [(started, ended) for mine in seen.values() for _, started, ended in mine]
    within = sum(ended - max(started, warm) for started, ended in every if ended > warm)
    return within / ((max(ended for _, ended in every) - warm) * workers)


def packs(trials: Iterable[Trial]) -> dict[str, list[tuple[int, float, float]]]:
    """Cycle, start and end of each worker's packs, in their order."""
    found: dict[str, set[tuple[int, float, float]]] = {}
    for trial in trials:
        found.setdefault(trial.worker, set()).add((trial.cycle, trial.started, trial.ended))
    return {worker: sorted(each, key=lambda pack: pack[1]) for worker, each in found.items()}
