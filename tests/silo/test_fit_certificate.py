"""A proof that no β between the points of a grid has much smaller squares either.

Let ‖·‖ be the root of the weighted mean square, y the optima, ε and δ the best of some β. Moving the shape S
from β to another, b, gives a curve that is no nearer to y than the best one there:

    rmse(β) = ‖y − ε − δ·S(β)‖ ≥ ‖y − ε − δ·S(b)‖ − δ·‖S(β) − S(b)‖ ≥ rmse(b) − δ·‖S(β) − S(b)‖.

Between two β every S(m) lies between its two values, and |dS / d log β| = |z·S·(1 − S)| with z = logit(S) is
at most 0.2239. As ‖δ·S‖ ≤ ‖ε + δ·S‖ ≤ ‖y‖ (the best curve is a projection of y onto a cone), δ ≤ ‖y‖ / ‖S‖.
"""

import numpy as np
import pytest

from silo import fit_curve
from silo._arrays import FloatArray
from tests.silo.fit.written_out import (
    BOUNDS,
    Q_VALUES,
    RESULTS,
    Arrays,
    P,
    smallest_squares,
    written_shapes,
)

STEEPEST = 0.2239


def norm(arrays: Arrays, values: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(values**2 @ arrays.weights))


def least_possible(arrays: Arrays, q: int, left: FloatArray, right: FloatArray) -> FloatArray:
    """(R,): no β with its logarithm in [left, right] has a smaller rmse."""
    middle = (left + right) / 2
    before, at, after = (written_shapes(np.exp(logs), arrays.cycles, q) for logs in (left, middle, right))
    moved = np.minimum(
        np.maximum(np.abs(at - before), np.abs(after - at)), STEEPEST * (right - left)[:, None] / 2
    )
    smallest = np.maximum(norm(arrays, np.minimum(before, after)), 1e-300)
    delta = norm(arrays, arrays.optima) / smallest
    # Where no cycle has a shape above 0 the curve is flat, whatever delta is.
    reach = np.where(moved.any(axis=1), delta * norm(arrays, moved), 0.0)
    return np.sqrt(smallest_squares(arrays, np.exp(middle), q)) - reach


@pytest.mark.parametrize("name", RESULTS)
def test_no_beta_at_all_has_much_smaller_squares(name: str) -> None:
    arrays = Arrays(RESULTS[name])
    found = fit_curve(RESULTS[name], pruning_rate=P).weighted_rmse
    proven = found - 1e-3 * max(found, 0.1 * arrays.top)
    for q in Q_VALUES:
        edges = np.linspace(*np.log(BOUNDS), 200)
        left, right = edges[:-1], edges[1:]
        while left.size:
            assert left.size < 1e5
            unproven = least_possible(arrays, q, left, right) < proven
            left, right = left[unproven], right[unproven]
            middle = (left + right) / 2
            left, right = np.concatenate([left, middle]), np.concatenate([middle, right])


def test_the_steepest_slope_is_that() -> None:
    z = np.linspace(-40, 40, 200_001)
    s = 1 / (1 + np.exp(-z))
    assert 0.99 * STEEPEST < np.abs(z * s * (1 - s)).max() <= STEEPEST
