"""The tables of the SILO paper, beside what this package computes for them.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144.
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.style import RATE_UNIT_TEXT, density_text, percent_text, rate_text
from dashboards.tables.accuracy import NOT_COMPARED, AccuracySeries, Point, accuracy_table
from dashboards.tables.comparison import INSIDE, OUTSIDE, interval_text
from dashboards.tables.table import Cell, Table, texts
from silo.errors import InvalidInput
from silo.fit import fit_curve
from silo.measured import TOLERANCE, cycles_in_words
from silo.paper import AccuracyRow, AccuracyTable, OracleTable, load_table

_RATE = f"({RATE_UNIT_TEXT})"
_RATE_COLUMNS = {
    "cycle": "m, that whose density is nearest to the printed one",
    "density": "printed share of the weights that is left, in (0, 1]",
    "optimum": "printed Oracle optimized max_lr",
    "low": "lower end of the printed Oracle optimized interval",
    "high": "its upper end",
    "silo_printed": "max_lr that the paper prints for SILO",
    "silo_printed_inside": "whether it lies in [low, high]",
    "silo_computed": "max_lr of SILO's curve (Equation 3) with the numbers that the paper states",
    "silo_computed_inside": "whether it lies in [low, high]",
    "fitted": "max_lr of the curve that least squares fit to the printed optima",
    "fitted_inside": "whether it lies in [low, high]",
}


def paper_table(number: int) -> Table:
    """A table of the paper: the printed numbers, and for Tables 10 and 11 what SILO's equation gives.

    Args:
        number: 2 to 14.

    Raises:
        InvalidInput: There is no such table.
    """
    table = load_table(number)
    if isinstance(table, OracleTable):
        return _rates(table)
    found = accuracy_table([], also=_lines(table), by_row=False)
    notes = [note for note in found.notes if note != NOT_COMPARED]
    if table.network is None:
        notes.append("Each network is compared with itself alone.")
    if table.dense_accuracy_percent is not None:
        notes.append(f"The dense network reaches {table.dense_accuracy_percent:g} %.")
    return replace(found, title=_title(table), notes=tuple(notes))


def paper_series(number: int) -> list[AccuracySeries]:
    """The methods of one of the paper's tables of accuracies, to stand beside searches.

    Raises:
        InvalidInput: There is no such table, or it has no accuracies.
    """
    table = load_table(number)
    if isinstance(table, OracleTable):
        raise InvalidInput(
            f"compare: the paper's Table {number} has rates, no accuracies, and stands alone: give one of "
            "Tables 2 to 9 and 12 to 14"
        )
    return [replace(line, name=f"{line.name} [Table {number}]") for line in _lines(table)]


def _lines(table: AccuracyTable) -> list[AccuracySeries]:
    rows: dict[str, list[AccuracyRow]] = {}
    for row in table.rows:
        rows.setdefault(_name(row, table), []).append(row)
    return [_line(name, found, table) for name, found in rows.items()]


def _name(row: AccuracyRow, table: AccuracyTable) -> str:
    network = "" if table.network else f"{row.network}, "
    numbers = "" if row.q is None or row.beta is None else f" (q = {row.q}, β = {row.beta:g})"
    return f"{network}{row.method}{numbers}"


def _line(name: str, rows: list[AccuracyRow], table: AccuracyTable) -> AccuracySeries:
    points = tuple(
        Point(
            cycle=row.cycle,
            density=_share(row.density_percent),
            accuracy=_share(row.accuracy_percent),
            std=_share(row.std_percent),
        )
        for row in rows
    )
    task = table.dataset.lower().replace("-", "")
    facts = {
        "network": rows[0].network,
        "dataset": table.dataset,
        "policy": rows[0].method,
        "pruner": table.pruner,
    }
    return AccuracySeries(
        name=name,
        points=points,
        task=task if table.network else f"{task} {rows[0].network}",
        decimals=1,
        facts=facts,
    )


def _rates(table: OracleTable) -> Table:
    """The form of the printed table, with two more rows: the equation's rates and those of the fit."""
    fit = fit_curve(table.intervals, pruning_rate=table.curve.pruning_rate)
    intervals = table.intervals
    computed = [table.curve.max_lr(interval.cycle) for interval in intervals]
    fitted = [fit.curve.max_lr(interval.cycle) for interval in intervals]
    rates = {"silo_printed": table.printed_silo, "silo_computed": computed, "fitted": fitted}
    labels = {
        "silo_printed": f"SILO's estimated max_lr, printed {_RATE}",
        "silo_computed": f"SILO's estimated max_lr, computed {_RATE}",
        "fitted": f"fitted curve {_RATE}",
    }
    inside = {
        name: [i.contains(rate) for i, rate in zip(intervals, found, strict=True)]
        for name, found in rates.items()
    }
    densities = [_share(density) for density in table.densities]
    return Table(
        title=_title(table),
        headers=("λ (% of weights left)", *map(density_text, densities)),
        rows=(
            texts("pruning cycle m", *(str(i.cycle) for i in intervals)),
            texts(f"Oracle optimized max_lr {_RATE}", *(rate_text(i.optimum) for i in intervals)),
            texts(f"Oracle optimized interval {_RATE}", *map(interval_text, intervals)),
            *(
                (Cell(text=labels[name]), *map(_rate_cell, found, inside[name]))
                for name, found in rates.items()
            ),
        ),
        align="l" + "r" * len(intervals),
        notes=_rates_notes(table),
        columns=_RATE_COLUMNS,
        records=tuple(
            {
                "cycle": interval.cycle,
                "density": densities[k],
                **{name: getattr(interval, name) for name in ("optimum", "low", "high")},
                **{
                    key: value
                    for name in rates
                    for key, value in ((name, rates[name][k]), (f"{name}_inside", inside[name][k]))
                },
            }
            for k, interval in enumerate(intervals)
        ),
    )


def _rates_notes(table: OracleTable) -> tuple[str, ...]:
    curve, missed, n = table.curve, table.missed_cycles, len(table.intervals)
    found = f"it misses {cycles_in_words(missed)}" if missed else "it misses none"
    return (
        f"Rates in units of 1e-2. Interval: within {percent_text(TOLERANCE)} of the best validation "
        f"accuracy; {INSIDE} inside it, {OUTSIDE} outside.",
        "Printed: as in the paper, which labels columns by λ alone, and rounds some of SILO's rates and cuts "
        f"off others. Computed: its Equation 3 with q = {curve.q:g}, β = {curve.beta:g}, "
        f"ε = {rate_text(curve.epsilon)}, δ = {rate_text(curve.delta)}. Fitted: least squares of the printed "
        "optima.",
        f"SILO's printed rate lies in {n - len(missed)} of {n} intervals: {found}.",
    )


def _share(percent: float) -> float:
    """Without the noise that dividing by 100 leaves in the last digits."""
    return round(percent / 100, 12)


def _rate_cell(rate: float, inside: bool) -> Cell:
    return Cell(text=rate_text(rate), mark=INSIDE if inside else OUTSIDE)


def _title(table: OracleTable | AccuracyTable) -> str:
    return f"Table {table.number} of the SILO paper: {table.caption}"
