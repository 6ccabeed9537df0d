"""The minimum over q and beta of a cheap function: a dense grid, then a zoom into every valley."""

from collections.abc import Callable

import numpy as np

from silo._problem import IntArray
from silo.curve import FloatArray

#: R values for R pairs of (index of q, beta).
Profile = Callable[[IntArray, FloatArray], FloatArray]

# dS/d(log beta) = z·S·(1 − S) with z = logit(S) stays below 0.23: a shape changes over unit steps of log
# beta. Between the default bounds the grid's steps are 0.015.
_GRID_POINTS = 241
_ZOOM_POINTS = 17
_ZOOM_ROUNDS = 12


def beta_grid(
    n_q: int, bounds: tuple[float, float], points: int = _GRID_POINTS
) -> tuple[IntArray, FloatArray]:
    """Every q with every beta of a grid with equal ratios: (n_q·points,) indices and betas, q by q."""
    betas = np.geomspace(*bounds, points) if bounds[0] < bounds[1] else np.array([bounds[0]])
    return np.repeat(np.arange(n_q), betas.size), np.tile(betas, n_q)


def valleys(profile: Profile, n_q: int, bounds: tuple[float, float]) -> tuple[IntArray, FloatArray]:
    """Where ``profile`` has its minima over beta, for each q.

    No random starts: every local minimum of the grid is bracketed by its neighbours, and each bracket
    shrinks to the neighbours of its lowest of 17 points, 12 times, which leaves less than 1e-12 of log beta.
    A valley narrower than the grid's steps can be missed. The lower bound of beta is always among the
    results, so that a profile that does not depend on beta ties there.

    Args:
        profile: gives one finite value per pair of (index of q, beta); called with many pairs at a time.
        n_q: the number of q values.
        bounds: lowest and highest beta, both above 0.

    Returns:
        The index of q and the beta of each, at least one per q; sorted by q, then beta.
    """
    q_index, betas = beta_grid(n_q, bounds)
    per_q = betas.size // n_q
    values = profile(q_index, betas).reshape(n_q, per_q)
    walled = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    rows, columns = np.nonzero((values < walled[:, :-2]) & (values <= walled[:, 2:]))
    grid = np.log(betas[:per_q])
    left, right = grid[np.maximum(columns - 1, 0)], grid[np.minimum(columns + 1, per_q - 1)]
    found = _zoom(profile, rows, left, right, bounds)
    all_rows = np.concatenate([rows, np.arange(n_q)])
    all_betas = np.concatenate([found, np.full(n_q, bounds[0])])
    order = np.lexsort((all_betas, all_rows))
    return all_rows[order], all_betas[order]


def _zoom(
    profile: Profile, rows: IntArray, left: FloatArray, right: FloatArray, bounds: tuple[float, float]
) -> FloatArray:
    steps = np.linspace(0.0, 1.0, _ZOOM_POINTS)
    each = np.arange(rows.size)
    lowest = left
    for _ in range(_ZOOM_ROUNDS):
        logs = left[:, None] + (right - left)[:, None] * steps
        betas = np.clip(np.exp(logs), *bounds)
        values = profile(np.repeat(rows, steps.size), betas.ravel()).reshape(logs.shape)
        best = values.argmin(axis=1)
        lowest = betas[each, best]
        left = logs[each, np.maximum(best - 1, 0)]
        right = logs[each, np.minimum(best + 1, steps.size - 1)]
    return lowest


def first_of_best(values: FloatArray, slack: float) -> int:
    """The index of the first value that exceeds the smallest by at most ``slack`` plus 1e-12 of it."""
    smallest = values.min()
    return int(np.argmax(values <= smallest + 1e-12 * abs(smallest) + slack))
