"""Results of invented accuracies: nothing is trained, and what is computed of them is for all tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from oracle.policies import OraclePolicy
from oracle.results import Results
from oracle.search import Rules, Search
from oracle.spec import Spec
from oracle.testing.replay import Accuracy, replay

CENTERS = (0.034, 0.038, 0.046, 0.056, 0.062)
GRID = {"low": 0.02, "high": 0.076, "step": 0.002, "scale": "linear"}
SILO = {"q": 1, "beta": 5, "epsilon": 0.03, "delta": 0.04}


def parabola(cycle: int, replicate: int, max_lr: float) -> float:
    """Peaks at the cycle's center; three steps of 0.002 to either side are within 0.005."""
    return 0.9 - 0.01 * cycle - 100 * (max_lr - CENTERS[cycle % 5]) ** 2 + 0.001 * (replicate - 1)


def make_spec(**fields: Any) -> Spec:
    """A spec of five cycles on the paper's kind of grid."""
    given = {
        "name": "parabola",
        "network": "fc",
        "dataset": "digits",
        "cycles": 5,
        "grid": GRID,
        "silo": SILO,
    }
    return Spec.model_validate({**given, "training": {"epochs": 1}, **fields})


def rules_of(spec: Spec) -> Rules:
    """The rules of a spec, its grid searched whatever its policy: accuracies are then those of an optimum."""
    return Rules(
        policy=OraclePolicy(grid=spec.grid.grid()),
        cycles=spec.cycles,
        replicates=spec.replicates,
        tolerance=spec.tolerance,
    )


@pytest.fixture(scope="session")
def make_search() -> Callable[..., tuple[Spec, Search]]:
    """Spec and search; ``decided`` cuts it off after so many cycles, ``diverged`` marks every trial so."""

    def make(
        accuracy: Accuracy = parabola, *, decided: int | None = None, diverged: bool = False, **fields: Any
    ) -> tuple[Spec, Search]:
        spec = make_spec(**fields)
        whole = replay(rules_of(spec), accuracy)
        search = Search(rules_of(spec))
        count = spec.cycles if decided is None else decided
        search.restore(
            [replace(trial, diverged=diverged) for trial in whole.outcomes() if trial.cycle < count],
            [pruned for cycle in range(count) for pruned in whole.prunings(cycle)],
        )
        return spec, search

    return make


@pytest.fixture(scope="session")
def make_results(make_search: Callable[..., tuple[Spec, Search]]) -> Callable[..., Results]:
    """Results without fits to draws; takes what ``make_search`` takes, and gives what it has made before."""
    made: dict[str, Results] = {}

    def make(*accuracies: Accuracy, **fields: Any) -> Results:
        if accuracies:
            return Results.of(*make_search(*accuracies, **fields), draws=0)
        if (known := repr(fields)) not in made:
            made[known] = Results.of(*make_search(**fields), draws=0)
        return made[known]

    return make


def renamed(results: Results, name: str) -> Results:
    """The same under a name that no spec file can have."""
    return replace(results, search_spec=results.search_spec.model_copy(update={"name": name}))


def with_parts(results: Results, **parts: Any) -> Results:
    """The same with parts that are computed elsewhere, such as ``policy_costs``."""
    changed = replace(results)
    vars(changed).update(parts)
    return changed


@pytest.fixture(scope="session")
def results(make_results: Callable[..., Results]) -> Results:
    """Five cycles, all decided."""
    return make_results()


def two_peaks(cycle: int, replicate: int, max_lr: float) -> float:
    """One peak at the grid's lower end, one as good beyond a gap; nothing moves."""
    return 0.8 if max_lr in (0.01, 0.02, 0.08) else 0.7


@pytest.fixture(scope="session")
def marked(make_results: Callable[..., Results]) -> Results:
    """One cycle and one replicate with every mark: cut off below, as good beyond a gap, diverged."""
    grid = {"values": [0.01, 0.02, 0.04, 0.08, 0.16], "extend": False}
    return make_results(two_peaks, diverged=True, cycles=1, replicates=1, grid=grid, silo=None)


@pytest.fixture(scope="session")
def undecided(make_results: Callable[..., Results]) -> Results:
    """A search that has just begun."""
    return make_results(decided=0)


@pytest.fixture(scope="session")
def hopeless(make_results: Callable[..., Results]) -> Results:
    """Two cycles in which everything diverges."""
    grid = {"low": 0.01, "high": 1.0, "points": 3, "limit": 2}
    return make_results(lambda *_: 0.1, diverged=True, cycles=2, grid=grid)


@pytest.fixture(scope="session")
def long(make_results: Callable[..., Results]) -> Results:
    """More cycles than a table has columns for."""
    return make_results(cycles=25)


@pytest.fixture(params=["results", "marked", "undecided", "hopeless", "long"])
def any_results(request: pytest.FixtureRequest) -> Results:
    """Each kind of results."""
    return request.getfixturevalue(request.param)
