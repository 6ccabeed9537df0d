"""SILO against simpler curves and other S-shapes, fitted to the same optima and judged out of sample."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from silo._arrays import FloatArray, IntArray
from silo.curve import SiloCurve, check_cycles, depth
from silo.fit.least_squares import (
    EXACT_LOSS,
    Family,
    Kind,
    Members,
    Problem,
    Targets,
    Weighting,
    curves_of,
    free_part,
    least_squares,
    make_problem,
    minima,
    silo_family,
)
from silo.measured import CycleInterval
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


# With fewer cycles, four numbers are fitted to three: what they say of the left-out one is chance.
_FEWEST_CYCLES = 5
# Accuracy of a rival's numbers that is far below what a rate's grid resolves.
_ZOOM_ROUNDS = 9
_POLISH_ROUNDS = 80
# Of a place's range: for slopes by differences.
_NUDGE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One curve, fitted by the criterion of ``fit_curve``.

    Attributes:
        name: "constant", "linear", "exponential", "logistic", "Theorem 2 bound" or "SILO".
        formula: max_lr(m) in its numbers.
        s_shaped: whether it can rise slowly, fast and slowly again wherever the data do. The Theorem 2 bound
            has an S of its own, whose place is not free.
        parameters: how many numbers were fitted; an integer q counts as one.
        values: those numbers by name; rates are learning rates.
        pruning_rate: p.
        weighted_rmse: root of the weighted mean squared distance to the optima, a learning rate.
        loo_error: the same of the predictions for each cycle by the curve fitted to all others, a learning
            rate; None with one cycle.
        aicc: Akaike's information criterion, corrected for few data (Hurvich and Tsai, Biometrika 76, 1989);
            only differences mean anything; None where cycles don't exceed the parameters, counting the
            residuals' variance as one, by 2 or more.
        densities: as for ``SiloCurve``: m in ``formula`` is then log λ / log(1 − p).
    """

    name: str
    formula: str
    s_shaped: bool
    parameters: int
    values: dict[str, float]
    pruning_rate: float
    weighted_rmse: float
    loo_error: float | None
    aicc: float | None
    densities: tuple[float, ...] = ()

    def max_lr(self, cycles: npt.ArrayLike) -> FloatArray:
        """The fitted rates at cycles m, of any shape, at least 0; not only whole ones.

        Raises:
            InvalidInput: a cycle is negative or not finite.
        """
        found = check_cycles(cycles)
        if self.name == "SILO":
            return np.asarray(self._curve().max_lr(found), dtype=np.float64)
        return rates_of(
            self.name, self.values, depth(found, self.densities, self.pruning_rate), self.pruning_rate
        )

    def _curve(self) -> SiloCurve:
        numbers = {**self.values, "q": int(self.values["q"]), "densities": self.densities}
        return SiloCurve.from_dict(numbers)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        names = ("name", "formula", "s_shaped", "parameters", "values", "weighted_rmse", "loo_error", "aicc")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class RivalTable:
    """SILO and its rivals, fitted to the same data.

    Attributes:
        rivals: simpler curves first, SILO last.
        verdict: whether an S-shape is supported, in plain sentences.
    """

    rivals: tuple[Rival, ...]
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {"rivals": [rival.to_dict() for rival in self.rivals], "verdict": self.verdict}

    def __str__(self) -> str:
        header = ("curve", "numbers", "RMSE", "left-out error", "AICc − least")
        least = min((rival.aicc for rival in self.rivals if rival.aicc is not None), default=0.0)
        rows = [header]
        for rival in self.rivals:
            rows.append(
                (
                    rival.name,
                    str(rival.parameters),
                    f"{rival.weighted_rmse:.3g}",
                    "–" if rival.loo_error is None else f"{rival.loo_error:.3g}",
                    "–" if rival.aicc is None else f"{rival.aicc - least:.1f}",
                )
            )
        widths = [max(len(row[k]) for row in rows) for k in range(len(header))]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
                ]
            )
            for row in rows
        ]
        return "\n".join([*lines, self.verdict])


def compare_rivals(
    intervals: Iterable[CycleInterval],
    *,
    pruning_rate: float,
    q_values: Iterable[int] = range(0, 6),
    beta_bounds: tuple[float, float] = (0.5, 20.0),
    weighting: Weighting = "interval",
    densities: Sequence[float] = (),
) -> RivalTable:
    """Fits each curve to the Oracle's optima, and says which predicts a left-out cycle best.

    All are least-squares fits with the same weights, each at its minimum over a grid with refinement. The
    logistic's midpoint lies within the measured cycles, the exponential rises or falls by at most e⁵ over
    them, and the Theorem 2 bound (the equality in Remark 2, with g the share of the weights' power that
    pruning leaves) has d·σ_X² between 1e-3 and 1e4.

    The simpler curves (constant, linear, exponential, the bound) stand against the S-shapes (logistic, SILO).
    Of each the one with the smallest left-out error counts. The S-shape is called supported if it is better
    by more than the standard error of the difference over the cycles and AICc, where both have one, does not
    prefer the simpler curve; a simpler curve is called better if it is so by more than the standard error.

    Args:
        intervals: one per measured cycle, in any order, at least one.
        pruning_rate: p, in (0, 1).
        q_values: as for ``fit_curve``.
        beta_bounds: as for ``fit_curve``.
        weighting: as for ``fit_curve``.
        densities: as for ``fit_curve``.

    Raises:
        InvalidInput: a value is missing or outside its range.
    """
    problem = make_problem(intervals, pruning_rate, q_values, beta_bounds, weighting, densities)
    measured = [interval.cycle for interval in problem.intervals]
    cycles = depth(measured, problem.densities, problem.pruning_rate)
    rivals, errors = [], {}
    for model in RIVALS:
        family = model.family(cycles, problem.pruning_rate)
        best = _fit(family, _whole(problem))
        scale = problem.scale
        numbers = model.values(
            float(best.fits.level[0]) * scale,
            float(best.fits.slope[0]) * scale,
            int(best.branch[0]),
            best.place[0],
            cycles,
        )
        left_out = _left_out(problem, family)
        errors[model.name] = left_out
        rivals.append(
            Rival(
                name=model.name,
                formula=model.formula,
                s_shaped=model.s_shaped,
                parameters=model.parameters,
                values=numbers,
                pruning_rate=problem.pruning_rate,
                densities=problem.densities,
                **_scores(problem, model.parameters, float(best.fits.loss[0]), left_out),
            )
        )
    silo, errors["SILO"] = _silo(problem)
    return RivalTable(rivals=(*rivals, silo), verdict=_verdict(problem, (*rivals, silo), errors))


def _silo(problem: Problem) -> tuple[Rival, FloatArray]:
    n = len(problem.intervals)
    searched, _ = free_part(problem, n)
    best = _fit(silo_family(searched.logits, searched.beta_bounds), _whole(problem))
    fewer, _ = free_part(problem, n - 1)
    left_out = _left_out(problem, silo_family(fewer.logits, fewer.beta_bounds))
    rival = Rival(
        name="SILO",
        formula="ε + δ / (1 + (γ/(1−γ))^(−β))",
        s_shaped=True,
        parameters=4,
        values=replace(curves_of(searched, best)[0], densities=()).to_dict(),
        pruning_rate=problem.pruning_rate,
        densities=problem.densities,
        **_scores(problem, 4, float(best.fits.loss[0]), left_out),
    )
    return rival, left_out


def _whole(problem: Problem) -> Targets:
    return Targets(optima=problem.optima[None], weights=problem.weights[None])


def _fit(family: Family, targets: Targets) -> Members:
    found = minima(family, targets, rounds=_ZOOM_ROUNDS)
    return (found if family.lower.size < 2 else _polished(family, targets, found)).best(EXACT_LOSS)


def _polished(family: Family, targets: Targets, members: Members) -> Members:
    """Members moved along their valleys by Levenberg's and Marquardt's steps.

    In two directions a valley may be narrow, slanted and bent: shrinking brackets end anywhere on its floor.
    All members move together: scipy's solver, which takes one at a time, is several times slower.
    """
    optima, weights = targets.optima[members.problem], targets.weights[members.problem]

    def tried(places: FloatArray) -> tuple[Members, FloatArray]:
        shapes = family.shapes(members.branch, places)
        fits = least_squares(shapes, optima, weights, family.kind)
        residuals = optima - fits.level[:, None] - fits.slope[:, None] * shapes
        found = Members(problem=members.problem, branch=members.branch, place=places, fits=fits)
        return found, np.sqrt(weights) * residuals

    here, left = tried(members.place)
    damping = np.full(left.shape[0], 1e-3)
    nudges = np.diag(_NUDGE * np.maximum(family.upper - family.lower, _NUDGE))
    for _ in range(_POLISH_ROUNDS):
        slopes = np.stack([(tried(here.place + one)[1] - left) / one.sum() for one in nudges], axis=2)
        normal = np.einsum("pni,pnj->pij", slopes, slopes)
        damped = normal + damping[:, None, None] * np.eye(nudges.shape[0]) * (normal + _NUDGE**2)
        steps = np.linalg.solve(damped, np.einsum("pni,pn->pi", slopes, left)[:, :, None])[:, :, 0]
        there, _ = tried((here.place - steps).clip(family.lower, family.upper))
        better = there.fits.loss < here.fits.loss * (1 - 1e-9)
        here, left = tried(np.where(better[:, None], there.place, here.place))
        damping = np.where(better, damping / 5, damping * 5).clip(1e-9, 1e9)
        # Steps so damped lead nowhere.
        if (damping > 1e3).all():
            break
    return here


def _left_out(problem: Problem, family: Family) -> FloatArray:
    """(n,): the residual of each cycle, of rates divided by the scale, from the fit to all others."""
    n = problem.optima.size
    if n == 1:
        return np.zeros(0)
    weights = np.where(np.eye(n, dtype=np.bool_), 0.0, problem.weights)
    weights /= weights.sum(axis=1, keepdims=True)
    best = _fit(family, Targets(optima=np.tile(problem.optima, (n, 1)), weights=weights))
    own = family.shapes(best.branch, best.place).diagonal()
    return np.asarray(problem.optima - best.fits.level - best.fits.slope * own)


def _scores(problem: Problem, parameters: int, loss: float, left_out: FloatArray) -> dict[str, Any]:
    n, k = problem.optima.size, parameters + 1
    loo = None if not left_out.size else float(np.sqrt(problem.weights @ left_out**2)) * problem.scale
    spare = n - k - 1
    # A curve through all points has no likelihood: its loss is a rounding.
    aicc = n * np.log(max(loss, EXACT_LOSS)) + 2 * k + 2 * k * (k + 1) / spare if spare > 0 else None
    return {
        "weighted_rmse": float(np.sqrt(loss)) * problem.scale,
        "loo_error": loo,
        "aicc": None if aicc is None else float(aicc),
    }


def _verdict(problem: Problem, rivals: tuple[Rival, ...], errors: dict[str, FloatArray]) -> str:
    n = problem.optima.size
    if n < _FEWEST_CYCLES:
        given = "1 cycle" if n == 1 else f"{n} cycles"
        return f"{given} cannot tell one shape from another: measure {_FEWEST_CYCLES} or more."

    def best_of(s_shaped: bool) -> Rival:
        group = [rival for rival in rivals if rival.s_shaped == s_shaped]
        return min(group, key=lambda rival: rival.loo_error or 0.0)

    simple, s_shaped, silo = best_of(False), best_of(True), rivals[-1]
    difference = n * problem.weights * (errors[s_shaped.name] ** 2 - errors[simple.name] ** 2)
    mean = float(difference.mean())
    # A difference of roundings is none.
    least = max(float(difference.std(ddof=1) / np.sqrt(n)), EXACT_LOSS)
    against = s_shaped.aicc is not None and simple.aicc is not None and s_shaped.aicc > simple.aicc
    if mean < -least and not against:
        sentence = "An S-shape is supported"
    elif mean > least:
        sentence = "An S-shape is not supported, a simpler curve predicts better"
    else:
        sentence = "An S-shape cannot be told from a simpler curve"
    found = f"{s_shaped.loo_error:.3g} ({s_shaped.name}) against {simple.loo_error:.3g} ({simple.name})"
    own = "" if silo is s_shaped else f"; SILO's own is {silo.loo_error:.3g}"
    if mean < -least and against:
        own += f"; but AICc prefers {simple.name}"
    return f"{sentence}: its left-out error is {found}{own}."
