"""A search's verdict and advice, no surer than its trainings are, and what simpler rates would lose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from oracle.measure import Measure
from silo.curve import SiloCurve
from silo.fit import fit_curve
from silo.landscape import CycleBelief, JudgedCurve, Loss
from silo.measured import cycle_ranges, cycles_in_words

if TYPE_CHECKING:
    from oracle.results.results import Results
    from oracle.spec import Spec


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
        found.append(
            f"The grid's edge cuts off the interval of {cycles_in_words(cut)}: a search of another name with "
            "a wider grid would tell."
        )
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


_SCHEDULED = ("constant", "warmup_drops")
"""Schedules that SiloLR and RateTableLR follow."""

_AS_GOOD = 0.1
"""Share of the tolerance by which a simpler choice may lose more."""

_SETTINGS = {"warmup": "warmup", "drops": "milestones", "factor": "factor"}
"""Arguments of these schedules, and what the schedulers call them."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The simplest rates that do as well as the best ones, as far as the trainings tell.

    Attributes:
        kind: ``constant``, SILO's curve, or the ``table`` of the found rates; from the simplest on.
        text: A sentence or two: what is recommended, and what each of them loses.
        code: Python that uses it, in the place of ``optimizer``'s scheduler.
    """

    kind: Literal["constant", "silo", "table"]
    text: str
    code: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One of the three, with what it loses."""

    kind: Literal["constant", "silo", "table"]
    name: str
    judged: JudgedCurve
    code: str


def recommend(results: Results) -> Recommendation | None:
    """The simplest choice that does as well as the best one; None where nothing can be compared.

    A simpler choice is taken unless the best one loses less with a chance of 0.9, and by more than a tenth of
    the tolerance: less is no reason to give up simplicity.
    """
    choices = [each for each in _choices(results) if each.judged.known]
    told = [each for each in results.beliefs if not (each.silent or each.alike) and each.rates.size > 1]
    if len({each.cycle for each in told} - {*results.at_chance}) < 2 or not choices:
        return None
    best = min(choices, key=lambda each: each.judged.mean.mean)
    chosen = next(each for each in choices if each is best or not _surely_less(best.judged, each.judged))
    others = [_beside(each, chosen, results.measure) for each in choices if each is not chosen]
    lost = loss_text(chosen.judged.mean, results.measure)
    begin = "Take" if results.done else "So far, take"
    return Recommendation(
        kind=chosen.kind,
        text=f"{begin} {chosen.name}: {lost} is lost on average against the best {_word(results)} of each "
        f"cycle{''.join(f'; {text}' for text in others)}.",
        code=chosen.code,
    )


def curve_code(curve: SiloCurve) -> str:
    """A curve as Python, to the last digit: one that touches intervals' ends still does."""
    given = {name: value for name, value in curve.to_dict().items() if name != "densities"}
    numbers = ", ".join(f"{name}={value + 0!r}" for name, value in given.items())
    if curve.densities:
        numbers += f", densities={curve.densities!r}"
    return f"SiloCurve({numbers})"


def _choices(results: Results) -> Iterable[_Choice]:
    """From the simplest on."""
    spec, word = results.search_spec, _word(results)
    if (constant := _constant(results)) is not None:
        value = f"{constant.rates[0]:.3g}"
        code = f"{results.measure.searched} = {value}  # in every cycle"
        name = f"one {word} for all cycles, {value}"
        yield _Choice(kind="constant", name=name, judged=constant, code=code)
    curves = [("predicted", results.predicted), ("fitted", results.fitted)]
    if results.point_fit is not None:
        curves.append((results.point_fit.closest, results.point_fit.fewest_misses))
    judged = [
        (name, curve, found) for name, curve in curves if curve and (found := results.judged(curve.max_lr))
    ]
    if judged:
        name, curve, found = min(judged, key=lambda each: (not each[2].known, each[2].mean.mean))
        code = _scheduled(spec, "SiloLR", curve_code(curve), f"{curve_code(curve)}.max_lr(cycle)")
        code = f"from silo import SiloCurve\n{code}"
        yield _Choice(kind="silo", name=f"SILO's curve, {name}", judged=found, code=code)
    rates = results.rates
    if table := results.judged(lambda cycle: rates[cycle]):
        listed = f"[{', '.join(f'{rate:.4g}' for rate in rates)}]"
        code = _scheduled(spec, "RateTableLR", listed, f"{listed}[cycle]")
        if not results.rates_searched:
            code = f"{results.measure.searched} = {listed}[cycle]"
        name = "the found rates" if results.rates_searched else f"the found values of {word}"
        yield _Choice(kind="table", name=name, judged=table, code=code)


def _word(results: Results) -> str:
    """What the candidates are values of."""
    return "rate" if results.rates_searched else results.measure.searched


def _constant(results: Results) -> JudgedCurve | None:
    """The best constant: of numbers that may be whole ones only, one that was tried."""
    if results.rates_searched or results.constant is None:
        return results.constant
    tried = sorted({float(rate) for belief in results.constant.beliefs for rate in belief.rates})
    judged = [found for value in tried if (found := results.judged(lambda _, value=value: value))]  # type: ignore[misc]
    return min(judged, key=lambda each: (not each.known, each.mean.mean))


def _scheduled(spec: Spec, scheduler: str, peaks: str, plain: str) -> str:
    """The line that sets the rates; with a schedule that no scheduler of ours follows, that of the peak."""
    schedule, given = spec.training.schedule, spec.training.schedule.arguments
    if schedule.name not in _SCHEDULED or spec.retraining == "fine_tuning" or spec.training.loop:
        return f"max_lr = {plain}  # the peak of schedule {schedule.name}"
    settings = [f"{ours}={given[name]!r}" for name, ours in _SETTINGS.items() if name in given]
    if settings and spec.training.epochs:
        settings += ['unit="epochs"', "steps_per_epoch=len(loader)"]
    arguments = ", ".join(["optimizer", peaks, *settings])
    return f"from silo.scheduler import {scheduler}\nscheduler = {scheduler}({arguments})"


def _surely_less(one: JudgedCurve, other: JudgedCurve) -> bool:
    return one.better_than(other, _AS_GOOD) >= SURE


def _beside(each: _Choice, chosen: _Choice, measure: Measure) -> str:
    lost = f"{each.name}: {loss_text(each.judged.mean, measure)}"
    if _surely_less(chosen.judged, each.judged):
        return f"{lost}, surely more"
    if _surely_less(each.judged, chosen.judged):
        return f"{lost}, surely less"
    return f"{lost}, as good as far as these trainings tell"


@dataclass(frozen=True, kw_only=True)
class SimplerRates:
    """A rule that sets a rate for each cycle.

    Attributes:
        name: What it does.
        rates: Its rate in each decided cycle that says something.
        trainings: How many it takes: those of the cycles that it searches, and one for each replicate in the
            others.
        judged: What it loses.
    """

    name: str
    rates: tuple[float, ...]
    trainings: int
    judged: JudgedCurve


def simpler_rates(results: Results) -> Iterator[SimplerRates]:
    """The rules, from the one that takes the fewest trainings; none where nothing can be compared.

    Each is judged by what the search's trainings tell, so by networks that were pruned along the search's own
    choices: what a network that was pruned along other rates would need is not known.
    """
    told = [each for each in results.beliefs if not each.silent]
    if len(told) < 2 or not results.rates_searched:
        return
    found = [each for each in _rules(results) if each.judged.known]
    yield from sorted(found, key=lambda each: each.trainings)


def _rules(results: Results) -> Iterator[SimplerRates]:
    best = {each.cycle: float(each.rates[each.optimum()]) for each in results.beliefs if not each.silent}
    cycles = sorted(best)
    before = {cycles[0]: cycles[0], **dict(pairwise(reversed(cycles)))}
    dense, sparse = best[cycles[0]], best[cycles[-1]]
    everything = [each.cycle for each in results.decided]
    yield from _rule(results, "one rate: the dense network's best", lambda m: dense, cycles[:1])
    yield from _rule(results, "one rate: the sparsest network's best", lambda m: sparse, cycles[-1:])
    yield from _rule(results, "the best rate of the cycle before", lambda m: best[before[m]], everything)
    if results.predicted is not None:
        yield from _rule(results, "SILO with the spec's numbers", results.predicted.max_lr, [])
    intervals = results.intervals_fitted
    even, odd = ([each for each in intervals if each.cycle % 2 == fold] for fold in range(2))
    if even and odd:
        others = [fit_curve(part, **results.pruned).curve for part in (odd, even)]
        name = "SILO fitted to every other cycle, judged at the rest"
        yield from _rule(results, name, lambda m: others[m % 2].max_lr(m), everything[::2])
    if results.distributions:
        notes = zip(results.distributions, results.diagnosed, strict=True)
        predicted = {each.cycle: rate for each, rate in notes}
        name = "updates as wide as with the dense network's best"
        yield from _rule(results, name, lambda m: predicted.get(m, math.nan), cycles[:1])
    yield from _rule(results, "this search", lambda m: results.rates[m], everything)


def _rule(
    results: Results, name: str, rate: Callable[[int], float], searched: Iterable[int]
) -> Iterator[SimplerRates]:
    judged = results.judged(rate)
    if judged is None or not all(map(math.isfinite, judged.rates)):
        return
    known = {*searched}
    yield SimplerRates(
        name=name,
        rates=tuple(judged.rates.tolist()),
        trainings=sum(
            len(each.trials) if each.cycle in known else len(each.selected.trials) for each in results.decided
        ),
        judged=judged,
    )
