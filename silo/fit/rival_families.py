"""The curves that SILO is compared with, as families: what they depend on, and how their numbers read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from silo._arrays import FloatArray, IntArray
from silo.fit.families import Family, Kind
from silo.theory import kept_power

_POINTS_1D = 241
_POINTS_2D = 49
# Of the exponential: how many e-folds it may rise or fall over the measured cycles.
_E_FOLDS = 5.0
# Of the logistic: its steepness times the measured cycles; at 1 it is nearly straight, at 200 a step.
_STEEPNESS = (1.0, 200.0)
# Of the Theorem 2 bound: d·σ_X²; the bound rises by the root of 1 plus this in all.
_INPUT_POWER = (1e-3, 1e4)

Values = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Model:
    """One rival.

    Attributes:
        name: what it is called in the table.
        formula: max_lr(m) in its numbers.
        s_shaped: whether it can rise slowly, fast and slowly again wherever the data do.
        parameters: how many numbers are fitted.
        family: its curves over some cycles (n,), for a pruning rate.
        values: its numbers by name, from level, slope (learning rates), branch and place of one of those.
    """

    name: str
    formula: str
    s_shaped: bool
    parameters: int
    family: Callable[[FloatArray, float], Family]
    values: Callable[[float, float, int, FloatArray, FloatArray], dict[str, float]]


def rates_of(name: str, values: Values, cycles: FloatArray, pruning_rate: float) -> FloatArray:
    """The rates of a rival, by its name, at any cycles; not of SILO, which is no rival to itself."""
    return np.asarray(_RATES[name](values, cycles, pruning_rate), dtype=np.float64)


def _fixed(kind: Kind, shape: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray, float], Family]:
    """A family of one shape."""

    def family(cycles: FloatArray, pruning_rate: float) -> Family:
        def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
            return np.tile(shape(cycles), (branches.size, 1))

        nowhere = np.zeros(0)
        return Family(shapes=shapes, kind=kind, branches=1, lower=nowhere, upper=nowhere, points=1)

    return family


def _exponential(cycles: FloatArray, pruning_rate: float) -> Family:
    """Branch 0 rises and 1 falls, both from no growth: where one cycle leaves the growth open, it is 0."""

    def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
        exponents = (1 - 2 * branches[:, None]) * places * cycles
        return np.asarray(np.exp(exponents - exponents.max(axis=1, keepdims=True)))

    steepest = np.array([_E_FOLDS / _span(cycles)])
    return Family(
        shapes=shapes,
        kind="scaled",
        branches=2,
        lower=np.zeros(1),
        upper=steepest,
        points=_POINTS_1D // 2 + 1,
    )


def _exponential_values(
    level: float, slope: float, branch: int, place: FloatArray, cycles: FloatArray
) -> dict[str, float]:
    growth = float(place[0]) * (1 - 2 * branch)
    return {"start": slope * float(np.exp(-(growth * cycles).max())), "growth": growth}


def _logistic(cycles: FloatArray, pruning_rate: float) -> Family:
    def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
        return np.asarray(expit(np.exp(places[:, :1]) * (cycles - places[:, 1:])))

    gentlest, steepest = np.log(_STEEPNESS) - np.log(_span(cycles))
    return Family(
        shapes=shapes,
        kind="rising",
        branches=1,
        lower=np.array([gentlest, cycles.min()]),
        upper=np.array([steepest, cycles.max()]),
        points=_POINTS_2D,
    )


def _bound(cycles: FloatArray, pruning_rate: float) -> Family:
    kept = kept_power(cycles, pruning_rate)

    def shapes(branches: IntArray, places: FloatArray) -> FloatArray:
        return np.asarray(1 / np.sqrt(1 + np.exp(places) * kept))

    lower, upper = np.log(np.array([_INPUT_POWER])).T
    return Family(shapes=shapes, kind="scaled", branches=1, lower=lower, upper=upper, points=_POINTS_1D)


def _bound_values(
    level: float, slope: float, branch: int, place: FloatArray, cycles: FloatArray
) -> dict[str, float]:
    power = float(np.exp(place[0]))
    return {"dense_rate": slope / float(np.sqrt(1 + power)), "input_power": power}


def _span(cycles: FloatArray) -> float:
    return max(float(cycles.max() - cycles.min()), 1.0)


RIVALS = (
    Model(
        name="constant",
        formula="c",
        s_shaped=False,
        parameters=1,
        family=_fixed("flat", np.zeros_like),
        values=lambda level, slope, branch, place, cycles: {"rate": level},
    ),
    Model(
        name="linear",
        formula="a + b·m",
        s_shaped=False,
        parameters=2,
        family=_fixed("free", lambda cycles: cycles / max(cycles.max(), 1.0)),
        values=lambda level, slope, branch, place, cycles: {
            "start": level,
            "slope": slope / max(float(cycles.max()), 1.0),
        },
    ),
    Model(
        name="exponential",
        formula="a·exp(k·m)",
        s_shaped=False,
        parameters=2,
        family=_exponential,
        values=_exponential_values,
    ),
    Model(
        name="logistic",
        formula="ε + δ / (1 + exp(−k·(m − m₀)))",
        s_shaped=True,
        parameters=4,
        family=_logistic,
        values=lambda level, slope, branch, place, cycles: {
            "epsilon": level,
            "delta": slope,
            "steepness": float(np.exp(place[0])),
            "midpoint": float(place[1]),
        },
    ),
    Model(
        name="Theorem 2 bound",
        formula="a·((1 + D) / (1 + D·g(m)))^½",
        s_shaped=False,
        parameters=2,
        family=_bound,
        values=_bound_values,
    ),
)

_RATES: dict[str, Callable[[Values, FloatArray, float], Any]] = {
    "constant": lambda v, m, p: np.full(m.shape, v["rate"]),
    "linear": lambda v, m, p: v["start"] + v["slope"] * m,
    "exponential": lambda v, m, p: v["start"] * np.exp(v["growth"] * m),
    "logistic": lambda v, m, p: v["epsilon"] + v["delta"] * expit(v["steepness"] * (m - v["midpoint"])),
    "Theorem 2 bound": lambda v, m, p: (
        v["dense_rate"] * np.sqrt((1 + v["input_power"]) / (1 + v["input_power"] * kept_power(m, p)))
    ),
}
