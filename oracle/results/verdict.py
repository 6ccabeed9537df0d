"""A search's verdict, in a few sentences, no surer than its trainings are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from oracle.measure import Measure
from silo.landscape import CycleBelief, JudgedCurve, Loss
from silo.measured import cycle_ranges, cycles_in_words

if TYPE_CHECKING:
    from oracle.results.results import Results

SURE = 0.9
"""Chance from which one curve is said to lose less than another."""


def verdict(results: Results) -> str:
    """What the trainings tell of SILO's curve, of the fitted one beside a constant, and what to doubt."""
    if not results.decided:
        return "No cycle is decided yet."
    if not results.searched:
        sentence = f"Policy {results.search_spec.policy.name}: one rate per cycle, nothing is searched."
        return " ".join([sentence, *_at_chance(results)])
    return " ".join(
        [*_of_prediction(results), *_of_fit(results), *_of_densities(results), *_reservations(results)]
    )


def _of_densities(results: Results) -> list[str]:
    if not results.densities:
        return []
    share = f"{100 * results.search_spec.pruning.share():.3g} %"
    return [
        f"Other shares of the weights than p = {share} were pruned: SILO's curves go by the densities λ that "
        "there were."
    ]


def point_verdict(results: Results) -> str:
    """Where SILO's predicted curve lies by the point estimates, which other seeds may contradict."""
    if not (results.decided and results.searched):
        return verdict(results)
    found = _at_chance(results)
    if results.predicted is not None:
        count = len(results.decided)
        inside = count - len(results.missed(results.predicted))
        alone = "likeliest intervals" if results.policy.selective else "point estimates"
        found.append(
            f"By {alone} alone, SILO's predicted curve lies in {inside} of {count} intervals; "
            "`oracle report` says how sure that is."
        )
    return " ".join(found)


def loss_text(loss: Loss, measure: Measure) -> str:
    """``0.16 % [0.05, 0.30]``: what is lost, with its 90 % range; – where it isn't known."""
    return measure.distances(loss.mean, loss.low, loss.high)


def _of_prediction(results: Results) -> list[str]:
    if results.predicted is None:
        return []
    judged = results.judged(results.predicted.max_lr)
    if judged is None:
        return ["These trainings tell nothing of SILO's predicted curve."]
    return [f"SILO's predicted curve is {where(judged, str(results.measure))}."]


def where(judged: JudgedCurve, tolerance: str) -> str:
    """At how many cycles a curve is within the tolerance, outside, and where that can't be told."""
    count, inside = len(judged.beliefs), judged.cycles("inside")
    unknown, outside = judged.cycles("unknown"), judged.cycles("outside")
    parts = [f"within {tolerance} of the best in {len(inside)} of {_cycles(count)}"]
    if unknown:
        parts.append(f"for {len(unknown)} ({', '.join(cycle_ranges(unknown))}) these trainings can't tell")
    named = f" ({', '.join(cycle_ranges(outside))})" if outside else ""
    parts.append(f"it is outside in {len(outside) or 'none'}{named}")
    return "; ".join(parts)


def _cycles(count: int) -> str:
    return f"{count} cycle{'s' if count > 1 else ''}"


def _of_fit(results: Results) -> list[str]:
    """The fitted curve beside the best constant: which loses less, if that can be told."""
    if results.fitted is None or results.constant is None:
        return []
    fitted = results.judged(results.fitted.max_lr)
    assert fitted is not None, "the constant was judged by the same cycles"
    if not fitted.known:
        return ["The fitted SILO curve leaves the grid: what it loses there isn't known."]
    rate, less = float(results.constant.rates[0]), fitted.better_than(results.constant)
    told = "these trainings can't tell them apart"
    if less >= SURE:
        told = "SILO's curve loses less"
    elif less <= 1 - SURE:
        told = "the constant loses less"
    return [
        f"The fitted SILO curve loses {loss_text(fitted.mean, results.measure)} on average, the best "
        f"constant rate, {rate:.2g}, loses {loss_text(results.constant.mean, results.measure)}: {told}."
    ]


def _reservations(results: Results) -> list[str]:
    """Reasons to doubt what is stated."""
    found = _at_chance(results)
    silent = {each.cycle for each in results.beliefs if each.silent}
    cut = [
        each.cycle
        for each in results.decided
        if (each.interval.low_cut or each.interval.high_cut) and each.cycle not in silent
    ]
    if cut:
        found.append(f"The grid's edge cuts off the interval of {cycles_in_words(cut)}: widen the grid.")
    diverged = [each.cycle for each in results.decided if each.best.diverged]
    if diverged:
        found.append(f"Even the optimum of {cycles_in_words(diverged)} diverged in a replicate.")
    return found + doubts([each for each in results.beliefs if each.cycle not in results.at_chance])


def doubts(beliefs: Sequence[CycleBelief]) -> list[str]:
    """Reasons to doubt what is known of the rates, in sentences."""
    found = []
    if silent := [each.cycle for each in beliefs if each.silent]:
        found.append(f"At {cycles_in_words(silent)} nothing was learned, or trainings fail at random.")
    told = [each for each in beliefs if not each.silent]
    if humps := [each.cycle for each in told if each.two_humps]:
        found.append(f"Two separate ranges of rates are good at {cycles_in_words(humps)}.")
    if jumped := _jumps(told):
        found.append(f"At {cycles_in_words(jumped)} other rates are good than in the cycle before.")
    if alike := [each.cycle for each in told if each.alike]:
        found.append(
            f"At {cycles_in_words(alike)} all trainings reached the same: every rate is as good, or none is."
        )
    if told and max(each.rates.size for each in told) == 1:
        found.append("There is one rate per cycle: nothing to compare it with.")
    elif told and max(each.trained.max() for each in told) == 1:
        found.append("With one replicate, the noise of a training is known by the curves' smoothness alone.")
    return found


def _jumps(beliefs: Sequence[CycleBelief]) -> list[int]:
    """The cycles whose rates say little of the cycle before, and at which its best rate is none any more."""
    told = [belief for belief in beliefs if not belief.silent]
    found = []
    for before, after in pairwise(told):
        best, reach = before.rates[before.optimum()], after.reach()
        if after.jumped > 0.5 and reach is not None and not reach[0] <= best <= reach[1]:
            found.append(after.cycle)
    return found


def _at_chance(results: Results) -> list[str]:
    """Names the cycles in which nothing was learned, so that every rate is as good as any other."""
    cycles = results.at_chance
    if results.chance is None or not cycles:
        return []
    measure, nothing = results.measure, results.chance.score
    shown = f"{100 * nothing:.3g} %" if measure.percent else f"{measure.metric.name} {measure.text(nothing)}"
    level = f"better than {measure.nothing} ({shown})"
    meant = "" if measure.percent else f" Is goal: {measure.metric.goal} what was meant?"
    if not results.searched:
        return [f"At {cycles_in_words(cycles)} the network was not trained {level}.{meant}"]
    says = "its interval says" if len(cycles) == 1 else "their intervals say"
    return [f"At {cycles_in_words(cycles)} no rate trained the network {level}: {says} nothing.{meant}"]
