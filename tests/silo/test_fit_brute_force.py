"""The fit against all curves of fine grids, with Equation 3 as the paper writes it."""

from functools import cache

import numpy as np
import pytest

from silo import CurveFit, Region, fit_curve
from silo._arrays import FloatArray
from tests.silo.fitting.all_lines import reach
from tests.silo.fitting.written_out import (
    BOUNDS,
    Q_VALUES,
    RESULTS,
    Arrays,
    P,
    smallest_squares,
    written_shapes,
)

FEW = [name for name in RESULTS if "table" in name or int(name.split()[1]) < 10]


@cache
def fitted(name: str) -> tuple[CurveFit, Arrays]:
    return fit_curve(RESULTS[name], pruning_rate=P), Arrays(RESULTS[name])


@pytest.mark.parametrize("name", RESULTS)
def test_what_it_reports_is_so(name: str) -> None:
    fit, arrays = fitted(name)
    of_least_squares = arrays.mean_square(arrays.rates(fit.curve))
    assert fit.weighted_rmse**2 == pytest.approx(of_least_squares, rel=1e-6, abs=1e-20)
    for region in fit.regions:
        rates = arrays.rates(region.curve)
        slack = 2e-9 * arrays.top
        outside = (rates < arrays.low - slack) | (rates > arrays.high + slack)
        assert tuple(arrays.cycles[outside]) == region.missed_cycles
        assert region.empty == bool(region.missed_cycles) == (region.margin < 0)
        if not region.empty:
            assert arrays.margin(rates) == pytest.approx(region.margin, rel=1e-9, abs=slack)


@pytest.mark.parametrize("name", RESULTS)
def test_no_beta_of_a_fine_grid_has_smaller_squares(name: str) -> None:
    fit, arrays = fitted(name)
    least = {q: smallest_squares(arrays, np.geomspace(*BOUNDS, 2000), q).min() for q in Q_VALUES}
    assert fit.weighted_rmse**2 <= min(least.values()) * (1 + 1e-12) + 1e-20
    assert least[fit.curve.q] == pytest.approx(fit.weighted_rmse**2, rel=1e-3, abs=1e-7 * arrays.top**2)


@pytest.mark.parametrize("name", RESULTS)
def test_no_beta_of_a_fine_grid_has_a_larger_margin(name: str) -> None:
    fit, arrays = fitted(name)
    for region in fit.regions:
        largest = largest_margins(arrays, np.geomspace(*BOUNDS, 400), region.q).max()
        assert region.margin >= largest - 1e-9 * arrays.top
        near = (region.curve.beta * np.geomspace(0.99, 1.01, 21)).clip(*BOUNDS)
        assert region.empty or largest_margins(arrays, near, region.q).max() == pytest.approx(
            region.margin, abs=1e-3 * arrays.top
        )


def largest_margins(arrays: Arrays, betas: FloatArray, q: int) -> FloatArray:
    """(number of betas,): the margin is concave in δ, so that a golden section finds where it is largest."""
    shapes = written_shapes(betas, arrays.cycles, q)

    def margin(share: FloatArray) -> FloatArray:
        delta = (arrays.top * share / (1 - share))[:, None]
        room, floor = (arrays.high - delta * shapes).min(axis=1), (arrays.low - delta * shapes).max(axis=1)
        return np.asarray(np.minimum((room - floor) / 2, room))

    golden = (np.sqrt(5) - 1) / 2
    left, right = np.zeros(betas.size), np.full(betas.size, 1 - 1e-4)
    for _ in range(40):
        inner = right - golden * (right - left), left + golden * (right - left)
        falls = margin(inner[0]) >= margin(inner[1])
        left, right = np.where(falls, left, inner[0]), np.where(falls, inner[1], right)
    return np.maximum(margin(left), margin(np.zeros(betas.size)))


@pytest.mark.parametrize("name", RESULTS)
def test_no_beta_of_a_fine_grid_is_beyond_the_regions_or_has_fewer_misses(name: str) -> None:
    fit, arrays = fitted(name)
    for region in fit.regions:
        betas = np.geomspace(*BOUNDS, 2000)
        missed, lines = reach(written_shapes(betas, arrays.cycles, region.q), arrays.low, arrays.high)
        assert len(region.missed_cycles) <= missed.min()
        assert region.empty or np.isneginf(lines).all() or holds(region, betas, lines)
    assert len(fit.missed_cycles) == min(len(region.missed_cycles) for region in fit.regions)


def holds(region: Region, betas: FloatArray, lines: FloatArray) -> bool:
    """Whether the curves that all_lines.reach found, if any at a beta, are within the region's ranges."""
    assert region.beta and region.epsilon and region.delta
    hit = betas[~np.isneginf(lines[:, 0])]
    delta_high, delta_low, epsilon_high, epsilon_low = lines.max(axis=0) * [1, -1, 1, -1]
    return bool(
        region.beta[0] * (1 - 2e-6) <= hit[0] <= hit[-1] <= region.beta[1] * (1 + 2e-6)
        and region.delta[0] * (1 - 2e-4) <= delta_low <= delta_high <= region.delta[1] * (1 + 2e-4)
        and region.epsilon[0] * (1 - 2e-4) <= epsilon_low <= epsilon_high <= region.epsilon[1] * (1 + 2e-4)
    )


@pytest.mark.parametrize("name", RESULTS)
def test_the_ends_of_every_range_are_reached(name: str) -> None:
    fit, arrays = fitted(name)
    for region in fit.regions:
        if region.beta is None or region.epsilon is None or region.delta is None:
            continue
        betas = np.geomspace(*region.beta, 2000).clip(*region.beta)
        shapes = written_shapes(betas, arrays.cycles, region.q)
        missed, lines = reach(shapes, arrays.low, arrays.high, slack=1e-9)
        assert missed[0] == missed[-1] == 0
        delta_high, delta_low, epsilon_high, epsilon_low = lines.max(axis=0) * [1, -1, 1, -1]
        for found, stated in [
            ((delta_low, delta_high), region.delta),
            ((epsilon_low, epsilon_high), region.epsilon),
        ]:
            assert found == pytest.approx(stated, rel=0.02, abs=1e-6 * arrays.top)


def test_the_results_are_of_both_kinds() -> None:
    hits = [fitted(name)[0].hitting is not None for name in RESULTS]
    assert 50 <= sum(hits) <= len(hits) - 50
    regions = [region for name in RESULTS for region in fitted(name)[0].regions]
    assert {len(region.missed_cycles) for region in regions} >= {0, 1, 2, 3}


@pytest.mark.parametrize("name", FEW)
def test_no_point_of_a_grid_of_all_four_parameters_is_better(name: str) -> None:
    """This one solves nothing."""
    fit, arrays = fitted(name)
    epsilons = np.linspace(0, 1.2 * arrays.top, 61)[:, None, None]
    deltas = np.concatenate([np.linspace(0, 1.2, 41), np.geomspace(1.3, 30, 20)])[:, None] * arrays.top
    for region in fit.regions:
        for shape in written_shapes(np.geomspace(*BOUNDS, 41), arrays.cycles, region.q):
            rates = epsilons + deltas * shape
            assert fit.weighted_rmse**2 <= arrays.mean_square(rates).min()
            assert region.margin >= arrays.margin(rates).max()
            assert len(region.missed_cycles) <= arrays.misses(rates).min()


@pytest.mark.parametrize("name", ["table 10", "table 11"])
def test_a_zoom_into_the_grid_ends_at_the_fit(name: str) -> None:
    """The grid, shrunk around its own best point again and again, knows nothing of the fit's way to it."""
    fit, arrays = fitted(name)
    best = {q: _zoomed(arrays, q) for q in Q_VALUES}
    q = min(best, key=lambda q: best[q][0])
    _, beta, epsilon, delta = best[q]
    assert q == fit.curve.q
    assert (fit.curve.beta, fit.curve.epsilon, fit.curve.delta) == pytest.approx(
        (beta, epsilon, delta), rel=1e-3
    )


def _zoomed(arrays: Arrays, q: int) -> tuple[float, float, float, float]:
    centre, width = np.array([np.log(3.2), 0.04, 0.05]), np.array([1.8, 0.04, 0.05])
    for _ in range(60):
        steps = np.linspace(-1, 1, 9)
        logs, epsilons, deltas = (c + w * steps for c, w in zip(centre, width, strict=True))
        shapes = written_shapes(np.exp(logs), arrays.cycles, q)
        rates = (
            np.maximum(epsilons, 0)[:, None, None] + np.maximum(deltas, 0)[:, None] * shapes[:, None, None]
        )
        squares = arrays.mean_square(rates)
        i, j, k = np.unravel_index(squares.argmin(), squares.shape)
        centre, width = np.array([logs[i], epsilons[j], deltas[k]]), width * 0.8
    return float(squares.min()), float(np.exp(centre[0])), float(centre[1]), float(centre[2])
