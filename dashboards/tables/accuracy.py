"""Several searches in one table: test scores by density, as in the paper's Tables 2 to 7."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards.style import density_text, percent_text
from dashboards.tables.table import Cell, Table, TerminalTable, texts
from oracle.measure import BY_ACCURACY, Measure
from oracle.results import Results
from oracle.spec import Spec
from oracle.spec_parts import ComponentSpec
from silo.errors import InvalidInput
from trials.tasks import direction

SAME_DENSITY = 0.02
"""Densities that differ by no more than this share of themselves count as the same."""

_READING = ("root", "download", "stream", "workers")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score at one density.

    Attributes:
        cycle: m; None where it is not known.
        density: Share of the prunable weights that are left, in (0, 1].
        accuracy: Test score, of accuracy in [0, 1], mean over the replicates; NaN where it is missing.
        std: Its standard deviation; None with one replicate.
        max_lr: The peak learning rate; None where it is not known.
    """

    cycle: int | None
    density: float
    accuracy: float
    std: float | None
    max_lr: float | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracySeries:
    """The test scores of one search, or of one method of a paper.

    Attributes:
        name: What it is called.
        points: Ascending by cycle.
        task: What it was trained for; scores of other tasks can't be compared with its own.
        pruning: How it was pruned; lines that were pruned alike are matched by cycle. None: not known.
        decimals: Of its accuracies in %.
        measure: How its scores are compared.
        facts: More about it, by the names that the table's records have; what is not known is left out.
    """

    name: str
    points: tuple[Point, ...]
    task: str
    pruning: object = None
    decimals: int = 2
    measure: Measure = BY_ACCURACY
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A density at which lines are compared.

    Attributes:
        points: One per line; None where a line has nothing there.
    """

    points: tuple[Point | None, ...]

    @property
    def density(self) -> str:
        """λ in %, a range where the lines differ in it."""
        found = [point.density for point in self.points if point]
        low, high = density_text(min(found)), density_text(max(found))
        return low if low == high else f"{low}–{high}"

    @property
    def cycle(self) -> str:
        """m; several where the lines differ in it."""
        found = sorted({point.cycle for point in self.points if point and point.cycle is not None})
        return "/".join(map(str, found)) or "–"


def series_of(searches: Sequence[Results], names: Sequence[str]) -> list[AccuracySeries]:
    """A line per search: the optimum's test scores where it is the Oracle's, else those of its one rate."""
    return [_series(results, name) for results, name in zip(searches, names, strict=True)]


def measure_of(lines: Sequence[AccuracySeries]) -> Measure:
    """The measure that lines have in common; accuracy where there are none.

    Raises:
        InvalidInput: They are judged by different metrics.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        found.setdefault((line.measure.metric.name, line.measure.metric.goal), []).append(line.name)
    if len(found) > 1:
        listed = "; ".join(f"{name} ({goal}): {', '.join(lines)}" for (name, goal), lines in found.items())
        raise InvalidInput(
            f"compare: different metrics can't stand side by side: {listed}: name searches of one metric"
        )
    return lines[0].measure if lines else BY_ACCURACY


def facts_of(spec: Spec) -> dict[str, Any]:
    """A search's network, data and methods, by name."""
    return {
        "network": spec.network.name,
        "dataset": spec.dataset.name,
        "policy": spec.policy.name,
        "pruner": spec.pruning.pruner.name,
        "retraining": spec.retraining,
        "replicates": spec.replicates,
    }


def pruned_alike(lines: Sequence[AccuracySeries]) -> bool:
    """Whether all lines were pruned in the same way, so that their cycles can be compared."""
    return all(line.pruning is not None and line.pruning == lines[0].pruning for line in lines)


def places(lines: Sequence[AccuracySeries]) -> list[Place]:
    """The densities at which lines are compared, from dense to sparse.

    Lines that were pruned alike are matched by cycle. Others are matched by density: each point goes to the
    nearest place that is within :data:`SAME_DENSITY` of it, the closest pairs first, else to one of its own.
    """
    tables = _by_cycle(lines) if pruned_alike(lines) else _by_density(lines)
    found = [Place(points=tuple(table.get(i) for i in range(len(lines)))) for table in tables]
    return sorted(found, key=lambda place: -max(point.density for point in place.points if point))


def _by_cycle(lines: Sequence[AccuracySeries]) -> list[dict[int, Point]]:
    tables: dict[int | None, dict[int, Point]] = {}
    for index, line in enumerate(lines):
        for point in line.points:
            tables.setdefault(point.cycle, {})[index] = point
    return list(tables.values())


def _by_density(lines: Sequence[AccuracySeries]) -> list[dict[int, Point]]:
    tables: list[dict[int, Point]] = []
    for index, line in enumerate(lines):
        densities = [next(iter(table.values())).density for table in tables]
        near = sorted(
            (abs(point.density / density - 1), p, t)
            for p, point in enumerate(line.points)
            for t, density in enumerate(densities)
            if abs(point.density / density - 1) <= SAME_DENSITY
        )
        placed: dict[int, int] = {}
        for _, p, t in near:
            if p not in placed and t not in placed.values():
                placed[p] = t
        for p, point in enumerate(line.points):
            if p in placed:
                tables[placed[p]][index] = point
            else:
                tables.append({index: point})
    return tables


def _series(results: Results, name: str) -> AccuracySeries:
    spec = results.search_spec
    points = tuple(
        Point(
            cycle=each.cycle,
            density=each.density,
            accuracy=each.selected.test_score,
            std=each.selected.test_score_std,
            max_lr=each.chosen,
        )
        for each in results.decided
    )
    return AccuracySeries(
        name=name,
        points=points,
        task=_task(spec.dataset),
        measure=results.measure,
        pruning=spec.pruning,
        facts={"search": spec.name, **facts_of(spec)},
    )


def _task(dataset: ComponentSpec) -> str:
    """A data set without where it lies and how it is read."""
    chosen = {name: value for name, value in dataset.arguments.items() if name not in _READING}
    return " ".join([dataset.name, *([json.dumps(chosen, sort_keys=True, default=repr)] if chosen else [])])


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
    :data:`SAME_DENSITY`; a density that only one has stands alone.

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
