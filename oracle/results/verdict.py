"""A search's verdict, in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from silo.errors import InvalidInput

if TYPE_CHECKING:
    from oracle.results.results import Results


def verdict(results: Results, *, fitted: bool) -> str:
    """Two or three sentences; without ``fitted`` those that need no fit, which takes a while."""
    if not results.decided:
        return "No cycle is decided yet."
    if not results.searched:
        sentence = f"Policy {results.search_spec.policy.name}: one rate per cycle, nothing is searched."
        return " ".join([sentence, *_at_chance(results)])
    said = [*_of_prediction(results), *(_of_fit(results) if fitted else []), *_reservations(results)]
    return " ".join(said)


def cycles_in_words(cycles: Sequence[int]) -> str:
    """``cycle 3`` or ``cycles 3, 7 and 9``."""
    if not cycles:
        raise InvalidInput("no cycles to name")
    if len(cycles) == 1:
        return f"cycle {cycles[0]}"
    return f"cycles {', '.join(map(str, cycles[:-1]))} and {cycles[-1]}"


def _of_prediction(results: Results) -> list[str]:
    if results.predicted is None:
        return []
    missed, count = results.missed(results.predicted), len(results.decided)
    sentence = f"SILO's predicted curve lies in {count - len(missed)} of {count} Oracle optimized intervals"
    return [f"{sentence}; it misses {cycles_in_words(missed)}." if missed else f"{sentence}."]


def _of_fit(results: Results) -> list[str]:
    assert results.fit is not None, "a search with decided cycles has one"
    if results.fit.hitting is not None:
        return ["A SILO curve that lies in every interval exists."]
    missed, count = results.fit.missed_cycles, len(results.decided)
    return [
        f"No SILO curve lies in every interval; the best lies in {count - len(missed)} of "
        f"{count} and misses {cycles_in_words(missed)}."
    ]


def _reservations(results: Results) -> list[str]:
    """Reasons to doubt the intervals."""
    found = _at_chance(results)
    cut = [each.cycle for each in results.decided if each.interval.low_cut or each.interval.high_cut]
    if cut:
        found.append(f"The grid's edge cuts off the interval of {cycles_in_words(cut)}: widen the grid.")
    diverged = [each.cycle for each in results.decided if each.best.diverged]
    if diverged:
        found.append(f"Even the optimum of {cycles_in_words(diverged)} diverged in a replicate.")
    return found


def _at_chance(results: Results) -> list[str]:
    """Names the cycles in which nothing was learned, so that every rate is as good as any other."""
    cycles = results.at_chance
    if results.chance is None or not cycles:
        return []
    level = f"better than chance ({100 * results.chance.accuracy:.3g} %)"
    if not results.searched:
        return [f"At {cycles_in_words(cycles)} the network was not trained {level}."]
    nothing = "its interval says" if len(cycles) == 1 else "their intervals say"
    return [f"At {cycles_in_words(cycles)} no rate trained the network {level}: {nothing} nothing."]
