"""SILO's curves as a family: the branches are the q, the place is log β."""

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo._fitting.best_fit import Members
from silo._fitting.beta_search import GRID_POINTS
from silo._fitting.families import Family
from silo._fitting.problem import Problem, shapes_of
from silo.curve import SiloCurve


def silo_family(logits: FloatArray, beta_bounds: tuple[float, float]) -> Family:
    """SILO's curves over some cycles.

    Args:
        logits: (number of q, n), log(γ / (1 − γ)) at each cycle.
        beta_bounds: lowest and highest beta.
    """
    lower, upper = np.log(np.array([beta_bounds])).T

    def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
        return shapes_of(logits[branches], betas_at(places, beta_bounds))

    return Family(
        shapes=shapes,
        kind="rising",
        branches=logits.shape[0],
        lower=lower,
        upper=upper,
        points=GRID_POINTS,
    )


def betas_at(places: FloatArray, beta_bounds: tuple[float, float]) -> FloatArray:
    """(R,) betas of (R, 1) places; the bounds are what they are, not what exp makes of their logarithms."""
    lowest, highest = beta_bounds
    betas = np.exp(places[:, 0])
    betas = np.where(places[:, 0] <= np.log(lowest), lowest, betas)
    return np.where(places[:, 0] >= np.log(highest), highest, betas).clip(lowest, highest)


def curves_of(problem: Problem, members: Members) -> list[SiloCurve]:
    """Members of SILO's family as curves."""
    betas = betas_at(members.place, problem.beta_bounds)
    numbers = zip(members.branch, betas, members.lines.level, members.lines.slope, strict=True)
    return [problem.curve(int(k), *map(float, rest)) for k, *rest in numbers]
