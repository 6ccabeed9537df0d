"""SILO's four parameters from an Oracle's result: by least squares, and by the intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from silo import checks
from silo.curve import SiloCurve
from silo.fit.least_squares import (
    EXACT_LOSS,
    Family,
    Members,
    Problem,
    Targets,
    Weighting,
    curves_of,
    free_part,
    losses,
    make_problem,
    minima,
    silo_family,
)
from silo.fit.regions import DrawnFits, Region, best_region, drawn_fits, regions
from silo.landscape import learn
from silo.landscape.model import SAMPLES
from silo.measured import TOLERANCE, CycleAccuracies, CycleInterval, intervals_and_accuracies

# A bound of beta counts as reached within this share of it.
_AT_BOUND = 1e-6
# A parameter whose highest value is more than so many times its lowest is called unidentified.
_WIDE = 2.0
# Learning rates are seldom above this.
_HIGHEST_USUAL = 1.0


@dataclass(frozen=True, kw_only=True)
class Near:
    """The curves that fit the optima about as well as the least-squares curve.

    Attributes:
        q: the q of such curves, ascending.
        beta: the lowest and highest beta of such curves.
    """

    q: tuple[int, ...]
    beta: tuple[float, float]


def notes(
    problem: Problem, curve: SiloCurve, regions: Sequence[Region], *, fixed: Sequence[str], near: Near
) -> tuple[str, ...]:
    """The sentences that hold for the least-squares ``curve`` and for the regions.

    Args:
        problem: what was fitted.
        curve: the least-squares curve.
        regions: one per q.
        fixed: which of q and beta were set, for want of cycles.
        near: what fits about as well.
    """
    return (
        *_count(problem, curve, fixed),
        *_cuts(problem),
        *_densities(problem),
        *_units(problem),
        *_shape(problem, curve, "beta" in fixed),
        *_near(curve, near),
        *_unidentified(problem, [region for region in regions if not region.empty]),
    )


def _count(problem: Problem, curve: SiloCurve, fixed: Sequence[str]) -> list[str]:
    n = len(problem.intervals)
    cycles = "1 cycle" if n == 1 else f"{n} cycles"
    if fixed:
        given = [f"{name} = {getattr(curve, name):g}" for name in fixed] + ["delta = 0"] * (n == 1)
        fitted = [name for name in ("beta", "epsilon", "delta") if name not in fixed][: max(n, 1)]
        return [
            f"{cycles} cannot fix four parameters: {_joined(given)} {'are' if len(given) > 1 else 'is'} set, "
            f"and only {_joined(fitted)} fitted."
        ]
    if n == 4:
        return [f"{cycles} for four parameters leave nothing to test the curve with: a good fit says little."]
    return []


def _cuts(problem: Problem) -> list[str]:
    low = [interval.cycle for interval in problem.intervals if interval.low_cut]
    high = [interval.cycle for interval in problem.intervals if interval.high_cut]
    n = len(problem.intervals)
    if len(low) == len(high) == n:
        return [
            "The grid's edges cut off every interval at both ends: nothing bounds the curve. Widen the grid."
        ]
    found = []
    for cut, edge, side in ((low, "lower", "below"), (high, "upper", "above")):
        if len(cut) == n:
            found.append(
                f"The grid's {edge} edge cuts off every interval: nothing bounds the curve from {side}. "
                "Widen the grid."
            )
        elif cut:
            found.append(
                f"The grid's {edge} edge cuts off the interval of {_named(cut)}: nothing bounds the curve "
                f"from {side} there."
            )
    return found


def _densities(problem: Problem) -> list[str]:
    if not problem.densities:
        return []
    return [
        f"Other shares of the weights were pruned than {problem.pruning_rate:.3g} each time: SILO's curves "
        "go by the densities that there were."
    ]


def _units(problem: Problem) -> list[str]:
    if min(interval.low for interval in problem.intervals) > _HIGHEST_USUAL:
        return [
            "Every rate is above 1: if they are in units of 1e-2, as in the paper's tables, multiply them by "
            "1e-2."
        ]
    return []


def _shape(problem: Problem, curve: SiloCurve, fixed: bool) -> list[str]:
    cycles = [interval.cycle for interval in problem.intervals]
    if len(cycles) == 1:
        return []
    beyond = sum(cycle > curve.q for cycle in cycles)
    if not beyond:
        return [
            f"No measured cycle lies beyond q = {curve.q}: beta and delta cannot be told; delta is set to 0."
        ]
    if curve.delta == 0:
        return ["The optima do not rise with the cycles: delta is 0, so q and beta mean nothing."]
    found = []
    if not fixed and beyond == 1:
        found.append(
            f"Only one measured cycle lies beyond q = {curve.q}: beta and delta cannot be told apart, and "
            "the smallest allowed beta is taken."
        )
    elif not fixed:
        for bound, word in zip(problem.beta_bounds, ("gentler", "steeper"), strict=True):
            if abs(curve.beta - bound) <= _AT_BOUND * bound:
                found.append(f"beta is at its bound {bound:g}: a {word} curve may fit better.")
    first, last = ((curve.max_lr(m) - curve.epsilon) / curve.delta for m in (cycles[0], cycles[-1]))
    if last < 0.5:
        found.append(
            f"At the last measured cycle, {cycles[-1]}, the curve has made {last:.1%} of its rise: delta is "
            "an extrapolation. Measure later cycles."
        )
    if first > 0.5:
        found.append(
            f"At the first measured cycle, {cycles[0]}, the curve has already made {first:.1%} of its rise: "
            "epsilon is an extrapolation. Measure earlier cycles."
        )
    return found


def _near(curve: SiloCurve, near: Near) -> list[str]:
    if curve.delta == 0:
        return []
    found = []
    if others := [str(q) for q in near.q if q != curve.q]:
        found.append(
            f"q is not determined by the optima: with q = {', '.join(others)} the RMSE is within 5 % of that "
            f"with q = {curve.q}."
        )
    low, high = near.beta
    if high > _WIDE * low:
        found.append(
            f"beta is not determined by the optima: from {low:.3g} to {high:.3g} the RMSE is within 5 % of "
            f"that with beta = {curve.beta:.3g}."
        )
    return found


def _unidentified(problem: Problem, regions: Sequence[Region]) -> list[str]:
    """The parameters that curves in all intervals may choose freely."""
    found = []
    if len(regions) > 1:
        values = ", ".join(str(region.q) for region in regions)
        found.append(f"q is unidentified by the intervals: q = {values} each have a curve in all of them.")
    for name in ("beta", "epsilon", "delta"):
        ranges = [ends for region in regions if (ends := region.shown(name)) is not None]
        if not ranges:
            continue
        low, high = min(ends[0] for ends in ranges), max(ends[1] for ends in ranges)
        if math.isinf(high):
            found.append(
                f"{name} is unidentified by the intervals: nothing bounds it from above (the lowest is "
                f"{low:.3g})."
            )
        elif high > _WIDE * low:
            bound = ", its bounds" if name == "beta" and (low, high) == problem.beta_bounds else ""
            found.append(
                f"{name} is unidentified by the intervals: curves in all of them have any from {low:.3g} to "
                f"{high:.3g}{bound}."
            )
    return found


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _named(cycles: Sequence[int]) -> str:
    return f"cycle{'s' if len(cycles) > 1 else ''} {', '.join(str(cycle) for cycle in cycles)}"


_RIVAL_RMSE = 1.05

_CRITERIA: dict[Weighting, str] = {
    "interval": "least squares of the Oracle's optima, each weighted by 1 / (half its interval's width)²",
    "uniform": "least squares of the Oracle's optima, all weighted alike",
}


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """SILO's curve as the Oracle's intervals have it: fitted, bounded, and what they cannot tell of it.

    Attributes:
        curve: the least-squares curve.
        criterion: what ``curve`` minimises, in words.
        weighted_rmse: of ``curve``: the root of the weighted mean squared distance to the optima, a learning
            rate.
        inside: per cycle, whether ``curve`` lies in the interval as stated, as the paper counts.
        best: the region of the q whose curve keeps to the intervals best: of those with a curve in all
            intervals the one with the largest margin, else the one with the fewest misses.
        regions: for each q that was tried, ascending, what the intervals leave of beta, epsilon and delta.
        notes: what the data cannot tell, one sentence each.
        drawn: the fits to draws of what the trainings tell; None without their accuracies.
    """

    curve: SiloCurve
    criterion: str
    weighted_rmse: float
    inside: dict[int, bool]
    best: Region
    regions: tuple[Region, ...]
    notes: tuple[str, ...]
    drawn: DrawnFits | None = None

    @property
    def hitting(self) -> SiloCurve | None:
        """The curve with the largest distance to the ends of all intervals, where one lies in all of them.

        An end that the grid cut off bounds nothing here, nor below; but as rates are positive, 0 counts as an
        end where the lower one is cut off.
        """
        return None if self.best.empty else self.best.curve

    @property
    def margin(self) -> float:
        """The distance of ``hitting`` to the nearest end, a learning rate of at least 0.

        In place of a lower end that the grid cut off, 0 counts. Where no curve lies in all intervals it is
        below 0, and its size is the smallest worst violation that any curve gets away with.
        """
        return max(region.margin for region in self.regions)

    @property
    def fewest_misses(self) -> SiloCurve:
        """The curve outside the fewest intervals; ``hitting`` where there is one."""
        return self.best.curve

    @property
    def closest(self) -> str:
        """The kind of ``fewest_misses`` in words: ``inside all`` intervals, or with the ``fewest misses``."""
        return "inside all" if self.hitting else "fewest misses"

    @property
    def missed_cycles(self) -> tuple[int, ...]:
        """The cycles whose intervals ``fewest_misses`` is outside of."""
        return self.best.missed_cycles

    @property
    def feasible_q(self) -> tuple[int, ...]:
        """The q for which some curve lies in all intervals, ascending."""
        return tuple(region.q for region in self.regions if not region.empty)

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
            "regions": [region.to_dict() for region in self.regions],
            "notes": list(self.notes),
            "drawn": self.drawn.to_dict() if self.drawn else None,
        }

    def __str__(self) -> str:
        lines = [
            f"SILO curve: {_in_words(self.curve)}",
            f"  {self.criterion}",
            f"  weighted RMSE {self.weighted_rmse:.3g}, inside {sum(self.inside.values())} of "
            f"{len(self.inside)} intervals",
        ]
        if self.hitting:
            lines.append(f"Inside all intervals, margin {self.margin:.3g}: {_in_words(self.hitting)}")
            lines.append("  all such curves lie within:")
            alike: dict[str, list[str]] = {}
            for region in self.regions:
                found = "none" if region.empty else str(region).partition(": ")[2]
                alike.setdefault(found, []).append(str(region.q))
            for found in sorted(alike, key=lambda found: found == "none"):
                lines.append(f"  q={', '.join(alike[found])}: {found}")
        else:
            missed = ", ".join(f"m={cycle}" for cycle in self.missed_cycles)
            lines.append(f"No curve lies in all intervals. Fewest misses: {_in_words(self.fewest_misses)}")
            lines.append(f"  outside at {missed}")
        if self.drawn:
            lines.append(str(self.drawn))
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


def fit_curve(
    measured: Iterable[CycleInterval] | Iterable[CycleAccuracies],
    *,
    pruning_rate: float,
    q_values: Iterable[int] = range(0, 6),
    beta_bounds: tuple[float, float] = (0.5, 20.0),
    weighting: Weighting = "interval",
    tolerance: float = TOLERANCE,
    draws: int = 300,
    densities: Sequence[float] = (),
) -> CurveFit:
    """Fits SILO's curve (Liu et al., TMLR 08/2023, Equation 3) to an Oracle's optima and to its intervals.

    Two criteria, both over all q and beta. Least squares is solved in closed form for fixed q and beta; over
    beta a dense grid is searched and every local minimum in it refined. What the intervals allow is found by
    branch and bound over beta: the region's ranges, that there is none, and the fewest misses are proven for
    every beta between the bounds. What counts as inside is what ``CycleInterval.compatible`` says, and wider
    bounds never empty a region nor add misses. The largest margin in a region
    is a linear program for fixed q and beta, searched over beta as least squares are. Ties (to 1e-12
    relative) go to the smaller q, then the smaller beta.

    No more parameters are fitted by least squares than there are cycles: with three, q is the paper's 1, with
    two, beta is its 5 as well (or what is nearest to them in ``q_values`` and ``beta_bounds``), and with one
    delta is 0. The other criterion still tries them all.

    Args:
        measured: per measured cycle its optimum and interval, or its accuracies, from which those and the
            confidence come (``silo.landscape``); in any order, at least one cycle.
        pruning_rate: p, the share of the remaining weights pruned after each cycle, in (0, 1).
        q_values: the q to try; ints of at least 0.
        beta_bounds: lowest and highest beta to try, both above 0.
        weighting: ``"interval"`` weights an optimum by 1 / (half its interval's width)², where an interval
            without width counts as wide as the narrowest that has one, and none as narrower than 2e-6 of the
            highest rate; ``"uniform"`` weights all alike.
        tolerance: of the intervals, where accuracies are given: how far below the best mean accuracy still
            counts as good; an absolute share.
        draws: of what the accuracies tell, each with a fit of its own; 0 for none.
        densities: shares of the weights left at cycles 0, 1, …, where other shares than p were pruned: the
            curve then goes by them, as ``SiloCurve.densities`` says.

    Raises:
        InvalidInput: a value is missing or outside its range.
    """
    checks.whole("draws", draws)
    intervals, accuracies = intervals_and_accuracies(measured, tolerance)
    problem = make_problem(intervals, pruning_rate, q_values, beta_bounds, weighting, densities)
    searched, fixed = free_part(problem, len(problem.intervals))
    targets = Targets(optima=problem.optima[None], weights=problem.weights[None])
    family = silo_family(searched.logits, searched.beta_bounds)
    members = minima(family, targets)
    best = members.best(EXACT_LOSS)
    curve = curves_of(searched, best)[0]
    rates = curve.max_lr([interval.cycle for interval in problem.intervals])
    found = regions(problem)
    return CurveFit(
        curve=curve,
        criterion=_CRITERIA[weighting],
        weighted_rmse=float(np.sqrt(best.fits.loss[0])) * problem.scale,
        inside={i.cycle: i.contains(rate) for i, rate in zip(problem.intervals, rates.tolist(), strict=True)},
        best=best_region(problem, found),
        regions=found,
        notes=notes(
            problem, curve, found, fixed=fixed, near=_near_curves(family, targets, members, searched)
        ),
        drawn=_drawn(problem, accuracies, weighting, tolerance, draws),
    )


def _drawn(
    problem: Problem,
    accuracies: tuple[CycleAccuracies, ...],
    weighting: Weighting,
    tolerance: float,
    draws: int,
) -> DrawnFits | None:
    if not accuracies or draws == 0:
        return None
    return drawn_fits(
        learn(accuracies, tolerance=tolerance, samples=max(SAMPLES, draws)),
        pruning_rate=problem.pruning_rate,
        draws=draws,
        q_values=problem.q_values,
        beta_bounds=problem.beta_bounds,
        weighting=weighting,
        densities=problem.densities,
    )


def _near_curves(family: Family, targets: Targets, members: Members, problem: Problem) -> Near:
    """The curves that fit about as well, of the grid over q and beta and of the minima."""
    branches, places = family.grid()
    loss = losses(family.shapes(branches, places), targets.optima, targets.weights, family.kind)[0]
    limit = _RIVAL_RMSE**2 * members.fits.loss.min() + EXACT_LOSS
    # Losses on the grid come from moments, whose roundings must not make a q look good.
    near, fine = loss <= limit, members.fits.loss <= limit
    exact = np.isin(branches, members.branch[fine])
    betas = np.concatenate([places[near & exact, 0], members.place[fine, 0]])
    return Near(
        q=tuple(problem.q_values[k] for k in np.unique(members.branch[fine])),
        beta=(float(np.exp(betas.min())), float(np.exp(betas.max()))),
    )


def _in_words(curve: SiloCurve) -> str:
    return (
        f"q={curve.q}, beta={curve.beta:.4g}, epsilon={curve.epsilon:.4g}, delta={curve.delta:.4g} "
        f"(pruning rate {curve.pruning_rate:g})"
    )
