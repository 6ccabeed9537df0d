"""Runs a search in this process, one task after another: notebooks, tests, one bare GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oracle.search import Signal
from oracle.session import Session

if TYPE_CHECKING:
    from trials.datasets import LoadDataset


def run(session: Session, load: LoadDataset | None = None) -> Signal:
    """Runs a session to its end.

    Args:
        session: The session.
        load: What gives the data set, if not :func:`trials.datasets.load_dataset`.

    Returns:
        ``Signal.DONE``, or ``Signal.STUCK`` if a task failed too often.

    Raises:
        DeviceLost: This process can't use its GPU any more.
    """
    from trials.datasets import load_dataset
    from trials.process import DeviceLost
    from trials.runner import Runner

    spec = session.spec
    runner = Runner(
        session.recipe,
        storage=spec.storage_root(),
        initial=session.initial,
        load=load or load_dataset,
        graphs=session.graphs,
        share=spec.share_of_memory,
    )
    while not isinstance(task := session.ask(), Signal):
        try:
            result = runner.run(task)
        except DeviceLost as lost:
            raise DeviceLost(
                f"cycle {task.cycle}, replicate {task.replicate}: {lost}; every finished trial is in the "
                "ledger: run the search again, in a new process, to go on"
            ) from lost
        session.tell(task, result)
    return task
