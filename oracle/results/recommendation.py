"""What to train with from now on: a constant rate, SILO's curve or the found rates, and what each costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from oracle.measure import Measure
from oracle.results.verdict import SURE, loss_text
from silo.curve import SiloCurve
from silo.landscape import JudgedCurve

if TYPE_CHECKING:
    from oracle.results.results import Results
    from oracle.spec import Spec

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
        text=f"{begin} {chosen.name}: {lost} is lost on average against the best rate of each cycle"
        f"{''.join(f'; {text}' for text in others)}.",
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
    spec = results.search_spec
    if results.constant is not None:
        rate, what = (
            f"{results.constant.rates[0]:.3g}",
            "rate" if results.rates_searched else results.measure.searched,
        )
        code = f"{results.measure.searched} = {rate}  # in every cycle"
        yield _Choice(
            kind="constant", name=f"one {what} for all cycles, {rate}", judged=results.constant, code=code
        )
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
        yield _Choice(
            kind="table",
            name="the found rates" if results.rates_searched else "the found values",
            judged=table,
            code=code,
        )


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
