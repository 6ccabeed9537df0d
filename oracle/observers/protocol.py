"""The events of a running search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oracle.cycles import Cycle
from trials.tasks import PrunedNetwork, Task, Trial

if TYPE_CHECKING:
    from oracle.session import Session


class Observer:
    """Hears of a search's progress, always in the driver's thread. Every method does nothing by default."""

    def started(self, session: Session) -> None:
        """The search starts, or goes on."""

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        """Trials have finished and are in the ledger."""

    def pruned(self, session: Session, pruned: PrunedNetwork) -> None:
        """A network has been pruned."""

    def retried(self, session: Session, task: Task, reason: str) -> None:
        """A task has failed, or a file that it needs is lost; it is tried again if the rules allow."""

    def halved(self, session: Session, task: Task, together: int) -> None:
        """A pack ran out of memory; from now on at most so many candidates are trained at a time."""

    def decided(self, session: Session, decision: Cycle) -> None:
        """A cycle is decided."""

    def ended(self, session: Session, state: str) -> None:
        """The search ends: ``done``, ``failed``, ``interrupted``, or ``taken over`` by another driver."""
