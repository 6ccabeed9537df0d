"""Random small searches: every shape that a first try can have. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from oracle.ledger import Run
from oracle.measure import Chance
from oracle.results import Results
from oracle.search import Search
from oracle.session import search_rules
from oracle.spec import Spec
from oracle.testing.replay import replay
from tests.oracle.invented import make_record, noted
from trials.tasks import Trial

_LEVELS = st.integers(0, 20).map(lambda level: level / 20) | st.floats(0, 1)
"""Accuracies: of few values, so that there are ties, or any."""


@st.composite
def specs(draw: Any) -> Spec:
    """Specs that make sense, among them those that make next to none."""
    rates = st.floats(-5, 1).map(lambda power: float(f"{10**power:.3g}"))
    values = sorted(draw(st.sets(rates, min_size=2, max_size=5)))
    grid: dict[str, Any] = {"values": values, "extend": draw(st.booleans()), "limit": draw(st.integers(1, 3))}
    grid["scale"] = draw(st.sampled_from(["log", "linear"]))
    policies: list[Any] = (
        ["oracle"] * 4 + ["adaptive"] * 2 + [{"name": "fixed", "arguments": {"max_lr": 0.05}}]
    )
    curve = draw(
        st.none()
        | st.fixed_dictionaries(
            {
                "q": st.integers(0, 4),
                "beta": st.floats(0.3, 30),
                "epsilon": st.floats(1e-6, 1),
                "delta": st.floats(0, 1),
            }
        )
    )
    policy = draw(st.sampled_from(policies + (["silo"] if curve else [])))
    tolerances = [0.005, 0.05, 0.9] + ([0.0] if policy == "oracle" else [])
    return Spec.model_validate(
        {
            "name": draw(st.sampled_from(["fuzz", "A.b_c-d", "x" * 63])),
            "network": "fc",
            "dataset": "digits",
            "training": {"epochs": 1},
            "pruning": {"rate": draw(st.sampled_from([0.2, 0.01, 0.5, 0.95]))},
            "cycles": draw(st.integers(1, 5)),
            "replicates": draw(st.integers(1, 3)),
            "grid": grid,
            "tolerance": draw(st.sampled_from(tolerances)),
            "decide": draw(st.sampled_from(["posterior", "point"])) if policy == "oracle" else "posterior",
            "policy": policy,
            "silo": curve,
        }
    )


@st.composite
def small_searches(draw: Any) -> Results:
    """Results of random accuracies: done, broken off anywhere, all diverged, or told by nobody."""
    spec = draw(specs())
    rules = search_rules(spec, make_record(spec))
    levels, broken = draw(st.lists(_LEVELS, min_size=1, max_size=6)), draw(st.integers(0, 3)) == 0
    salt = draw(st.integers(0, 1000))

    def accuracy(cycle: int, replicate: int, max_lr: float) -> float:
        return levels[hash((cycle, replicate, max_lr, salt)) % len(levels)]

    diverged, diagnosed = draw(st.integers(0, 3)), draw(st.integers(0, 3)) == 0

    def change(trial: Trial) -> Trial:
        found = noted(trial) if diagnosed else trial
        gone = diverged == 3 or (diverged == 2 and trial.max_lr >= 0.1)
        return replace(found, diverged=gone, ended=found.started + draw(st.sampled_from([0.0, 3.0])))

    whole, search = replay(rules, accuracy), Search(rules)
    cut = draw(st.integers(0, spec.cycles)) if broken else spec.cycles
    left = [trial for trial in whole.outcomes() if trial.cycle < cut]
    left += [trial for trial in whole.outcomes() if trial.cycle == cut][: draw(st.integers(0, 3))]
    prunings = [pruned for cycle in range(min(cut + 1, spec.cycles)) for pruned in whole.prunings(cycle)]
    search.restore([change(trial) for trial in left], prunings)
    chances = st.none() | st.just(Chance(classes=10, validation=200))
    run = Run(driver="ray", host="here", started=1e9, ended=None, state="running", error=None, versions={})
    found = Results.of(
        spec, search, runs=draw(st.sampled_from([(), (run,)])), draws=draw(st.sampled_from([0, 5]))
    )
    return replace(
        found, chance=draw(chances), execution=draw(st.sampled_from([None, make_record(spec).execution]))
    )
