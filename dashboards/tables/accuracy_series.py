"""Test scores of searches by density, and which densities of several searches belong side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards.style import density_text
from oracle.measure import BY_ACCURACY, Measure
from oracle.results import Results
from oracle.spec import Spec
from oracle.spec_parts import ComponentSpec
from silo.errors import InvalidInput

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
