"""For each q the region of (β, ε, δ) whose curves lie in every interval, and its most central curve."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from silo._arrays import IntArray
from silo.curve import SiloCurve
from silo.fit.branch_and_bound import Items
from silo.fit.families import betas_at
from silo.fit.fewest_misses import fewest_misses
from silo.fit.parameter_ranges import Ranges, parameter_ranges
from silo.fit.problem import WITHIN_SLACK, Problem
from silo.fit.widest_margin import EXACT_MARGIN, most_central

Range = tuple[float, float]

# A δ of so many times the other rates bounds nothing: its curve has hardly begun to rise.
_OUT_OF_PROPORTION = 1e3


@dataclass(frozen=True, kw_only=True)
class Region:
    """The parameters that the intervals leave for one q, within the betas that were asked for.

    An end that the grid cut off bounds nothing. The ranges are those of the region's three coordinates: not
    every combination of them is inside. They are reached, and fall short of the truth by at most 1e-6 of
    log β and a share of 1e-4 of ε and δ.

    Attributes:
        q: pruning cycles before the curve starts to rise.
        beta: lowest and highest β of a curve in every interval; None where there is none, which is then
            proven: every β was excluded, not only those of a grid.
        epsilon: lowest and highest ε, learning rates; None where there is none.
        delta: lowest and highest δ, learning rates; the highest is infinite where nothing bounds it.
        curve: the curve in all intervals with the largest distance to their ends; where there is none, the
            one outside the fewest.
        margin: the largest distance to the ends of all intervals that a curve with this q keeps, a learning
            rate of at least 0, with 0 as an end where the lower one is cut off; where none lies in all
            intervals it is below 0, and its size is the smallest worst violation.
        missed_cycles: the cycles whose intervals ``curve`` is outside of; no curve with this q misses fewer.
    """

    q: int
    beta: Range | None
    epsilon: Range | None
    delta: Range | None
    curve: SiloCurve
    margin: float
    missed_cycles: tuple[int, ...]

    @property
    def empty(self) -> bool:
        """Whether no curve with this q lies in every interval."""
        return self.beta is None

    def shown(self, name: str) -> Range | None:
        """The range of ``beta``, ``epsilon`` or ``delta`` as it is to be read.

        A highest δ out of all proportion to the rates is shown as infinite: with β at its bound and few
        cycles beyond q, the curve at the last of them may have made a billionth of its rise.
        """
        ends: Range | None = getattr(self, name)
        if name != "delta" or ends is None or self.epsilon is None:
            return ends
        far = ends[1] > _OUT_OF_PROPORTION * max(ends[0], self.epsilon[1])
        return (ends[0], float("inf")) if far else ends

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: ranges as lists, no bound as null."""
        ranges = {name: getattr(self, name) for name in ("beta", "epsilon", "delta")}
        return {
            "q": self.q,
            "empty": self.empty,
            **{name: None if r is None else [_or_none(end) for end in r] for name, r in ranges.items()},
            "curve": self.curve.to_dict(),
            "margin": self.margin,
            "missed_cycles": list(self.missed_cycles),
        }

    def __str__(self) -> str:
        ranges = {name: self.shown(name) for name in ("beta", "epsilon", "delta")}
        words = [f"{name} {_in_words(ends)}" for name, ends in ranges.items() if ends is not None]
        if not words:
            missed = ", ".join(map(str, self.missed_cycles))
            return f"q={self.q}: none; at least {len(self.missed_cycles)} missed, such as m = {missed}"
        return f"q={self.q}: " + ", ".join(words)


def regions(problem: Problem) -> tuple[Region, ...]:
    """One region per q of the problem, ascending; it is empty exactly if its curve misses an interval."""
    found = parameter_ranges(items_of(problem), problem.beta_bounds)
    central = most_central(problem, found)
    curves = [curve for curve, _ in central]
    outside = np.array([k for k, curve in enumerate(curves) if problem.missed(curve)], dtype=np.intp)
    if outside.size:
        fewest = fewest_misses(items_of(problem, outside), problem.beta_bounds)
        numbers = zip(fewest.beta.tolist(), fewest.epsilon.tolist(), fewest.delta.tolist(), strict=True)
        for k, (beta, epsilon, delta) in zip(outside.tolist(), numbers, strict=True):
            curves[k] = problem.curve(k, beta, epsilon, delta)
    built = []
    for k, (curve, (_, margin)) in enumerate(zip(curves, central, strict=True)):
        missed = problem.missed(curve)
        built.append(
            Region(
                q=problem.q_values[k],
                curve=curve,
                margin=(margin if missed else max(margin, 0.0)) * problem.scale,
                missed_cycles=missed,
                **(
                    {"beta": None, "epsilon": None, "delta": None}
                    if missed
                    else _ranges(problem, found, k, curve)
                ),
            )
        )
    return tuple(built)


def items_of(problem: Problem, q_index: IntArray | None = None) -> Items:
    """The problem once per q, or per index given."""
    index = np.arange(len(problem.q_values)) if q_index is None else q_index
    shape = (index.size, len(problem.intervals))
    return Items(
        logits=problem.logits[index],
        low=np.broadcast_to(problem.low, shape),
        high=np.broadcast_to(problem.high, shape),
        slack=WITHIN_SLACK,
    )


def best_region(problem: Problem, found: tuple[Region, ...]) -> Region:
    """The region whose curve is outside the fewest intervals, then keeps the largest distance to all ends.

    Among equals it is that of the smallest q.
    """
    fewest = min(len(region.missed_cycles) for region in found)
    rivals = [region for region in found if len(region.missed_cycles) == fewest]
    cycles = [interval.cycle for interval in problem.intervals]
    margins = [problem.margin(region.curve.max_lr(cycles) / problem.scale) for region in rivals]
    return next(r for r, margin in zip(rivals, margins, strict=True) if margin >= max(margins) - EXACT_MARGIN)


def _ranges(problem: Problem, found: Ranges, k: int, curve: SiloCurve) -> dict[str, Range]:
    if found.empty[k]:
        # Roundings decide, and have let in one curve alone.
        return {name: (getattr(curve, name),) * 2 for name in ("beta", "epsilon", "delta")}
    log_high, log_low, *others = found.highest[k].tolist()
    delta_high, delta_low, epsilon_high, epsilon_low = (value * problem.scale for value in others)
    lowest, highest = betas_at(np.array([[-log_low], [log_high]]), problem.beta_bounds).tolist()
    # No rate is −0.0.
    return {
        "beta": (lowest, highest),
        "epsilon": (0.0 - epsilon_low, epsilon_high),
        "delta": (0.0 - delta_low, delta_high),
    }


def _or_none(end: float) -> float | None:
    return None if end == float("inf") else end


def _in_words(ends: Range) -> str:
    low, high = ends
    return f"{low:.4g} and above" if high == float("inf") else f"{low:.4g} to {high:.4g}"
