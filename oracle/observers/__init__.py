"""Those who watch a search: the protocol, the observers that a spec names, and those that come along."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oracle.cycles import Cycle
from silo.errors import InvalidInput, SiloOracleError
from trials.secrets import without_secrets
from trials.tasks import PrunedNetwork, Task, Trial

if TYPE_CHECKING:
    from oracle.session import Session
    from oracle.spec import Spec

__all__ = ["Observer", "careful", "make_observers"]


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


KNOWN = {
    "tensorboard": "oracle.observers.tensorboard:TensorBoard",
    "mlflow": "oracle.observers.mlflow:MLflow",
}
"""Observers that come along, by the names that specs call them."""


def make_observers(spec: Spec) -> list[Observer]:
    """The observers that a spec names.

    Raises:
        InvalidInput: There is no such observer, it can't be made with these arguments, or what it needs is
            not installed.
    """
    return [_Careful(named.name, _make(named.name, named.arguments)) for named in spec.observers]


def careful(observers: Sequence[Observer]) -> list[Observer]:
    """Observers that were made already, kept from ending a search by what they raise.

    Raises:
        InvalidInput: One is no observer.
    """
    return [_Careful(type(each).__name__, _checked(each, "observers: got")) for each in observers]


def _make(name: str, arguments: Mapping[str, Any]) -> Observer:
    from trials.registry import call, resolve  # imports what loads torchvision

    kind: Callable[..., Any] = resolve("observer", name, KNOWN)
    try:
        made = call("observer", name, kind, arguments)
    except SiloOracleError:
        raise
    except Exception as error:
        raise InvalidInput(f"observer {name!r} can't be made: {type(error).__name__}: {error}") from error
    return _checked(made, f"observer {name!r} gives")


def _checked(made: object, given: str) -> Observer:
    if not isinstance(made, Observer):
        raise InvalidInput(
            f"{given} {type(made).__name__}, which is no oracle.observers.Observer: derive "
            "it from that class, and define the methods that it wants to hear of"
        )
    return made


class _Careful(Observer):
    """Keeps an observer's errors from the search: after the first one, which is logged, it hears no more."""

    def __init__(self, name: str, observer: Observer) -> None:
        self._name, self._observer, self._failed = name, observer, False

    def started(self, session: Session) -> None:
        self._tell(self._observer.started, session)

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        self._tell(self._observer.trained, session, outcomes)

    def pruned(self, session: Session, pruned: PrunedNetwork) -> None:
        self._tell(self._observer.pruned, session, pruned)

    def retried(self, session: Session, task: Task, reason: str) -> None:
        self._tell(self._observer.retried, session, task, reason)

    def halved(self, session: Session, task: Task, together: int) -> None:
        self._tell(self._observer.halved, session, task, together)

    def decided(self, session: Session, decision: Cycle) -> None:
        self._tell(self._observer.decided, session, decision)

    def ended(self, session: Session, state: str) -> None:
        self._tell(self._observer.ended, session, state)

    def _tell(self, event: Callable[..., None], *told: Any) -> None:
        if self._failed:
            return
        try:
            event(*told)
        except Exception as error:
            self._failed = True
            lines = str(error).splitlines() or [""]
            logging.getLogger("oracle").warning(
                "observer %r fails and hears no more, the search goes on: %s: %s",
                self._name,
                type(error).__name__,
                without_secrets(lines[0]),
            )


def cycle_numbers(session: Session, decision: Cycle) -> dict[str, float]:
    """Name to number: rates are peak learning rates, densities shares in [0, 1], scores in their own unit.

    A score is named for the metric: ``validation_accuracy``. One that is missing is left out.
    """
    interval, selected, key = decision.interval, decision.selected, decision.measure.key
    pruned = session.search.prunings(decision.cycle)
    density = sum(each.alive / each.prunable for each in pruned) / len(pruned) if pruned else 1.0
    found = {
        "optimum": interval.optimum,
        "chosen": decision.chosen,
        "interval_low": interval.low,
        "interval_high": interval.high,
        f"validation_{key}": selected.score,
        f"test_{key}": selected.test_score,
        "density": density,
    }
    return {name: number for name, number in found.items() if not math.isnan(number)}
