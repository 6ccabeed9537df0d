"""Several searches in one table: test scores by density, as in the paper's Tables 2 to 7."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dashboards.style import percent_text
from dashboards.tables.accuracy_series import (
    SAME_DENSITY,
    AccuracySeries,
    Place,
    Point,
    measure_of,
    places,
    pruned_alike,
    series_of,
)
from dashboards.tables.forms import TerminalTable
from dashboards.tables.table import Cell, Table, texts
from oracle.measure import BY_ACCURACY, Measure
from oracle.results import Results
from trials.recipe import direction

WIDEST_PAPER_LAYOUT = 8
"""With more cycles or densities than this, a table has a row for each."""

_COLUMNS = {
    "search": "its name",
    "network": "what was pruned",
    "dataset": "what it was trained for",
    "policy": "what set max_lr: oracle, silo, fixed or allr; a paper's schedule",
    "pruner": "how the weights to prune were chosen",
    "retraining": "what a pruned network started from",
    "replicates": "independent seeds",
    "cycle": "m, how often the network has been pruned",
    "density": "share of the prunable weights that is left, in (0, 1], mean over the replicates",
    "max_lr": "peak learning rate; the Oracle's optimum where one was searched",
    "test_{key}_mean": "{range}, mean over the replicates",
    "test_{key}_std": "its sample standard deviation; empty with one replicate",
    "best": "whether its mean, as printed, is the best of several searches on the same data at this density",
}
"""Columns, named for the metric: see :meth:`oracle.measure.Measure.named`."""

_NOT_COMPARED = "{Scores} on different data are not compared."
NOT_COMPARED = BY_ACCURACY.named(_NOT_COMPARED)

_NOTHING = "–"


def accuracy_table(
    searches: Sequence[Results], *, also: Sequence[AccuracySeries] = (), by_row: bool | None = None
) -> Table:
    """Test accuracy of searches, or another metric, against density: the paper's Tables 2 to 7.

    It is that of the optimum where a search is the Oracle's, with its standard deviation over the
    replicates. The best mean of a density is bold; means that are equal as printed all are. Searches on
    different data don't compete, and where there is nothing to compete with, nothing is bold.

    Searches that were pruned alike are matched by cycle, others by the nearest density within
    :data:`~dashboards.tables.accuracy_series.SAME_DENSITY`; a density that only one has stands alone.

    Args:
        searches: The searches; their names lose what all begin with.
        also: What is to stand beside them, such as the lines of ``dashboards.tables.paper``.
        by_row: Whether each density is a row, not a column; by default where there are more than
            :data:`WIDEST_PAPER_LAYOUT`.

    Raises:
        InvalidInput: They are judged by different metrics.
    """
    lines = [*series_of(searches, short_names([found.name for found in searches])), *also]
    measure, found = measure_of(lines), places(lines)
    best = [_best(place, lines) for place in found]
    grid = [
        [_cell(place.points[i], line, i in won) for i, line in enumerate(lines)]
        for place, won in zip(found, best, strict=True)
    ]
    if by_row is None:
        by_row = len(found) > WIDEST_PAPER_LAYOUT
    if by_row:
        headers = ("m", "λ (%)", *(line.name for line in lines))
        rows = [(*texts(place.cycle, place.density), *row) for place, row in zip(found, grid, strict=True)]
        align, keys = "r" * len(headers), 2
    else:
        headers = ("λ (% of weights left)", *(place.density for place in found))
        rows = [texts("pruning cycle m", *(place.cycle for place in found))]
        rows += [(Cell(text=line.name), *(row[i] for row in grid)) for i, line in enumerate(lines)]
        align, keys = "l" + "r" * len(found), 1
    return Table(
        title="Test accuracy (%)" if measure.percent else measure.label("Test"),
        headers=headers,
        rows=tuple(rows),
        align=align,
        keys=keys,
        notes=tuple(_notes(lines, found, measure)),
        bold_means="the best mean of a density, as printed" if any(best) else "",
        columns=_columns(measure),
        records=tuple(_records(lines, found, best, measure)),
    )


def side_by_side(searches: Sequence[Results]) -> TerminalTable:
    """The same for a terminal, one row per density; the best of a row has a ``*``."""
    return TerminalTable(table=accuracy_table(searches, by_row=True))


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin with, up to a dot: ``a.x`` and ``a.y`` are ``x`` and ``y``.

    A dot inside a number ends nothing: ``a.lr0.1`` and ``a.lr0.2`` are ``lr0.1`` and ``lr0.2``, ``net1.0``
    and ``net1.5`` stay whole.
    """
    parted = [name.split(".") for name in names]
    alike = [len(set(parts)) == 1 for parts in zip(*parted, strict=False)] if len(names) > 1 else []
    for count in range((*alike, False).index(False), 0, -1):
        rests = [".".join(parts[count:]) for parts in parted]
        if all(rest and not rest[0].isdigit() for rest in rests):
            return rests
    return list(names)


def _best(place: Place, lines: Sequence[AccuracySeries]) -> set[int]:
    """Which lines have the best mean of their task, as printed; none where one is alone."""
    means: dict[str, dict[int, float]] = {}
    for i, (point, line) in enumerate(zip(place.points, lines, strict=True)):
        if point is not None and not math.isnan(point.accuracy):
            mean = direction(line.measure.metric) * float(_mean(point, line))
            means.setdefault(line.task, {})[i] = mean
    rivals = [found for found in means.values() if len(found) > 1]
    return {i for found in rivals for i, mean in found.items() if mean == max(found.values())}


def _cell(point: Point | None, line: AccuracySeries, best: bool) -> Cell:
    if point is None:
        return Cell(text=_NOTHING)
    text = line.measure.text(point.accuracy, point.std, decimals=line.decimals)
    return Cell(text=text, bold=best)


def _mean(point: Point, line: AccuracySeries) -> str:
    return line.measure.text(point.accuracy, decimals=line.decimals)


def _columns(measure: Measure) -> dict[str, str]:
    return {measure.named(name): measure.named(meaning) for name, meaning in _COLUMNS.items()}


ACCURACY_COLUMNS = _columns(BY_ACCURACY)
"""The columns of :func:`accuracy_table`'s records and of ``compare.csv``, of searches judged by accuracy;
empty where it is not known."""


def _notes(lines: Sequence[AccuracySeries], found: Sequence[Place], measure: Measure) -> list[str]:
    if not found:
        return ["No cycle is decided yet."]
    spread = any(point.std is not None for line in lines for point in line.points)
    notes = [
        "λ: share of the prunable weights that is left."
        + (" Mean ± standard deviation of the replicates." if spread else "")
    ]
    if measure.metric.goal == "min":
        notes.append(f"The less {measure.metric.name}, the better.")
    if len(lines) > 1 and not pruned_alike(lines) and any(line.pruning for line in lines):
        notes.append(
            "Not all were pruned alike: they are matched by density, where theirs differ by no more than "
            f"{percent_text(SAME_DENSITY)}."
        )
    if len({line.task for line in lines}) > 1:
        notes.append(measure.named(_NOT_COMPARED))
    return notes


def _records(
    lines: Sequence[AccuracySeries], found: Sequence[Place], best: Sequence[set[int]], measure: Measure
) -> list[dict[str, object]]:
    return [
        {
            **dict.fromkeys(_columns(measure)),
            "search": line.name,
            **line.facts,
            "cycle": point.cycle,
            "density": point.density,
            "max_lr": point.max_lr,
            f"test_{measure.key}_mean": None if math.isnan(point.accuracy) else point.accuracy,
            f"test_{measure.key}_std": point.std,
            "best": i in won,
        }
        for i, line in enumerate(lines)
        for place, won in zip(found, best, strict=True)
        if (point := place.points[i]) is not None
    ]
