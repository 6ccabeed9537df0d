"""The fit against a fine grid of all four parameters, with Equation 3 as the paper writes it."""

import numpy as np
import pytest

from silo import CurveFit, CycleInterval, SiloCurve, fit_curve, load_table
from silo.curve import FloatArray

BETAS = np.geomspace(0.5, 20.0, 41)
P = 0.2


def rates_of(curve: SiloCurve, cycles: FloatArray) -> FloatArray:
    return curve.epsilon + curve.delta * written_shapes(np.array([curve.beta]), cycles, curve.q)[0]


def written_shapes(betas: FloatArray, cycles: FloatArray, q: int) -> FloatArray:
    """(number of betas, number of cycles): 1 / (1 + (γ / (1 − γ))^(−β)) for δ = 1."""
    shapes = np.zeros((betas.size, cycles.size))
    later = cycles > q
    gamma = 1 - (1 - P) ** (cycles[later] - q)
    shapes[:, later] = 1 / (1 + (gamma / (1 - gamma)) ** -betas[:, None])
    return shapes


def random_result(seed: int) -> list[CycleInterval]:
    """An Oracle's result around a curve, or with no curve behind it; with ends cut off or without."""
    random = np.random.default_rng(seed)
    cycles = np.sort(random.choice(16, size=random.integers(3, 8), replace=False))
    curve = SiloCurve(q=2, beta=4, epsilon=0.03, delta=0.06, pruning_rate=P)
    noise = random.choice([0.03, 0.2, 1.0])
    optima = curve.max_lr(cycles) * np.exp(noise * random.normal(size=cycles.size))
    cut = random.uniform(size=(2, cycles.size)) < random.choice([0.0, 0.25])
    return [
        CycleInterval(
            cycle=int(cycle),
            optimum=rate,
            low=rate * random.uniform(0.8, 1),
            high=rate * random.uniform(1, 1.2),
            low_cut=bool(low_cut),
            high_cut=bool(high_cut) and k > 0,
        )
        for k, (cycle, rate, low_cut, high_cut) in enumerate(zip(cycles, optima, *cut, strict=True))
    ]


RESULTS = {"table 10": load_table(10).intervals, "table 11": load_table(11).intervals} | {
    f"random {seed}": tuple(random_result(seed)) for seed in range(20)
}


class Arrays:
    """A result as arrays, and what the fit should minimise or maximise, written out."""

    def __init__(self, intervals: tuple[CycleInterval, ...]) -> None:
        self.cycles = np.array([float(i.cycle) for i in intervals])
        self.optima = np.array([i.optimum for i in intervals])
        self.low = np.array([0.0 if i.low_cut else i.low for i in intervals])
        self.high = np.array([np.inf if i.high_cut else i.high for i in intervals])
        self.top = max(i.high for i in intervals)
        weights = np.array([((i.high - i.low) / 2) ** -2 for i in intervals])
        self.weights = weights / weights.sum()

    def mean_square(self, rates: FloatArray) -> FloatArray:
        return np.asarray((rates - self.optima) ** 2 @ self.weights)

    def margin(self, rates: FloatArray) -> FloatArray:
        return np.asarray(np.minimum(rates - self.low, self.high - rates).min(axis=-1))

    def misses(self, rates: FloatArray) -> FloatArray:
        return np.asarray(((rates < self.low) | (rates > self.high)).sum(axis=-1))


def grid_best(arrays: Arrays) -> tuple[float, float, int, set[int]]:
    """Over the grid: least mean square, largest margin, fewest misses, and the feasible q."""
    epsilons = np.linspace(0, 1.2 * arrays.top, 61)[:, None, None]
    deltas = np.concatenate([np.linspace(0, 1.2, 41), np.geomspace(1.3, 30, 20)])[:, None] * arrays.top
    least, largest, fewest, feasible = np.inf, -np.inf, arrays.cycles.size, set()
    for q in range(6):
        for shape in written_shapes(BETAS, arrays.cycles, q):
            rates = epsilons + deltas * shape
            least = min(least, float(arrays.mean_square(rates).min()))
            largest = max(largest, float(arrays.margin(rates).max()))
            misses = int(arrays.misses(rates).min())
            fewest = min(fewest, misses)
            feasible |= {q} if misses == 0 else set()
    return least, largest, fewest, feasible


def check_what_it_reports(fit: CurveFit, arrays: Arrays) -> None:
    assert fit.weighted_rmse**2 == pytest.approx(
        arrays.mean_square(rates_of(fit.curve, arrays.cycles)), rel=1e-6, abs=1e-20
    )
    rates = rates_of(fit.fewest_misses, arrays.cycles)
    slack = 2e-9 * arrays.top
    outside = (rates < arrays.low - slack) | (rates > arrays.high + slack)
    assert tuple(arrays.cycles[outside]) == fit.missed_cycles
    if fit.hitting:
        assert fit.fewest_misses == fit.hitting and fit.margin >= 0 and not fit.missed_cycles
        assert arrays.margin(rates) == pytest.approx(fit.margin, rel=1e-9, abs=1e-12)
    else:
        assert fit.margin < 0 and fit.missed_cycles and not fit.feasible_q


@pytest.mark.parametrize("name", RESULTS)
def test_no_point_of_the_grid_is_better(name: str) -> None:
    arrays = Arrays(RESULTS[name])
    fit = fit_curve(RESULTS[name], pruning_rate=P)
    check_what_it_reports(fit, arrays)
    least, largest, fewest, feasible = grid_best(arrays)
    assert fit.weighted_rmse**2 <= least
    assert fit.margin >= largest
    assert len(fit.missed_cycles) <= fewest
    assert feasible <= set(fit.feasible_q)


def test_the_results_are_of_both_kinds() -> None:
    hits = [fit_curve(result, pruning_rate=P).hitting is not None for result in RESULTS.values()]
    assert 5 <= sum(hits) <= len(hits) - 5


@pytest.mark.parametrize("name", ["table 10", "table 11"])
def test_a_zoom_into_the_grid_ends_at_the_fit(name: str) -> None:
    """The grid, shrunk around its own best point again and again, knows nothing of the fit's way to it."""
    arrays = Arrays(RESULTS[name])
    fit = fit_curve(RESULTS[name], pruning_rate=P)
    best = {q: _zoomed(arrays, q) for q in range(6)}
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
