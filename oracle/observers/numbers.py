"""The numbers of a decided cycle, by the names under which trackers keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oracle.cycles import Cycle

if TYPE_CHECKING:
    from oracle.session import Session


def cycle_numbers(session: Session, decision: Cycle) -> dict[str, float]:
    """Name to number: rates are peak learning rates, accuracies and densities shares in [0, 1]."""
    interval, selected = decision.interval, decision.selected
    pruned = session.search.prunings(decision.cycle)
    density = sum(each.alive / each.prunable for each in pruned) / len(pruned) if pruned else 1.0
    return {
        "optimum": interval.optimum,
        "chosen": decision.chosen,
        "interval_low": interval.low,
        "interval_high": interval.high,
        "validation_accuracy": selected.score,
        "test_accuracy": selected.test_score,
        "density": density,
    }
