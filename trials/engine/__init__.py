"""How trainings are computed: packs of stacked networks, step by step or as compiled and recorded graphs.

This is the engine's door: nobody outside needs to know which of its modules computes what. Beside the
door stands :mod:`trials.engine.choose`: it trains to find out what is fastest, and so lies above
:mod:`trials.training`.
"""

from trials.engine.copies import (
    PlainModule,
    StackedNetwork,
    as_real,
    flat_mask,
    flat_rows,
    named_tensors,
    why_not_packed,
)
from trials.engine.engine import EVALUATION_BATCH, FEWEST_PACKED, Engine, evaluation_batch
from trials.engine.graphs import compile_if_possible
from trials.engine.steps import Step

__all__ = [
    "EVALUATION_BATCH",
    "FEWEST_PACKED",
    "Engine",
    "PlainModule",
    "StackedNetwork",
    "Step",
    "as_real",
    "compile_if_possible",
    "evaluation_batch",
    "flat_mask",
    "flat_rows",
    "named_tensors",
    "why_not_packed",
]
