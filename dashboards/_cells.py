"""The words and marks of the comparison's tables, the same in a terminal, in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.style import accuracy_text, density_text, percent_text, rate_text
from oracle.comparison import Comparison, CycleRow, cycles_in_words
from silo.intervals import CycleInterval

INSIDE, OUTSIDE = "✓", "✗"
BELOW, ABOVE, BEYOND_GAP, DIVERGED = "≤", "≥", "†", "‡"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The texts of one cycle. Rates are in units of 1e-2, densities and accuracies in %.

    Attributes:
        cycle: m.
        density: Share of the prunable weights that are left.
        optimum: Oracle optimized max_lr, marked if a replicate diverged.
        interval: Oracle optimized interval, its cut ends and what lies beyond a gap marked.
        validation: Validation accuracy at the optimum.
        test: Test accuracy at the optimum.
        predicted: SILO's rate; empty without a prediction.
        predicted_inside: Whether it lies in the interval; empty without a prediction.
        fitted: The fitted curve's rate.
        fitted_inside: Whether it lies in the interval.
    """

    cycle: str
    density: str
    optimum: str
    interval: str
    validation: str
    test: str
    predicted: str
    predicted_inside: str
    fitted: str
    fitted_inside: str


def cells(comparison: Comparison) -> tuple[Cells, ...]:
    """The texts of every decided cycle."""
    return tuple(_cells(row) for row in comparison.rows)


def interval_text(interval: CycleInterval) -> str:
    """``[3.6, 4.2]``; ``≤`` or ``≥`` where the grid ended."""
    low = (BELOW if interval.low_cut else "") + rate_text(interval.low)
    high = (ABOVE if interval.high_cut else "") + rate_text(interval.high)
    return f"[{low}, {high}]"


def subject(comparison: Comparison) -> str:
    """What a page about the comparison is about."""
    return "the Oracle and SILO" if comparison.spec.searched else f"policy {comparison.spec.policy.name}"


def progress(comparison: Comparison) -> str:
    """How far the search has come."""
    cycles = "1 cycle" if comparison.cycles == 1 else f"{comparison.cycles} cycles"
    trials = "1 trial" if comparison.trials == 1 else f"{comparison.trials:,} trials"
    return f"{len(comparison.rows)} of {cycles} decided, {trials} finished."


def units(comparison: Comparison, *, accuracies: bool = True) -> str:
    """What the numbers mean, as sentences."""
    replicates = comparison.spec.replicates
    deviation = f", mean ± standard deviation of {replicates} replicates" if replicates > 1 else ""
    tolerance = percent_text(comparison.spec.tolerance)
    sentence = "λ: share of the prunable weights that is left. Rates in units of 1e-2. "
    if comparison.spec.searched:
        sentence += (
            f"Interval: within {tolerance} of the best validation accuracy; {INSIDE} inside it, "
            f"{OUTSIDE} outside. "
        )
    where = " of the optimum" if comparison.spec.searched else ""
    return f"{sentence}Accuracies{where} in %{deviation}." if accuracies else sentence.strip()


def marks(comparison: Comparison, *, rates: bool) -> list[str]:
    """What the marks in the table mean, one sentence per mark that occurs.

    Args:
        comparison: The comparison.
        rates: Whether the rates beyond a gap are listed.
    """
    rows = comparison.rows
    found = []
    cut = [row for row in rows if row.interval.low_cut or row.interval.high_cut]
    if cut and comparison.spec.searched:
        found.append(
            f"{BELOW} {ABOVE} The grid ended here: the interval may reach further; rates beyond it count "
            f"as outside ({_where(cut)})."
        )
    if apart := [row for row in rows if row.detached]:
        tolerance = percent_text(comparison.spec.tolerance)
        listed = "; ".join(_beyond_gap(row) for row in apart) if rates else _where(apart)
        found.append(f"{BEYOND_GAP} Rates beyond a gap are within {tolerance} of the best too ({listed}).")
    if diverged := [row for row in rows if row.best.diverged]:
        found.append(f"{DIVERGED} At least one replicate diverged at the optimum ({_where(diverged)}).")
    return found


def _cells(row: CycleRow) -> Cells:
    best = row.best
    return Cells(
        cycle=str(row.interval.cycle),
        density=density_text(row.density),
        optimum=rate_text(row.interval.optimum) + (DIVERGED if best.diverged else ""),
        interval=interval_text(row.interval) + (BEYOND_GAP if row.detached else ""),
        validation=accuracy_text(best.accuracy, best.accuracy_std),
        test=accuracy_text(best.test_accuracy, best.test_accuracy_std),
        predicted="" if row.predicted is None else rate_text(row.predicted),
        predicted_inside=_inside(row.predicted_inside),
        fitted="" if row.fitted is None else rate_text(row.fitted),
        fitted_inside=_inside(row.fitted_inside),
    )


def _inside(inside: bool | None) -> str:
    if inside is None:
        return ""
    return INSIDE if inside else OUTSIDE


def _where(rows: Sequence[CycleRow]) -> str:
    return cycles_in_words([row.interval.cycle for row in rows])


def _beyond_gap(row: CycleRow) -> str:
    return f"cycle {row.interval.cycle}: {', '.join(rate_text(rate) for rate in row.detached)}"
