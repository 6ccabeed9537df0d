"""The fit against proofs and against fine grids, with Equation 3 as the paper writes it.

A bound shows that no β between the points of a grid has much smaller squares. Let ‖·‖ be the root of the
weighted mean square, y the optima, ε and δ the best of some β. Moving the shape S from β to another, b, gives
a curve that is no nearer to y than the best one there:

    rmse(β) = ‖y − ε − δ·S(β)‖ ≥ ‖y − ε − δ·S(b)‖ − δ·‖S(β) − S(b)‖ ≥ rmse(b) − δ·‖S(β) − S(b)‖.

Between two β every S(m) lies between its two values, and |dS / d log β| = |z·S·(1 − S)| with z = logit(S) is
at most 0.2239. As ‖δ·S‖ ≤ ‖ε + δ·S‖ ≤ ‖y‖ (the best curve is a projection of y onto a cone), δ ≤ ‖y‖ / ‖S‖.
"""

from functools import cache

import numpy as np
import pytest

from silo import CurveFit, fit_curve
from silo._arrays import FloatArray
from silo.fit.regions import widest_margin
from tests.silo.fit.all_lines import reach
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


@cache
def fitted(name: str) -> tuple[CurveFit, Arrays]:
    return fit_curve(RESULTS[name], pruning_rate=P), Arrays(RESULTS[name])


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
    reached = np.where(moved.any(axis=1), delta * norm(arrays, moved), 0.0)
    return np.sqrt(smallest_squares(arrays, np.exp(middle), q)) - reached


def test_no_beta_at_all_has_much_smaller_squares() -> None:
    for name in RESULTS:
        fit, arrays = fitted(name)
        proven = fit.weighted_rmse - 1e-3 * max(fit.weighted_rmse, 0.1 * arrays.top)
        for q in Q_VALUES:
            edges = np.linspace(*np.log(BOUNDS), 200)
            left, right = edges[:-1], edges[1:]
            while left.size:
                assert left.size < 1e5, (name, q)
                unproven = least_possible(arrays, q, left, right) < proven
                left, right = left[unproven], right[unproven]
                middle = (left + right) / 2
                left, right = np.concatenate([left, middle]), np.concatenate([middle, right])


def test_the_steepest_slope_is_that() -> None:
    z = np.linspace(-40, 40, 200_001)
    s = 1 / (1 + np.exp(-z))
    assert 0.99 * STEEPEST < np.abs(z * s * (1 - s)).max() <= STEEPEST


def test_what_it_reports_is_so_and_no_beta_of_a_grid_is_better() -> None:
    for name in RESULTS:
        fit, arrays = fitted(name)
        squares = fit.weighted_rmse**2
        assert squares == pytest.approx(arrays.mean_square(arrays.rates(fit.curve)), rel=1e-6, abs=1e-20)
        betas = np.geomspace(*BOUNDS, 1000)
        for region in fit.regions:
            assert squares <= smallest_squares(arrays, betas, region.q).min() * (1 + 1e-12) + 1e-20, name
            rates, slack = arrays.rates(region.curve), 2e-9 * arrays.top
            outside = (rates < arrays.low - slack) | (rates > arrays.high + slack)
            assert tuple(arrays.cycles[outside]) == region.missed_cycles, name
            assert region.empty == bool(region.missed_cycles) == (region.margin < 0), name
            if not region.empty:
                assert arrays.margin(rates) == pytest.approx(region.margin, rel=1e-9, abs=slack), name
            shapes = written_shapes(betas, arrays.cycles, region.q)
            margins = widest_margin(shapes, arrays.low, arrays.high, arrays.top).margin
            if np.isfinite(arrays.high).any():
                assert region.margin >= margins.max() - 1e-8 * arrays.top, name


def test_no_beta_of_a_grid_is_beyond_the_ranges_or_has_fewer_misses_and_their_ends_are_reached() -> None:
    for name in RESULTS:
        fit, arrays = fitted(name)
        for region in fit.regions:
            betas = np.geomspace(*BOUNDS, 800)
            shapes = written_shapes(betas, arrays.cycles, region.q)
            missed, reached = reach(shapes, arrays.low, arrays.high)
            assert len(region.missed_cycles) <= missed.min(), name
            if region.beta is None or region.epsilon is None or region.delta is None:
                continue
            stated = [region.delta[1], -region.delta[0], region.epsilon[1], -region.epsilon[0]]
            hit = betas[~np.isneginf(reached[:, 0])]
            if hit.size:
                assert region.beta[0] * (1 - 2e-6) <= hit[0] <= hit[-1] <= region.beta[1] * (1 + 2e-6), name
                assert (reached.max(axis=0) <= stated + 2e-4 * np.abs(stated)).all(), name
            betas = np.geomspace(*region.beta, 800).clip(*region.beta)
            shapes = written_shapes(betas, arrays.cycles, region.q)
            missed, reached = reach(shapes, arrays.low, arrays.high, slack=1e-9)
            assert missed[0] == missed[-1] == 0, name
            assert reached.max(axis=0) == pytest.approx(stated, rel=0.02, abs=1e-6 * arrays.top), name
        assert len(fit.missed_cycles) == min(len(region.missed_cycles) for region in fit.regions)


def test_the_results_are_of_both_kinds() -> None:
    fits = [fitted(name)[0] for name in RESULTS]
    assert 4 <= sum(fit.hitting is not None for fit in fits) <= len(fits) - 4
    assert {len(region.missed_cycles) for fit in fits for region in fit.regions} >= {0, 1, 2, 3}
