"""A search as tables: for the terminal, for papers, for other programs.

Markdown and LaTeX have the form of Tables 10 and 11 of the SILO paper (arXiv 2212.06144) as long as it is not
too wide; a terminal gets one row per cycle.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dashboards.style import RATE_UNIT_TEXT, density_text, percent_text, rate_text
from dashboards.tables import table as forms
from dashboards.tables.accuracy import WIDEST_PAPER_LAYOUT, accuracy_table
from dashboards.tables.table import (
    Cell,
    Table,
    TerminalTable,
    comment,
    escaped,
    heading_text,
    json_able,
    markdown_grid,
    markdown_text,
    texts,
)
from dashboards.tables.table import latex as latex_table
from oracle.cycles import Candidate, Cycle
from oracle.measure import MAX_LR
from oracle.results import Results
from oracle.results.frames import COLUMNS as FRAMES
from oracle.results.frames import comparison_rows, meanings
from oracle.results.results import Passed
from silo.landscape import Verdict
from silo.measured import CycleInterval, cycles_in_words

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


_CANDIDATE = ("max_lr", "score", "score_std", "test_score", "test_score_std", "diverged")

COLUMNS = FRAMES["intervals"]
"""The columns of :func:`comparison_rows` and of the CSV; rates are as they are, not in units of 1e-2.
Those of scores are named for the metric, here accuracy."""


def comparison_table(
    results: Results,
    *,
    by_row: bool | None = None,
    accuracies: bool = True,
    terminal: bool = False,
    cycles: Collection[int] | None = None,
) -> Table:
    """Optimum, interval and SILO's rates per decided cycle, in the form of the paper's Tables 10 and 11.

    Args:
        results: The search.
        by_row: Whether each cycle is a row, not a column; by default where there are more than
            :data:`~dashboards.tables.accuracy.WIDEST_PAPER_LAYOUT`.
        accuracies: Whether the accuracies at the optimum are shown, too.
        terminal: Whether there is little room: what may be inside is left out, and the validation accuracies,
            of which that of the best is too high by chance.
        cycles: Which cycles are shown; by default all that are decided. The records are of all.
    """
    chosen = [cycles is None or each.cycle in cycles for each in results.decided]
    rows = [row.only(chosen) for row in _rows(results, terminal=terminal) if accuracies or not row.accuracy]
    if by_row is None:
        by_row = sum(chosen) > WIDEST_PAPER_LAYOUT
    if by_row:
        rows[:2] = reversed(rows[:2])
        headers = tuple(row.header for row in rows)
        body = tuple(zip(*(row.cells for row in rows), strict=True))
        align, keys = "r" * len(rows), 2
    else:
        density, *others = rows
        headers = (density.label, *(cell.text for cell in density.cells))
        body = tuple((Cell(text=row.label), *row.cells) for row in others)
        align, keys = "l" + "r" * sum(chosen), 1
    notes = units(results, accuracies=accuracies), *marks(results, rates=True, cycles=cycles)
    return Table(
        title=f"{results.name}: {subject(results)}",
        headers=headers,
        rows=body,
        align=align,
        keys=keys,
        notes=notes if results.decided else (results.verdict(),),
        columns=meanings(results.measure)["intervals"],
        records=tuple(comparison_rows(results)),
    )


def terminal_table(results: Results, cycles: Collection[int] | None = None) -> TerminalTable:
    """One row per cycle, at most 100 columns wide, legible without colour; few chosen ones are columns."""
    by_row = True if cycles is None else None
    table = comparison_table(results, by_row=by_row, terminal=True, cycles=cycles)
    if results.decided:
        table = replace(table, notes=(units(results), *marks(results, rates=False, cycles=cycles)))
    return TerminalTable(table=table)


def markdown(results: Results, cycles: Collection[int] | None = None) -> str:
    """Title, verdict, table (of some cycles alone), and what the marks mean."""
    table = comparison_table(results, cycles=cycles)
    parts = [f"# {heading_text(table.title)}", progress(results), f"**{results.verdict()}**"]
    if results.decided:
        parts.append(markdown_grid(table))
    if results.decided:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def latex(results: Results, cycles: Collection[int] | None = None) -> str:
    """The comparison in the form of the paper's Tables 10 and 11, the accuracies in that of Tables 2 to 7.

    Both are one table where each cycle is a row, or some are chosen. The verdict is a sentence below.
    """
    if not results.decided:
        return comment(f"{results.name}: {results.verdict()}")
    both = len(results.decided) > WIDEST_PAPER_LAYOUT or cycles is not None
    found = [latex_table(comparison_table(results, accuracies=both, cycles=cycles))]
    if not both:
        unit = " (%)" if results.measure.percent else ""
        title = f"{results.name}: {results.measure.label('test')}{unit}"
        found.append(latex_table(replace(accuracy_table([results]), title=title)))
    return "\n".join([comment(progress(results)), *found, f"{escaped(results.verdict())}\n"])


def csv_text(results: Results) -> str:
    """One row per decided cycle, numbers in full precision; :data:`COLUMNS` where accuracy was the metric."""
    return forms.csv_text(meanings(results.measure)["intervals"], comparison_rows(results))


def to_json(results: Results) -> dict[str, Any]:
    """All of a search's comparison, ready for JSON: what is not finite is null, passwords are hidden."""
    rows = [
        {**tidy, "candidates": [_facts(candidate) for candidate in each.candidates]}
        for tidy, each in zip(comparison_rows(results), results.decided, strict=True)
    ]
    data: dict[str, Any] = json_able(
        {
            "name": results.name,
            "verdict": results.verdict(),
            "done": results.done,
            "cycles": results.search_spec.cycles,
            "trials": len(results.outcomes),
            "columns": meanings(results.measure)["intervals"],
            "rows": rows,
            "predicted": results.predicted.to_dict() if results.predicted else None,
            "recommendation": asdict(results.recommendation) if results.recommendation else None,
            "fit": results.point_fit.to_dict() if results.point_fit else None,
            "spec": results.spec,
        }
    )
    return data


def _facts(candidate: Candidate) -> dict[str, Any]:
    return {name: getattr(candidate, name) for name in _CANDIDATE}


@dataclass(frozen=True)
class _Row:
    """One fact of every cycle: its short header, its label in the paper's form, and its cells."""

    header: str
    label: str
    cells: Sequence[Cell]
    accuracy: bool = False

    def only(self, chosen: Sequence[bool]) -> _Row:
        """The row of the chosen cycles."""
        return replace(
            self, cells=[cell for cell, is_chosen in zip(self.cells, chosen, strict=True) if is_chosen]
        )


def _rows(results: Results, *, terminal: bool) -> list[_Row]:
    """The facts of the cycles. Without a search there is no optimum, interval or fit."""
    rate, cycles = f"({RATE_UNIT_TEXT})", results.decided
    place = [
        _Row(
            "weights\nleft λ\n(%)", "λ (% of weights left)", texts(*(density_text(c.density) for c in cycles))
        ),
        _Row("cycle\nm", "pruning cycle m", texts(*(str(cycle.cycle) for cycle in cycles))),
    ]
    measure = results.measure
    accuracies = [texts(*chosen_accuracies(cycle)) for cycle in cycles]
    reached = [
        _Row(
            measure.heading(name),
            f"{measure.label(name)}{' (%)' if measure.percent else ''}",
            [pair[k] for pair in accuracies],
            accuracy=True,
        )
        for k, name in enumerate(("validation", "test"))
        if not (terminal and results.searched and name == "validation")
    ]
    optima = [optimum_cell(cycle) for cycle in cycles]
    if not results.searched:
        return [*place, _Row(f"{MAX_LR}\n{rate}", f"{MAX_LR} {rate}", optima), *reached]
    found = [
        _Row(f"Oracle\noptimum\n{rate}", f"Oracle optimized {measure.searched} {rate}", optima),
        _Row(
            f"Oracle\ninterval\n{rate}",
            f"Oracle optimized interval {rate}",
            [interval_cell(cycle) for cycle in cycles],
        ),
        _Row(
            f"surely\ninside\n{rate}",
            f"surely inside {rate}",
            texts(*(run_text(belief.core()) for belief in results.beliefs)),
        ),
    ]
    if not terminal:
        maybe = texts(*(run_text(belief.reach()) for belief in results.beliefs))
        found.append(_Row(f"maybe\ninside\n{rate}", f"maybe inside {rate}", maybe))
    for header, label, curve in (
        ("predicted", "SILO's estimated max_lr", results.predicted),
        ("fitted", "fitted curve", results.fitted),
    ):
        if curve is not None or (header == "fitted" and results.rates_searched):
            passed = [curve_cell(each) for each in results.along(curve)]
            found.append(_Row(f"SILO\n{header}\n{rate}", f"{label} {rate}", passed))
    return [*place, *found, *reached]
