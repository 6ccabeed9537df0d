"""Results of an Oracle to fit, and the fit's two criteria, written out as the paper has them."""

import numpy as np

from silo import CycleInterval, SiloCurve, load_table
from silo._arrays import FloatArray
from tests.effort import tries

P = 0.2
Q_VALUES = range(6)
BOUNDS = (0.5, 20.0)


def written_shapes(betas: FloatArray, cycles: FloatArray, q: int) -> FloatArray:
    """(number of betas, number of cycles): 1 / (1 + (γ / (1 − γ))^(−β)), 0 up to cycle q."""
    shapes = np.zeros((betas.size, cycles.size))
    later = cycles > q
    gamma = 1 - (1 - P) ** (cycles[later] - q)
    shapes[:, later] = 1 / (1 + (gamma / (1 - gamma)) ** -betas[:, None])
    return shapes


class Arrays:
    """A result as arrays, and the numbers that the fit minimises or maximises."""

    def __init__(self, intervals: tuple[CycleInterval, ...]) -> None:
        self.cycles = np.array([float(i.cycle) for i in intervals])
        self.optima = np.array([i.optimum for i in intervals])
        self.low = np.array([0.0 if i.low_cut else i.low for i in intervals])
        self.high = np.array([np.inf if i.high_cut else i.high for i in intervals])
        self.top = max(i.high for i in intervals)
        weights = np.array([((i.high - i.low) / 2) ** -2 for i in intervals])
        self.weights = weights / weights.sum()

    def rates(self, curve: SiloCurve) -> FloatArray:
        shape = written_shapes(np.array([curve.beta]), self.cycles, curve.q)[0]
        return np.asarray(curve.epsilon + curve.delta * shape)

    def mean_square(self, rates: FloatArray) -> FloatArray:
        return np.asarray((rates - self.optima) ** 2 @ self.weights)

    def margin(self, rates: FloatArray) -> FloatArray:
        return np.asarray(np.minimum(rates - self.low, self.high - rates).min(axis=-1))


def smallest_squares(arrays: Arrays, betas: FloatArray, q: int) -> FloatArray:
    """(number of betas,): of three candidates for ε and δ those that are at least 0, by their residuals."""
    shapes, weights, optima = written_shapes(betas, arrays.cycles, q), arrays.weights, arrays.optima
    mean, optimum = shapes @ weights, optima @ weights
    spread = shapes - mean[:, None]
    slope = spread @ (weights * (optima - optimum)) / np.maximum(spread**2 @ weights, 1e-300)
    from_origin = shapes @ (weights * optima) / np.maximum(shapes**2 @ weights, 1e-300)
    least = np.full(betas.size, np.inf)
    for epsilon, delta in [
        (optimum - slope * mean, slope),
        (np.full_like(mean, optimum), np.zeros_like(mean)),
        (np.zeros_like(mean), from_origin),
    ]:
        rates = np.maximum(epsilon, 0)[:, None] + np.maximum(delta, 0)[:, None] * shapes
        least = np.minimum(least, arrays.mean_square(rates))
    return least


def random_result(seed: int) -> tuple[CycleInterval, ...]:
    """An Oracle's result around a curve, or with no curve behind it; with ends cut off or without."""
    random = np.random.default_rng(seed)
    cycles = np.sort(random.choice(16, size=random.integers(4, 8), replace=False))  # q is fitted from four on
    curve = SiloCurve(q=2, beta=4, epsilon=0.03, delta=0.06, pruning_rate=P)
    noise = random.choice([0.03, 0.2, 1.0])
    optima = curve.max_lr(cycles) * np.exp(noise * random.normal(size=cycles.size))
    cut = random.uniform(size=(2, cycles.size)) < random.choice([0.0, 0.25])
    return tuple(
        CycleInterval(
            cycle=int(cycle),
            optimum=rate,
            low=rate * random.uniform(0.8, 1),
            high=rate * random.uniform(1, 1.2),
            low_cut=bool(low_cut),
            high_cut=bool(high_cut) and k > 0,
        )
        for k, (cycle, rate, low_cut, high_cut) in enumerate(zip(cycles, optima, *cut, strict=True))
    )


RESULTS = {f"table {number}": load_table(number).intervals for number in (10, 11)} | {
    f"random {seed}": random_result(seed) for seed in range(tries(20))
}
