"""What fits of 25 cycles and more and fits to 1,000 draws take, beside scipy's global optimiser.

    python -m tests.benchmarks.fit [--repeats 5] [--keep]

The baseline fits the least-squares curve alone: ``scipy.optimize.differential_evolution`` over β, ε
and δ for each q, as one would without knowing that ε and δ are linear. All on one core, in turns; CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import differential_evolution

from silo import CycleAccuracies, CycleInterval, SiloCurve, compare_rivals, fit_curve, learn, shape
from silo.fit.regions import drawn_fits
from tests.benchmarks.machine import header, keep

_DRAWN, _DRAWS = "fits to draws, per fit of 1,000", 1000
P, CYCLES, TRUE = 0.2, 25, SiloCurve(q=1, beta=4, epsilon=0.04, delta=0.06, pruning_rate=0.2)


def intervals(noise: float, width: float, seed: int = 0, cycles: int = CYCLES) -> list[CycleInterval]:
    """Optima scattered around a curve, as a share of it, with intervals of a relative width."""
    random = np.random.default_rng(seed)
    optima = TRUE.max_lr(range(cycles)) * np.exp(noise * random.normal(size=cycles))
    return [
        CycleInterval(cycle=m, optimum=rate, low=rate * (1 - width), high=rate * (1 + width))
        for m, rate in enumerate(optima.tolist())
    ]


def accuracies(candidates: int, replicates: int) -> list[CycleAccuracies]:
    """Parabolas in the logarithm of the rate, peaking at a curve, with noise."""
    random = np.random.default_rng(0)
    rates = np.geomspace(0.01, 0.3, candidates)
    found = []
    for m in range(CYCLES):
        means = 0.95 - 0.05 * np.log(rates / TRUE.max_lr(m)) ** 2
        noise = 0.002 * random.normal(size=(candidates, replicates))
        found.append(CycleAccuracies(cycle=m, rates=rates, accuracies=np.clip(means[:, None] + noise, 0, 1)))
    return found


def by_evolution(measured: list[CycleInterval]) -> float:
    """The least weighted mean square that the baseline finds over q = 0 … 5."""
    cycles = np.arange(CYCLES)
    optima = np.array([interval.optimum for interval in measured])
    weights = np.array([(interval.high - interval.low) ** -2 for interval in measured])
    weights /= weights.sum()
    top = optima.max()

    def best(q: int) -> float:
        def loss(x: np.ndarray) -> float:
            rates = x[1] + x[2] * shape(cycles, q, np.exp(x[0]), P)
            return float(weights @ (optima - rates) ** 2)

        bounds = [np.log([0.5, 20.0]), (0, top), (0, 2 * top)]
        return float(differential_evolution(loss, bounds, rng=0, tol=1e-8).fun)

    return min(best(q) for q in range(6))


def main() -> None:
    """Runs it and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-fit.json")
    options = parser.parse_args()
    inside, outside, far = intervals(0.01, 0.05), intervals(0.05, 0.05), intervals(1.0, 0.1)
    thirty, many = intervals(0.05, 0.0, cycles=30), intervals(0.05, 0.0, cycles=200)
    measured = accuracies(50, 5)
    beliefs = learn(measured)
    tasks: dict[str, Callable[[], object]] = {
        "scipy differential_evolution, least squares alone": lambda: by_evolution(outside),
        "fit, a curve in every interval": lambda: fit_curve(inside, pruning_rate=P),
        "fit, no such curve": lambda: fit_curve(outside, pruning_rate=P),
        "fit, no curve near": lambda: fit_curve(far, pruning_rate=P),
        "fit, 30 cycles without width": lambda: fit_curve(thirty, pruning_rate=P),
        "fit, 200 cycles without width": lambda: fit_curve(many, pruning_rate=P),
        "six rivals with left-out errors": lambda: compare_rivals(outside, pruning_rate=P),
        "what the trainings tell of 25 cycles × 50 rates": lambda: learn(measured),
        _DRAWN: lambda: drawn_fits(beliefs, pruning_rate=P, draws=_DRAWS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(options.repeats + 1):
        for name in list(tasks) if repeat % 2 else reversed(tasks):
            begin = time.process_time()
            tasks[name]()
            if repeat:  # the first round warms up
                fits = _DRAWS if name == _DRAWN else 1
                seconds[name].append((time.process_time() - begin) / fits)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    slowest = medians["scipy differential_evolution, least squares alone"]
    table = Table("25 cycles or as said, q = 0 … 5", "median", "times faster", title=f"{header()}")
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median:,.1f} ms", f"{slowest / median:,.0f}×")
    Console(width=110).print(table)
    loss = fit_curve(outside, pruning_rate=P).weighted_rmse ** 2
    print(f"least weighted mean square: ours {loss:.9g}, scipy's {by_evolution(outside):.9g}")
    if options.keep:
        print(keep("fit", {"seconds": seconds, "medians": medians}))


if __name__ == "__main__":
    main()
