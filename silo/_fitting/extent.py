"""All lines through all intervals, for fixed or bounded shapes: how far their δ and ε reach."""

from dataclasses import dataclass

import numpy as np

from silo._arrays import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class Extents:
    """R polygons in the plane of δ and ε. Where ``empty``, the other numbers mean nothing.

    Attributes:
        empty: (R,), whether no line lies in all intervals.
        delta_low: (R,), at least 0.
        delta_high: (R,), infinite where nothing bounds δ.
        epsilon_low: (R,), at least 0.
        epsilon_high: (R,), infinite where nothing bounds ε.
    """

    empty: BoolArray
    delta_low: FloatArray
    delta_high: FloatArray
    epsilon_low: FloatArray
    epsilon_high: FloatArray


def extents(below: FloatArray, above: FloatArray, low: FloatArray, high: FloatArray) -> Extents:
    """The lines ε + δ·s with ε ≥ 0, δ ≥ 0 and low ≤ ε + δ·s ≤ high at every cycle.

    ε drops out first: cycle i keeps it below high_i − δ·s_i, cycle j above low_j − δ·s_j. So every pair i < j
    says low_j − high_i ≤ δ·(s_j − s_i) ≤ high_j − low_i, since s does not fall; a cycle before all others,
    with s = 0 and low = 0, says ε ≥ 0. The largest and smallest δ that all pairs allow give the smallest and
    the largest ε. For exact shapes (``below`` equal to ``above``) all of this is exact. For shapes that are
    only known to lie between the two, what is called empty is empty, and no line reaches further than the
    numbers say.

    Args:
        below: (R, n), at most s, in [0, 1].
        above: (R, n), at least s, in [0, 1].
        low: (R, n), at least 0; 0 bounds nothing.
        high: (R, n), at least ``low``; infinite where there is no upper end.
    """
    i, j = np.triu_indices(low.shape[1], k=1)
    rise, room = low[:, j] - high[:, i], high[:, j] - low[:, i]
    longest, shortest = above[:, j] - below[:, i], below[:, j] - above[:, i]
    with np.errstate(divide="ignore", invalid="ignore"):
        steepest = np.where(shortest > 0, room / shortest, np.inf)
        gentlest = np.where(rise > 0, rise / longest, 0.0)
        to_zero = np.where(below > 0, high / below, np.inf)
    stuck = ((rise > 0) & (longest <= 0)) | (room < 0)
    delta_low = gentlest.max(axis=1, initial=0.0)
    delta_high = np.minimum(steepest.min(axis=1, initial=np.inf), to_zero.min(axis=1))
    empty = stuck.any(axis=1) | (delta_low > delta_high)
    delta_low = np.where(empty, 0.0, delta_low)
    with np.errstate(invalid="ignore"):
        fallen = np.where(above > 0, delta_high[:, None] * above, 0.0)
    risen = delta_low[:, None] * below
    return Extents(
        empty=np.asarray(empty, dtype=np.bool_),
        delta_low=delta_low,
        delta_high=delta_high,
        epsilon_low=(low - fallen).max(axis=1).clip(min=0.0),
        epsilon_high=(high - risen).min(axis=1),
    )
