"""The minimum over q and beta of a cheap function: a dense grid, then a zoom into every valley."""

from collections.abc import Callable

import numpy as np

from silo._arrays import FloatArray, IntArray

#: R values for R pairs of (index of q, beta).
Profile = Callable[[IntArray, FloatArray], FloatArray]

# dS/d(log beta) = z·S·(1 − S) with z = logit(S) stays below 0.23: a shape changes over unit steps of log
# beta. Between the default bounds the grid's steps are 0.015.
GRID_POINTS = 241
_ZOOM_POINTS = 17
_ZOOM_ROUNDS = 12


def valleys(profile: Profile, lower: FloatArray, upper: FloatArray) -> tuple[IntArray, FloatArray]:
    """Where ``profile`` has its minima over beta, for each q.

    No random starts: every local minimum of a grid with equal ratios is bracketed by its neighbours, and each
    bracket shrinks to the neighbours of its lowest of 17 points, 12 times, which leaves less than 1e-12 of
    log beta. A valley narrower than the grid's steps can be missed. Both bounds of beta are always among the
    results, so that a profile that does not depend on beta ties at the lower one.

    Args:
        profile: gives one finite value per pair of (index of q, beta); called with many pairs at a time.
        lower: (number of q,), the lowest beta for each, above 0.
        upper: (number of q,), the highest.

    Returns:
        The index of q and the beta of each, at least two per q; sorted by q, then beta.
    """
    n_q = lower.size
    logs = np.linspace(np.log(lower), np.log(upper), GRID_POINTS, axis=1)
    rows = np.arange(n_q).repeat(GRID_POINTS)
    bounds = np.stack([lower, upper])
    values = profile(rows, np.exp(logs).ravel().clip(*bounds[:, rows])).reshape(logs.shape)
    walled = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    rows, columns = np.nonzero((values < walled[:, :-2]) & (values <= walled[:, 2:]))
    left = logs[rows, np.maximum(columns - 1, 0)]
    right = logs[rows, np.minimum(columns + 1, GRID_POINTS - 1)]
    found = _zoom(profile, rows, left, right, bounds)
    all_rows = np.concatenate([rows, np.arange(n_q), np.arange(n_q)])
    all_betas = np.concatenate([found, lower, upper])
    order = np.lexsort((all_betas, all_rows))
    return all_rows[order], all_betas[order]


def _zoom(
    profile: Profile, rows: IntArray, left: FloatArray, right: FloatArray, bounds: FloatArray
) -> FloatArray:
    steps = np.linspace(0.0, 1.0, _ZOOM_POINTS)
    each = np.arange(rows.size)
    many = np.repeat(rows, steps.size)
    lowest = left
    for _ in range(_ZOOM_ROUNDS):
        logs = left[:, None] + (right - left)[:, None] * steps
        betas = np.exp(logs).ravel().clip(*bounds[:, many])
        best = profile(many, betas).reshape(logs.shape).argmin(axis=1)
        lowest = betas.reshape(logs.shape)[each, best]
        left = logs[each, np.maximum(best - 1, 0)]
        right = logs[each, np.minimum(best + 1, steps.size - 1)]
    return lowest
