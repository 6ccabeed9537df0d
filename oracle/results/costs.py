"""Costs of the ways to set the rates on one search's network, and the scores that they reach."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from oracle.cycles import Candidate, Cycle
from oracle.measure import BY_ACCURACY, Measure
from silo.cost import silo_cost, silo_tuning_cost
from silo.curve import SiloCurve
from silo.measured import ROUNDING
from trials.tasks import Trial

_POLICIES = {
    "oracle": "Oracle",
    "adaptive": "adaptive Oracle",
    "edge": "edge rule",
    "silo": "SILO's curve",
    "fixed": "one fixed rate",
    "allr": "ALLR",
}
_SHARED_OUT = "hours by the Oracle's mean worker time per training of each cycle, in packs as it trained them"
_NEAREST = (
    "{scores} are those of the Oracle's candidate nearest to the curve's rate, on the network that the "
    "Oracle pruned; none where the curve is more than a step outside the grid"
)


@dataclass(frozen=True, kw_only=True)
class PolicyCost:
    """One way to set the rates: its cost on this search's network, and the scores that it reaches.

    Attributes:
        policy: What sets the rates, in a few words.
        trainings: Networks that are trained in all decided cycles and replicates.
        worker_hours: Hours of one worker that they take.
        measured: Whether it was run; else it is estimated from the trainings of the Oracle.
        test_accuracies: Per decided cycle, mean test score over the replicates; None where it is not known.
        explanation: Where the numbers come from, in a sentence.
        by_replicate: Per decided cycle, replicate to test score; empty where it is not known.
    """

    policy: str
    trainings: int
    worker_hours: float
    measured: bool
    test_accuracies: tuple[float | None, ...]
    explanation: str
    by_replicate: tuple[Mapping[int, float], ...] = ()


def worker_seconds(trials: Iterable[Trial]) -> float:
    """Seconds that workers were busy with some trials. A pack's time is that of its trials together: once."""
    packs = {(t.worker, t.cycle, t.replicate, t.started): t.lasted for t in trials}
    return math.fsum(packs.values())


def shared_cycles(costs: Iterable[PolicyCost]) -> tuple[int, ...]:
    """The cycles whose test score is known of every policy that has any: there they can be compared."""
    known = [
        {cycle for cycle, score in enumerate(cost.test_accuracies) if score is not None} for cost in costs
    ]
    found = [cycles for cycles in known if cycles]
    return tuple(sorted(set.intersection(*found))) if found else ()


def mean_test_accuracy(cost: PolicyCost, cycles: Iterable[int]) -> float | None:
    """The mean of its test scores over some cycles; None where none is known."""
    known = [share for cycle in cycles if (share := cost.test_accuracies[cycle]) is not None]
    return math.fsum(known) / len(known) if known else None


def test_accuracy_error(cost: PolicyCost, cycles: Iterable[int]) -> float | None:
    """Standard error over the replicates, those known at all of some cycles, of its mean over these.

    None with fewer than two of them.
    """
    known = [cost.by_replicate[cycle] for cycle in cycles] if cost.by_replicate else []
    shared = sorted(set.intersection(*map(set, known))) if known else []
    means = [math.fsum(each[replicate] for each in known) / len(known) for replicate in shared]
    return statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None


def policy_costs(
    cycles: Sequence[Cycle],
    *,
    policy: str,
    grid: Sequence[float] | None,
    known: SiloCurve | None,
    fitted: SiloCurve | None,
) -> tuple[PolicyCost, ...]:
    """The cost of a search as it was run; of the Oracle's also what SILO and a hill climb would have cost.

    Where trainings were left out, what all of them would have cost stands in the hill climb's place.

    Args:
        cycles: The decided cycles, ascending from 0.
        policy: The spec's policy.
        grid: The candidates of every cycle, extensions aside; None where nothing was searched.
        known: SILO's curve with the spec's numbers; None without them.
        fitted: The curve that was fitted to the cycles; None without a fit.
    """
    if not cycles:
        return ()
    if grid is None:
        return (_as_run(cycles, _POLICIES.get(policy, policy), "."),)
    name = _POLICIES.get(policy, policy)
    found = [_as_run(cycles, name, ", the grid's extensions included.")]
    if known or fitted:
        found.append(_silo_known(cycles, known, fitted))
    if fitted:
        found.append(_silo_tuned(cycles, len(grid), fitted))
    left_out = any(len(each.trials) < len(each.grid) * _replicates(cycles) for each in cycles)
    found.append(_exhaustive(cycles, len(grid)) if left_out else _hill_climb(cycles, grid))
    named = cycles[0].measure.named
    return tuple(replace(cost, explanation=named(cost.explanation)) for cost in found)


def _as_run(cycles: Sequence[Cycle], policy: str, ending: str) -> PolicyCost:
    trials = [trial for each in cycles for trial in each.trials]
    return PolicyCost(
        policy=policy,
        trainings=len(trials),
        worker_hours=worker_seconds(trials) / 3600,
        measured=True,
        **_reached([each.selected for each in cycles]),
        explanation="As it was run: the time of each pack of trainings, without the writing of its files"
        + ending,
    )


def _silo_known(cycles: Sequence[Cycle], known: SiloCurve | None, fitted: SiloCurve | None) -> PolicyCost:
    curve = known or fitted
    assert curve is not None, "one of two is there"
    replicates = _replicates(cycles)
    numbers = "the spec's numbers" if known else "the numbers fitted here, had they been known"
    return PolicyCost(
        policy="SILO, parameters known",
        trainings=silo_cost(len(cycles), replicates).trainings,
        worker_hours=_hours(cycles, [replicates] * len(cycles)),
        measured=False,
        **_reached(_along(curve, cycles)),
        explanation=f"Estimated with {numbers}, one training per cycle and replicate: {_SHARED_OUT}; "
        f"{_NEAREST}.",
    )


def _silo_tuned(cycles: Sequence[Cycle], values: int, fitted: SiloCurve) -> PolicyCost:
    """Section 4.3 of the SILO paper: ε by the dense network, then δ by chains that part after cycle q."""
    count, replicates = len(cycles), _replicates(cycles)
    shared = min(fitted.q, count - 1)
    per_cycle = [values * replicates, *[replicates] * shared, *[values * replicates] * (count - 1 - shared)]
    return PolicyCost(
        policy="SILO, ε and δ tuned",
        trainings=silo_tuning_cost(values, count, replicates, q_values=(fitted.q,)).trainings,
        worker_hours=_hours(cycles, per_cycle),
        measured=False,
        **_reached(_along(fitted, cycles)),
        explanation=f"Estimated for {values} values of ε, then {values} of δ, q = {fitted.q} and β known: "
        f"{_SHARED_OUT}; the fitted curve stands for the tuned one; {_NEAREST}.",
    )


def _exhaustive(cycles: Sequence[Cycle], values: int) -> PolicyCost:
    replicates = _replicates(cycles)
    return PolicyCost(
        policy="Oracle",
        trainings=values * replicates * len(cycles),
        worker_hours=_hours(cycles, [values * replicates] * len(cycles)),
        measured=False,
        test_accuracies=(None,) * len(cycles),
        explanation=f"Estimated for all {values} values of the grid in all replicates, without extensions: "
        "by the mean worker time per training of each cycle, in packs as they were trained here.",
    )


def _hill_climb(cycles: Sequence[Cycle], grid: Sequence[float]) -> PolicyCost:
    rate, per_cycle, reached = grid[len(grid) // 2], [], []
    for each in cycles:
        found, evaluated = climb(each.candidates, rate, each.measure)
        rate = found.max_lr
        per_cycle.append(evaluated * len(found.trials))
        reached.append(found)
    return PolicyCost(
        policy="hill climb on the grid",
        trainings=sum(per_cycle),
        worker_hours=_hours(cycles, per_cycle),
        measured=False,
        **_reached(reached),
        explanation="Replayed, not run: each cycle starts from the Oracle's network, and climbs by mean "
        "validation {metric} from the last cycle's optimum (cycle 0 from the grid's middle) until no "
        f"neighbour is better; {_SHARED_OUT}.",
    )


def climb(
    candidates: Sequence[Candidate], start: float, measure: Measure = BY_ACCURACY
) -> tuple[Candidate, int]:
    """The local maximum of the mean validation score that steps to the better neighbour lead to.

    Args:
        candidates: A cycle's candidates, ascending.
        start: Where to start: at the candidate whose rate is nearest by ratio.
        measure: How scores are compared.

    Returns:
        The candidate where no neighbour is better, and how many candidates were looked at.
    """
    scores = measure.all_comparable(candidate.score for candidate in candidates)
    place = _nearest([candidate.max_lr for candidate in candidates], start)
    seen = {place}
    while True:
        near = [index for index in (place - 1, place + 1) if 0 <= index < len(candidates)]
        seen.update(near)
        best = max(near, key=lambda index: scores[index], default=place)
        if scores[best] <= scores[place] + ROUNDING:
            return candidates[place], len(seen)
        place = best


class _Reached(TypedDict):
    test_accuracies: tuple[float | None, ...]
    by_replicate: tuple[Mapping[int, float], ...]


def _reached(candidates: Sequence[Candidate | None]) -> _Reached:
    """What a candidate per cycle reaches on the test split."""
    return {
        "test_accuracies": tuple(
            each.test_score if each and not math.isnan(each.test_score) else None for each in candidates
        ),
        "by_replicate": tuple(
            {t.replicate: t.test_score for t in each.trials if not math.isnan(t.test_score)} if each else {}
            for each in candidates
        ),
    }


def _along(curve: SiloCurve, cycles: Sequence[Cycle]) -> list[Candidate | None]:
    """The candidates where a curve passes the grid of each cycle."""
    return [_at(each, curve.max_lr(each.cycle)) for each in cycles]


def _at(cycle: Cycle, rate: float) -> Candidate | None:
    """The candidate nearest by ratio.

    None more than the outermost step outside the grid, and where a nearer rate lacks trainings.
    """
    rates = list(cycle.grid)
    below, above = (rates[0] / rates[1], rates[-1] / rates[-2]) if len(rates) > 1 else (1.0, 1.0)
    if not rates[0] * below * (1 - ROUNDING) <= rate <= rates[-1] * above * (1 + ROUNDING):
        return None
    nearest, replicates = rates[_nearest(rates, rate)], len(cycle.selected.trials)
    found = (each for each in cycle.candidates if each.max_lr == nearest and len(each.trials) == replicates)
    return next(found, None)


def _nearest(rates: Sequence[float], rate: float) -> int:
    """Index of the rate that is nearest by ratio, the lower one of two."""
    return min(range(len(rates)), key=lambda index: abs(math.log(rates[index] / rate)))


def _hours(cycles: Sequence[Cycle], trainings: Sequence[int]) -> float:
    """Worker hours of so many trainings in each cycle, at the Oracle's mean time of a training there.

    The mean is over all candidates, those that diverged and stopped early included.
    """
    seconds = []
    for each, count in zip(cycles, trainings, strict=True):
        seconds.append(count * worker_seconds(each.trials) / len(each.trials))
    return math.fsum(seconds) / 3600


def _replicates(cycles: Sequence[Cycle]) -> int:
    return len(cycles[0].selected.trials)
