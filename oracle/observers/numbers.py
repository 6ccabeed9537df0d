"""The numbers of a decided cycle, by the names under which trackers keep them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from oracle.cycles import Cycle

if TYPE_CHECKING:
    from oracle.session import Session


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
