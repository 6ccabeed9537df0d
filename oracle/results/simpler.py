"""Rates that follow from less than a search of every cycle: what each would lose, and how much it takes.

Each is judged by what the search's trainings tell, so by networks that were pruned along the search's own
choices: what a network that was pruned along other rates would need is not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from silo.fit import fit_curve
from silo.landscape import JudgedCurve

if TYPE_CHECKING:
    from oracle.results.results import Results


@dataclass(frozen=True, kw_only=True)
class SimplerRates:
    """A rule that sets a rate for each cycle.

    Attributes:
        name: What it does.
        rates: Its rate in each decided cycle that says something.
        trainings: How many it takes: those of the cycles that it searches, and one for each replicate in the
            others.
        judged: What it loses.
    """

    name: str
    rates: tuple[float, ...]
    trainings: int
    judged: JudgedCurve


def simpler_rates(results: Results) -> Iterator[SimplerRates]:
    """The rules, from the one that takes the fewest trainings; none where nothing can be compared."""
    told = [each for each in results.beliefs if not each.silent]
    if len(told) < 2 or not results.rates_searched:
        return
    found = [each for each in _rules(results) if each.judged.known]
    yield from sorted(found, key=lambda each: each.trainings)


def _rules(results: Results) -> Iterator[SimplerRates]:
    best = {each.cycle: float(each.rates[each.optimum()]) for each in results.beliefs if not each.silent}
    cycles = sorted(best)
    before = {cycles[0]: cycles[0], **dict(pairwise(reversed(cycles)))}
    dense, sparse = best[cycles[0]], best[cycles[-1]]
    everything = [each.cycle for each in results.decided]
    yield from _rule(results, "one rate: the dense network's best", lambda m: dense, cycles[:1])
    yield from _rule(results, "one rate: the sparsest network's best", lambda m: sparse, cycles[-1:])
    yield from _rule(results, "the best rate of the cycle before", lambda m: best[before[m]], everything)
    if results.predicted is not None:
        yield from _rule(results, "SILO with the spec's numbers", results.predicted.max_lr, [])
    intervals = results.intervals_fitted
    even, odd = ([each for each in intervals if each.cycle % 2 == fold] for fold in range(2))
    if even and odd:
        others = [fit_curve(part, **results.pruned).curve for part in (odd, even)]
        name = "SILO fitted to every other cycle, judged at the rest"
        yield from _rule(results, name, lambda m: others[m % 2].max_lr(m), everything[::2])
    if results.distributions:
        notes = zip(results.distributions, results.diagnosed, strict=True)
        predicted = {each.cycle: rate for each, rate in notes}
        name = "updates as wide as with the dense network's best"
        yield from _rule(results, name, lambda m: predicted.get(m, math.nan), cycles[:1])
    yield from _rule(results, "this search", lambda m: results.rates[m], everything)


def _rule(
    results: Results, name: str, rate: Callable[[int], float], searched: Iterable[int]
) -> Iterator[SimplerRates]:
    judged = results.judged(rate)
    if judged is None or not all(map(math.isfinite, judged.rates)):
        return
    known = {*searched}
    yield SimplerRates(
        name=name,
        rates=tuple(judged.rates.tolist()),
        trainings=sum(
            len(each.trials) if each.cycle in known else len(each.selected.trials) for each in results.decided
        ),
        judged=judged,
    )
