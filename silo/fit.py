"""SILO's four parameters from an Oracle's result, by two criteria: least squares, and the intervals."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from silo._beta_search import beta_grid, first_of_best, valleys
from silo._least_squares import Lines, least_squares
from silo._margin import Margins, largest_margin
from silo._misses import fewest_misses
from silo._notes import notes
from silo._problem import IntArray, Problem, Weighting, make_problem
from silo.curve import FloatArray, SiloCurve
from silo.intervals import CycleInterval

# The paper's defaults, for when there are too few cycles to fit them.
_DEFAULT_Q = 1
_DEFAULT_BETA = 5.0
_FEWEST_CYCLES = 3

# Of rates divided by the highest one: residuals of 1e-10 are as good as none.
_EXACT_LOSS = 1e-20
_EXACT_MARGIN = 1e-12
_RIVAL_RMSE = 1.05
_MISS_GRID_POINTS = 41

_CRITERIA: dict[Weighting, str] = {
    "interval": "least squares of the Oracle's optima, each weighted by 1 / (half its interval's width)²",
    "uniform": "least squares of the Oracle's optima, all weighted alike",
}


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """What the Oracle's intervals say about SILO's curve.

    Attributes:
        curve: the least-squares curve.
        criterion: what ``curve`` minimises, in words.
        weighted_rmse: of ``curve``: the root of the weighted mean squared distance to the optima, a learning
            rate.
        inside: per cycle, whether ``curve`` lies in the interval as stated, as the paper counts.
        hitting: the curve with the largest distance to the ends of all intervals, where one lies in all of
            them; else None. An end that the grid cut off bounds nothing here, nor below.
        margin: that distance, a learning rate of at least 0; where no curve lies in all intervals it is
            below 0, and its size is the smallest worst violation that any curve gets away with.
        fewest_misses: the curve outside the fewest intervals; ``hitting`` where there is one.
        missed_cycles: the cycles whose intervals ``fewest_misses`` is outside of.
        feasible_q: the q for which some curve lies in all intervals, ascending.
        notes: what the data cannot tell, one sentence each.
    """

    curve: SiloCurve
    criterion: str
    weighted_rmse: float
    inside: dict[int, bool]
    hitting: SiloCurve | None
    margin: float
    fewest_misses: SiloCurve
    missed_cycles: tuple[int, ...]
    feasible_q: tuple[int, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: curves as dicts, tuples as lists, ``inside`` by cycles as strings."""
        return {
            "curve": self.curve.to_dict(),
            "criterion": self.criterion,
            "weighted_rmse": self.weighted_rmse,
            "inside": {str(cycle): hit for cycle, hit in self.inside.items()},
            "hitting": self.hitting.to_dict() if self.hitting else None,
            "margin": self.margin,
            "fewest_misses": self.fewest_misses.to_dict(),
            "missed_cycles": list(self.missed_cycles),
            "feasible_q": list(self.feasible_q),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [
            f"SILO curve: {_in_words(self.curve)}",
            f"  {self.criterion}",
            f"  weighted RMSE {self.weighted_rmse:.3g}, inside {sum(self.inside.values())} of "
            f"{len(self.inside)} intervals",
        ]
        if self.hitting:
            values = ", ".join(str(q) for q in self.feasible_q)
            lines.append(f"Inside all intervals, margin {self.margin:.3g}: {_in_words(self.hitting)}")
            lines.append(f"  such curves exist for q = {values}")
        else:
            missed = ", ".join(f"m={cycle}" for cycle in self.missed_cycles)
            lines.append(f"No curve lies in all intervals. Fewest misses: {_in_words(self.fewest_misses)}")
            lines.append(f"  outside at {missed}")
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


def fit_curve(
    intervals: Iterable[CycleInterval],
    *,
    pruning_rate: float,
    q_values: Iterable[int] = range(0, 6),
    beta_bounds: tuple[float, float] = (0.5, 20.0),
    weighting: Weighting = "interval",
) -> CurveFit:
    """Fits SILO's curve (Liu et al., TMLR 08/2023, Equation 3) to an Oracle's optima and to its intervals.

    For fixed q and beta both problems are solved exactly: least squares in closed form, the largest margin
    as a linear program. Over beta a dense grid is searched and every local optimum in it refined; over q all
    are tried. So a curve said to lie in all intervals does, whereas "no curve does" rests on that search.
    Ties (to 1e-12 relative) go to the smaller q, then the smaller beta. ``fewest_misses`` is exact for each
    q and beta of a coarser grid, 41 betas per q with equal ratios and those of the other two criteria.

    With fewer than three cycles the least-squares curve keeps the paper's q = 1 and beta = 5, or what is
    nearest to them in ``q_values`` and ``beta_bounds``; the other two criteria still try them all.

    Args:
        intervals: one per measured cycle, in any order, at least one.
        pruning_rate: p, the share of the remaining weights pruned after each cycle, in (0, 1).
        q_values: the q to try; ints of at least 0.
        beta_bounds: lowest and highest beta to try, both above 0.
        weighting: ``"interval"`` weights an optimum by 1 / (half its interval's width)², where an interval
            without width counts as wide as the narrowest that has one, and none as narrower than 2e-6 of the
            highest rate; ``"uniform"`` weights all alike.

    Raises:
        InvalidInput: a value is missing or outside its range.
    """
    problem = make_problem(intervals, pruning_rate, q_values, beta_bounds, weighting)
    fixed = len(problem.intervals) < _FEWEST_CYCLES
    q_index, betas, lines = _least_squares(problem, fixed)
    best = first_of_best(lines.loss, _EXACT_LOSS)
    curve = problem.curve(int(q_index[best]), float(betas[best]), *_line(lines, best))
    limit = _RIVAL_RMSE**2 * lines.loss[best] + _EXACT_LOSS
    rivals = {problem.q_values[i] for i in q_index[lines.loss <= limit]} - {curve.q}
    rates = curve.max_lr([interval.cycle for interval in problem.intervals])
    reached = _by_intervals(problem, q_index[[best]], betas[[best]])
    fewest = reached.hitting or _fewest_misses(problem, reached)
    return CurveFit(
        curve=curve,
        criterion=_CRITERIA[weighting],
        weighted_rmse=float(np.sqrt(lines.loss[best])) * problem.scale,
        inside={i.cycle: i.contains(rate) for i, rate in zip(problem.intervals, rates.tolist(), strict=True)},
        hitting=reached.hitting,
        margin=reached.margin,
        fewest_misses=fewest,
        missed_cycles=_missed(problem, fewest),
        feasible_q=reached.feasible_q,
        notes=notes(problem, curve, fixed=fixed, rivals=sorted(rivals)),
    )


def _least_squares(problem: Problem, fixed: bool) -> tuple[IntArray, FloatArray, Lines]:
    """The local minima over q and beta, sorted by q, then beta: indices of q, betas and lines."""

    def lines(q_index: IntArray, betas: FloatArray) -> Lines:
        return least_squares(problem.shapes(q_index, betas), problem.optima, problem.weights)

    if fixed:
        nearest_q = min(problem.q_values, key=lambda q: abs(q - _DEFAULT_Q))
        q_index = np.array([problem.q_values.index(nearest_q)])
        betas = np.clip([_DEFAULT_BETA], *problem.beta_bounds)
    else:
        q_index, betas = valleys(lambda i, b: lines(i, b).loss, len(problem.q_values), problem.beta_bounds)
    return q_index, betas, lines(q_index, betas)


@dataclass(frozen=True, kw_only=True)
class _ByIntervals:
    """``hitting``, ``margin`` and ``feasible_q`` of a CurveFit, and the q (by index) and betas tried last."""

    hitting: SiloCurve | None
    margin: float
    feasible_q: tuple[int, ...]
    q_index: IntArray
    betas: FloatArray


def _by_intervals(problem: Problem, q_index: IntArray, betas: FloatArray) -> _ByIntervals:
    """The curve of the largest margin; ``q_index`` and ``betas`` are tried besides what the search finds."""

    def margins(q_index: IntArray, betas: FloatArray) -> Margins:
        flat = float(problem.optima.max())
        return largest_margin(problem.shapes(q_index, betas), *problem.outermost_ends(), flat)

    found = valleys(lambda i, b: -margins(i, b).margin, len(problem.q_values), problem.beta_bounds)
    q_index, betas = np.concatenate([found[0], q_index]), np.concatenate([found[1], betas])
    order = np.lexsort((betas, q_index))
    q_index, betas = q_index[order], betas[order]
    best = margins(q_index, betas)
    curves = [problem.curve(int(q_index[k]), float(betas[k]), *_line(best, k)) for k in range(betas.size)]
    hits = np.array([not _missed(problem, curve) for curve in curves])
    first = first_of_best(np.where(hits | ~hits.any(), -best.margin, np.inf), _EXACT_MARGIN)
    epsilon, delta = _line(best, first)
    margin = problem.margin(epsilon + delta * problem.shapes(q_index, betas)[first])
    return _ByIntervals(
        hitting=curves[first] if hits[first] else None,
        margin=(max(margin, 0.0) if hits[first] else margin) * problem.scale,
        feasible_q=tuple(sorted({curve.q for curve, hit in zip(curves, hits, strict=True) if hit})),
        q_index=q_index,
        betas=betas,
    )


def _fewest_misses(problem: Problem, tried: _ByIntervals) -> SiloCurve:
    q_index, betas = beta_grid(len(problem.q_values), problem.beta_bounds, _MISS_GRID_POINTS)
    q_index, betas = np.concatenate([q_index, tried.q_index]), np.concatenate([betas, tried.betas])
    row, epsilon, delta = fewest_misses(problem.shapes(q_index, betas), *problem.outermost_ends())
    return problem.curve(int(q_index[row]), float(betas[row]), epsilon, delta)


def _missed(problem: Problem, curve: SiloCurve) -> tuple[int, ...]:
    cycles = [interval.cycle for interval in problem.intervals]
    rates = curve.max_lr(cycles).tolist()
    return tuple(i.cycle for i, rate in zip(problem.intervals, rates, strict=True) if not i.compatible(rate))


def _line(solutions: Lines | Margins, k: int) -> tuple[float, float]:
    return float(solutions.epsilon[k]), float(solutions.delta[k])


def _in_words(curve: SiloCurve) -> str:
    return (
        f"q={curve.q}, beta={curve.beta:.4g}, epsilon={curve.epsilon:.4g}, delta={curve.delta:.4g} "
        f"(pruning rate {curve.pruning_rate:g})"
    )
