"""SILO's learning-rate curve for iterative pruning, and its fit to what an Oracle found.

    fit = fit_curve(load_table(11).intervals, pruning_rate=0.2)
    print(fit)  # the least-squares curve, one inside every interval, and what the data cannot tell
    rate = fit.curve.max_lr(6)  # the peak learning rate of cycle 6

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144.
"""

from silo.curve import SiloCurve, shape
from silo.data import AccuracyRow, AccuracyTable, OracleTable, load_table
from silo.errors import InvalidInput, SiloOracleError
from silo.fit import CurveFit, fit_curve
from silo.intervals import CycleInterval, check_intervals

__all__ = [
    "AccuracyRow",
    "AccuracyTable",
    "CurveFit",
    "CycleInterval",
    "InvalidInput",
    "OracleTable",
    "SiloCurve",
    "SiloOracleError",
    "check_intervals",
    "fit_curve",
    "load_table",
    "shape",
]
