"""Runs a search in this process, one task after another: notebooks, tests, one bare GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oracle.search import Signal
from oracle.session import Session

if TYPE_CHECKING:
    from trials.runner import Runner


def run(session: Session, runner: Runner | None = None) -> Signal:
    """Runs a session to its end.

    Args:
        session: The session.
        runner: A worker that has the data set loaded already; by default one is made.

    Returns:
        ``Signal.DONE``, or ``Signal.STUCK`` if a task failed too often.
    """
    if runner is None:
        from trials.runner import Runner

        spec = session.spec
        runner = Runner(session.recipe, storage=spec.storage_root(), device=spec.device, threads=spec.threads)
    while not isinstance(task := session.ask(), Signal):
        session.tell(task, runner.run(task))
    return task
