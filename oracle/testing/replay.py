"""Runs a search's rules on recorded or invented accuracies instead of training."""

from __future__ import annotations

from collections.abc import Callable

from oracle.search import Rules, Search, Signal
from trials.tasks import PrunedNetwork, Result, StoredFile, Task, TrainPack, Trial

Accuracy = Callable[[int, int, float], float]
"""(cycle, replicate, max_lr) to validation accuracy in [0, 1]."""

_FILE = StoredFile(path="replayed", sha256="0" * 64)


def recorded(outcomes: dict[tuple[int, int, float], Trial]) -> Accuracy:
    """The accuracies of a search that has been run, for other rules on the same grid.

    Raises:
        KeyError: When asked for a trial that was not run.
    """
    return lambda cycle, replicate, max_lr: outcomes[cycle, replicate, max_lr].score


def replay(rules: Rules, accuracy: Accuracy) -> Search:
    """Runs a whole search on given accuracies; nothing is trained, written or pruned.

    Args:
        rules: The search's rules.
        accuracy: What each trial reaches.

    Returns:
        The finished search.
    """
    search = Search(rules)
    while not isinstance(task := search.ask(), Signal):
        search.tell(task, replayed(task, accuracy))
    return search


def replayed(task: Task, accuracy: Accuracy) -> Result:
    """The result of a task on given accuracies; of a pruning, that a fifth of the weights went each time."""
    if isinstance(task, TrainPack):
        place = task.cycle, task.replicate
        return tuple(replayed_trial(*place, max_lr, accuracy(*place, max_lr)) for max_lr in task.max_lrs)
    return PrunedNetwork(
        cycle=task.cycle,
        replicate=task.replicate,
        start=_FILE,
        alive=round(1_000_000 * 0.8**task.cycle),
        prunable=1_000_000,
        parameters=1_000_000,
    )


def replayed_trial(cycle: int, replicate: int, max_lr: float, accuracy: float) -> Trial:
    """An outcome with a given accuracy and nothing behind it."""
    return Trial(
        cycle=cycle,
        replicate=replicate,
        max_lr=max_lr,
        score=accuracy,
        test_score=accuracy,
        best_step=0,
        diverged=False,
        train_loss=0.0,
        checkpoint=StoredFile(path=f"replayed/{cycle}/{replicate}/{max_lr!r}", sha256="0" * 64),
        started=0.0,
        ended=0.0,
        pack=1,
        worker="replayed",
    )
