"""Searches from Python: what the commands do, without a command line.

import oracle

results = oracle.run("mine.yaml", driver="in-process")
results.intervals
"""

from oracle.service.api import run, run_variants
from oracle.service.searching import PREFLIGHT_PASSED, DriverName, Finished, searching

__all__ = ["PREFLIGHT_PASSED", "DriverName", "Finished", "run", "run_variants", "searching"]
