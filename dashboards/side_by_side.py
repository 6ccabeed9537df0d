"""Several searches in one table: test accuracy by density, as in the paper's Tables 2 to 7."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from dashboards.style import accuracy_text, density_text
from oracle.comparison import Comparison, CycleRow


def side_by_side(comparisons: Sequence[Comparison]) -> Table:
    """One row per cycle, one column per search; the best of a row stands in bold with a ``*``.

    The accuracy is that on the test split, of the optimum where a search is the Oracle's, with its standard
    deviation over the replicates. A cycle that a search has not decided is a ``–``.
    """
    names = short_names([comparison.name for comparison in comparisons])
    table = Table(
        title=Text("Test accuracy (%)", style="bold"),
        caption=Text(
            "λ: share of the prunable weights that is left. Mean"
            + (" ± standard deviation of the replicates" if _spread(comparisons) else "")
            + "; * the best of a row."
        ),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    for header in ("m", "λ (%)", *names):
        table.add_column(header, justify="right", no_wrap=True)
    for cycle, rows in _by_cycle(comparisons):
        best = max(row.best.test_accuracy for row in rows if row is not None)
        density = next(row.density for row in rows if row is not None)
        cells = [_cell(row, comparison, best) for row, comparison in zip(rows, comparisons, strict=True)]
        table.add_row(str(cycle), density_text(density), *cells)
    return table


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin with, up to a dot: ``a.x`` and ``a.y`` are ``x`` and ``y``."""
    stems = {name.rpartition(".")[0] for name in names}
    if len(names) > 1 and len(stems) == 1 and stems != {""}:
        return [name.rpartition(".")[2] for name in names]
    return list(names)


def _by_cycle(comparisons: Sequence[Comparison]) -> list[tuple[int, list[CycleRow | None]]]:
    tables = [{row.interval.cycle: row for row in comparison.rows} for comparison in comparisons]
    cycles = sorted({cycle for table in tables for cycle in table})
    return [(cycle, [table.get(cycle) for table in tables]) for cycle in cycles]


def _cell(row: CycleRow | None, comparison: Comparison, best: float) -> Text:
    if row is None:
        return Text("–")
    text = accuracy_text(
        row.best.test_accuracy, row.best.test_accuracy_std, replicates=comparison.spec.replicates
    )
    return Text(f"{text} *", style="bold") if row.best.test_accuracy == best else Text(f"{text}  ")


def _spread(comparisons: Sequence[Comparison]) -> bool:
    return any(comparison.spec.replicates > 1 for comparison in comparisons)
