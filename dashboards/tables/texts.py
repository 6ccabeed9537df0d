"""The words and marks of a search's tables, the same in a terminal, in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dashboards.style import percent_text, rate_text
from dashboards.tables.table import Cell
from oracle.cycles import Cycle
from oracle.results import Results
from oracle.results.results import Passed
from silo.intervals import CycleInterval, cycles_in_words
from silo.landscape import Verdict

INSIDE, OUTSIDE, UNKNOWN = "✓", "✗", "?"
MARKS: dict[Verdict, str] = {"inside": INSIDE, "outside": OUTSIDE, "unknown": UNKNOWN}
_DENSE_FROM = 0.05
"""Share of all parameters that aren't prunable from which on λ tells little of the whole network."""

BELOW, ABOVE, BEYOND_GAP, DIVERGED = "≤", "≥", "†", "‡"


def interval_text(interval: CycleInterval) -> str:
    """``[3.6, 4.2]``; ``≤`` or ``≥`` where the grid ended."""
    low = (BELOW if interval.low_cut else "") + rate_text(interval.low)
    high = (ABOVE if interval.high_cut else "") + rate_text(interval.high)
    return f"[{low}, {high}]"


def subject(results: Results) -> str:
    """The subject of a page about a search."""
    if results.searched and not results.rates_searched:
        return f"the Oracle of {results.measure.searched}"
    return "the Oracle and SILO" if results.searched else f"policy {results.search_spec.policy.name}"


def progress(results: Results) -> str:
    """Progress of the search, as sentences."""
    count = results.search_spec.cycles
    cycles = "1 cycle" if count == 1 else f"{count} cycles"
    trials = "1 trial" if len(results.outcomes) == 1 else f"{len(results.outcomes):,} trials"
    return f"{len(results.decided)} of {cycles} decided, {trials} finished."


def units(results: Results, *, accuracies: bool = True) -> str:
    """The meaning of the numbers, as sentences."""
    replicates = results.search_spec.replicates
    deviation = f", mean ± standard deviation of {replicates} replicates" if replicates > 1 else ""
    measure, tolerance = results.measure, str(results.measure)
    sentence = f"λ: share of the prunable weights that is left{_of_all(results)}. Rates in units of 1e-2. "
    if results.searched:
        interval = f"within {tolerance} of the best mean {measure.label('validation')}, a point estimate"
        if results.policy.selective:
            interval = f"the rates that are likelier within {tolerance} of the best than not"
        sentence += (
            f"Interval: {interval}. Surely inside: with a chance of 0.9. {INSIDE} within {tolerance} of the "
            f"best with a chance of 0.9, {OUTSIDE} not within it with that chance, {UNKNOWN} these trainings "
            "can't tell. "
        )
    where = " of the networks that were pruned next" if results.searched else ""
    if not accuracies:
        return sentence.strip()
    what = f"Accuracies{where} in %" if measure.percent else f"Scores: {measure.metric.name}{where}"
    less = ", the less the better" if measure.metric.goal == "min" else ""
    return f"{sentence}{what}{deviation}{less}."


def _of_all(results: Results) -> str:
    """The share of the whole network, where that is quite another: some of it is kept, or never pruned."""
    rows = [row for row in results.decided if row.density < 1]
    if not rows or (dense := 1 - (1 - rows[-1].density_all) / (1 - rows[-1].density)) < _DENSE_FROM:
        return ""
    return (
        f"; {percent_text(dense)} of the parameters are none of these, so that at cycle {rows[-1].cycle} "
        f"{percent_text(rows[-1].density_all)} of the whole network are left"
    )


def marks(results: Results, *, rates: bool, cycles: Collection[int] | None = None) -> list[str]:
    """The meaning of the marks in the table, one sentence per mark that occurs.

    Args:
        results: The search.
        rates: Whether the rates beyond a gap are listed.
        cycles: Which cycles are shown; None for all.
    """
    rows = [row for row in results.decided if cycles is None or row.cycle in cycles]
    found = []
    cut = [row for row in rows if row.interval.low_cut or row.interval.high_cut]
    if cut and results.searched:
        found.append(f"{BELOW} {ABOVE} The grid ended here: the interval may reach further ({_where(cut)}).")
    if apart := [row for row in rows if row.detached]:
        tolerance = str(results.measure)
        listed = "; ".join(_beyond_gap(row) for row in apart) if rates else _where(apart)
        found.append(f"{BEYOND_GAP} Rates beyond a gap are within {tolerance} of the best too ({listed}).")
    others = [row for row in rows if results.searched and row.chosen != row.interval.optimum]
    if earlier := [row for row in others if row.choice.rule == "point"]:
        found.append(
            "Pruned next were the networks that had the best mean of the replicates that there were then "
            f"({_where(earlier)})."
        )
    if others := [row for row in others if row.choice.rule == "posterior"]:
        listed = "; ".join(f"cycle {row.cycle}: {rate_text(row.chosen)}" for row in others)
        found.append(
            "Pruned next were not the optimum's networks, but those that are expected to lose least "
            f"({listed if rates else _where(others)})."
        )
    if diverged := [row for row in rows if row.best.diverged]:
        found.append(f"{DIVERGED} At least one replicate diverged at the optimum ({_where(diverged)}).")
    return found


def optimum_cell(cycle: Cycle) -> Cell:
    """The optimum, marked if a replicate diverged there."""
    return Cell(text=rate_text(cycle.interval.optimum) + (DIVERGED if cycle.best.diverged else ""))


def interval_cell(cycle: Cycle) -> Cell:
    """The interval, its cut ends and rates beyond a gap marked."""
    return Cell(text=interval_text(cycle.interval) + (BEYOND_GAP if cycle.detached else ""))


def curve_cell(passed: Passed) -> Cell:
    """A curve's rate and whether it is inside; nothing without a curve."""
    if passed.rate is None:
        return Cell(text="")
    assert passed.loss is not None, "a curve that has a rate was judged"
    return Cell(text=rate_text(passed.rate), mark=MARKS[passed.loss.verdict])


def run_text(run: tuple[float, float] | None) -> str:
    """``[3.6, 4.2]``; – where there is none."""
    return "–" if run is None else f"[{rate_text(run[0])}, {rate_text(run[1])}]"


def chosen_accuracies(cycle: Cycle) -> tuple[str, str]:
    """Validation and test score at the rate whose networks are pruned next."""
    best = cycle.selected
    text = cycle.measure.text
    return text(best.score, best.score_std), text(best.test_score, best.test_score_std)


def _where(rows: Sequence[Cycle]) -> str:
    return cycles_in_words([row.cycle for row in rows])


def _beyond_gap(row: Cycle) -> str:
    return f"cycle {row.cycle}: {', '.join(rate_text(rate) for rate in row.detached)}"
