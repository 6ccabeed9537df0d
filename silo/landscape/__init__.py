"""What a search's trainings tell of the scores over the rates: chances and ranges instead of means alone.

    for cycle in learn([CycleAccuracies(...), ...], tolerance=0.005):
        cycle.inside  # the chance that each candidate lies in the optimized interval
        cycle.loss(0.05).verdict  # inside, outside, or unknown

``parts`` has the parts of the model that ``model`` joins, ``belief`` what follows for a cycle, what curves of
rates lose and which trainings would tell more, and ``adaptive`` which an adaptive search trains next.
"""

from silo.landscape.belief import (
    Advice,
    CycleBelief,
    JudgedCurve,
    Loss,
    MoreTrainings,
    Verdict,
    advise,
    best_constant,
    judge,
)
from silo.landscape.model import Known, Landscape, learn
from silo.measured import CycleScores

__all__ = [
    "Advice",
    "CycleBelief",
    "CycleScores",
    "JudgedCurve",
    "Known",
    "Landscape",
    "Loss",
    "MoreTrainings",
    "Verdict",
    "advise",
    "best_constant",
    "judge",
    "learn",
]
