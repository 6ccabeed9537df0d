"""What a search's trainings tell of the scores over the rates: chances and ranges instead of means alone.

    for cycle in learn([CycleAccuracies(...), ...], tolerance=0.005):
        cycle.inside  # the chance that each candidate lies in the optimized interval
        cycle.loss(0.05).verdict  # inside, outside, or unknown

``scores`` has the trainings, ``prior`` what is supposed beforehand, ``noise``, ``curve`` and ``collapse`` the
three parts of the model that ``model`` joins, ``belief`` what follows for a cycle, ``curves`` what curves of
rates lose, and ``advice`` which trainings would tell more.
"""

from silo.landscape.advice import Advice, MoreTrainings, advise
from silo.landscape.belief import CycleBelief, Loss, Verdict
from silo.landscape.curves import JudgedCurve, best_constant, judge
from silo.landscape.model import Known, Landscape, learn
from silo.landscape.scores import CycleScores

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
