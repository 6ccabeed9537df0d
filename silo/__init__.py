"""SILO's learning-rate curve for iterative pruning, and its fit to what an Oracle found.

    fit = fit_curve(load_table(11).intervals, pruning_rate=0.2)
    print(fit)  # the least-squares curve, one inside every interval, and what the data cannot tell
    rate = fit.curve.max_lr(6)  # the peak learning rate of cycle 6
    learn(accuracies)[6].loss(rate)  # what that rate loses at cycle 6, with its range

``silo.scheduler`` sets the rate in a PyTorch training loop, ``silo.theory`` has the paper's bounds, and
``silo.cost`` counts the trainings that the Oracle and SILO take.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from silo.curve import PHASES, SiloCurve, cycle_at_density, shape
    from silo.errors import InvalidInput, SiloOracleError
    from silo.fit import CurveFit, fit_curve
    from silo.fit.regions import DrawnFits, Region
    from silo.fit.rivals import Rival, RivalTable, compare_rivals
    from silo.landscape import CycleBelief, CycleScores, learn
    from silo.measured import CycleAccuracies, CycleInterval, check_intervals
    from silo.paper import AccuracyRow, AccuracyTable, OracleTable, load_table

__all__ = [
    "PHASES",
    "AccuracyRow",
    "AccuracyTable",
    "CurveFit",
    "CycleAccuracies",
    "CycleBelief",
    "CycleInterval",
    "CycleScores",
    "DrawnFits",
    "InvalidInput",
    "OracleTable",
    "Region",
    "Rival",
    "RivalTable",
    "SiloCurve",
    "SiloOracleError",
    "check_intervals",
    "compare_rivals",
    "cycle_at_density",
    "fit_curve",
    "learn",
    "load_table",
    "shape",
]

_HOMES = {
    "AccuracyRow": "silo.paper",
    "AccuracyTable": "silo.paper",
    "CurveFit": "silo.fit",
    "CycleAccuracies": "silo.measured",
    "CycleBelief": "silo.landscape",
    "CycleInterval": "silo.measured",
    "CycleScores": "silo.landscape",
    "DrawnFits": "silo.fit.regions",
    "InvalidInput": "silo.errors",
    "OracleTable": "silo.paper",
    "PHASES": "silo.curve",
    "Region": "silo.fit.regions",
    "Rival": "silo.fit.rivals",
    "RivalTable": "silo.fit.rivals",
    "SiloCurve": "silo.curve",
    "SiloOracleError": "silo.errors",
    "check_intervals": "silo.measured",
    "compare_rivals": "silo.fit.rivals",
    "cycle_at_density": "silo.curve",
    "fit_curve": "silo.fit",
    "learn": "silo.landscape",
    "load_table": "silo.paper",
    "shape": "silo.curve",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is asked for: a worker that trains needs no SciPy."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
