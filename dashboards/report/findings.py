"""A report's findings as texts and rows, for its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dashboards.style import hours_text
from dashboards.tables.comparison import comparison_table, progress, subject
from dashboards.tables.table import Table
from oracle.measure import Measure
from oracle.results import Results
from oracle.results.costs import PolicyCost, mean_test_accuracy, shared_cycles
from oracle.results.frames import Parameter
from oracle.results.verdict import loss_text
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.drawn_fits import DrawnFits, percent
from silo.fit.rivals import RivalTable
from silo.landscape import JudgedCurve, Verdict
from silo.measured import cycle_ranges, cycles_in_words

_SYMBOLS: dict[Parameter, str] = {"q": "q", "beta": "β", "epsilon": "ε", "delta": "δ"}

_VERDICTS: tuple[Verdict, ...] = ("inside", "unknown", "outside")

_TOUCHING = 1e-6  # of the rates: a distance from an end that is none


@dataclass(frozen=True)
class Findings:
    """The findings by the names that the template has for them, each made where it is shown.

    Attributes:
        results: The search.
    """

    results: Results

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.results.name}: {subject(self.results)}"

    @property
    def heading(self) -> str:
        """Of the comparison."""
        title = subject(self.results)
        return title[0].upper() + title[1:]

    @property
    def standing(self) -> str:
        """How far the search is."""
        return f"{progress(self.results)} {_state(self.results)}".strip()

    @property
    def said(self) -> list[str]:
        """What the data can and cannot say."""
        results, rivals, fit = self.results, self.results.rival_curves, self.results.fit
        return [
            *([advice] if (advice := results.advice_text()) else []),
            *([f"By point estimates alone: {rivals.verdict}"] if rivals else []),
            *(fit.notes if fit else []),
            *([gpus] if (gpus := results.gpus_text()) else []),
        ]

    @cached_property
    def cycles(self) -> Table:
        """The comparison."""
        return comparison_table(self.results, by_row=True)

    @property
    def cycle_rows(self) -> list[list[str]]:
        """Its cells as texts."""
        return [[cell.shown for cell in row] for row in self.cycles.rows]

    @property
    def tolerance(self) -> str:
        """Of the intervals, in words."""
        return str(self.results.measure)

    @property
    def curves(self) -> list[list[str]]:
        """The curves with what each is, in words."""
        return _curves(self.results, self.results.fit) if self.results.fit else []

    @property
    def confidence(self) -> str:
        """How sure the fit is; empty without draws."""
        fit = self.results.fit
        return _confidence(fit.drawn) if fit and fit.drawn else ""

    @cached_property
    def losses(self) -> list[list[str]]:
        """What each curve loses on average, least first; none where the trainings tell nothing."""
        return _losses(self.results)

    @property
    def rivals(self) -> list[list[str]]:
        """Simpler curves."""
        return _rivals(self.results.rival_curves) if self.results.rival_curves else []

    @property
    def validated(self) -> str:
        """What candidates are judged by."""
        return self.results.measure.label("validation")

    @property
    def cost_headers(self) -> list[str]:
        """Of the costs."""
        measure = self.results.measure
        reached = f"{measure.label('test')}{' (%)' if measure.percent else ''}"
        return ["policy", "trainings", "worker-hours", reached, ""]

    @property
    def costs(self) -> list[list[str]]:
        """What each policy costs."""
        cycles = shared_cycles(self.results.policy_costs)
        return [_cost(each, cycles, self.results.measure) for each in self.results.policy_costs]

    @property
    def cost_notes(self) -> list[str]:
        """What those numbers are."""
        results = self.results
        cycles = shared_cycles(results.policy_costs)
        return [
            f"Decided cycles only. {results.measure.label('Test')}: {_over(cycles, self.results)}.",
            *(f"{each.policy}: {each.explanation}" for each in self.results.policy_costs),
        ]


def _state(results: Results) -> str:
    """A sentence about a search that is not done: that it runs, or how its last run ended."""
    if results.done or not results.recorded_runs:
        return ""
    last = results.recorded_runs[-1]
    if last.state == "running":
        return "Its last run has not ended as this was written."
    if last.error:
        return "Its last run has failed: see its error below."
    return f"Its last run {'was' if last.state == 'interrupted' else 'has'} {last.state}."


def _curves(results: Results, found: CurveFit) -> list[list[str]]:
    rows = []
    if predicted := results.predicted:
        rows.append(["predicted", *_numbers(predicted), "with the numbers of the spec, before the search"])
    inside = f"it lies in {sum(found.inside.values())} of {len(found.inside)} intervals"
    fitted = f"{found.criterion}; weighted RMSE {found.weighted_rmse:.3g}; {inside}"
    rows.append(["least squares", *_numbers(found.curve), fitted])
    if found.hitting:
        values = ", ".join(map(str, found.feasible_q))
        touching = found.margin <= _TOUCHING * found.fewest_misses.max_lr(0)
        away = "and touches an end" if touching else f"at least {found.margin:.3g} away from every end"
        words = f"lies in all intervals, {away}; such curves exist for q = {values}"
    else:
        words = f"the curve outside the fewest intervals: it misses {cycles_in_words(found.missed_cycles)}"
    return [*rows, [found.closest, *_numbers(found.fewest_misses), words]]


def _numbers(curve: SiloCurve) -> list[str]:
    """``+ 0.0`` turns the -0 of a flat curve into 0."""
    return [f"{value + 0.0:.4g}" for value in (curve.q, curve.beta, curve.epsilon, curve.delta)]


def _confidence(drawn: DrawnFits) -> str:
    ends = [(symbol, drawn.interval(name)) for name, symbol in _SYMBOLS.items()]
    ranges = ", ".join(f"{symbol} {_range(*pair)}" for symbol, pair in ends)
    some, constant = (percent(float(share.mean())) for share in (drawn.feasible, drawn.constant))
    return (
        f"90 % of {drawn.draws:,} fits, each to a draw of what the trainings tell, have {ranges} (each by "
        f"itself); in {some} of the draws some SILO curve lies in every interval, in {constant} some "
        "constant rate does."
    )


def _losses(results: Results) -> list[list[str]]:
    curves: list[tuple[str, JudgedCurve | None]] = []
    if results.predicted is not None:
        curves.append(("SILO, predicted", results.judged(results.predicted.max_lr)))
    if results.fit is not None:
        curves.append(("SILO, least squares", results.judged(results.fit.curve.max_lr)))
        curves.append((f"SILO, {results.fit.closest}", results.judged(results.fit.fewest_misses.max_lr)))
    if results.constant is not None:
        curves.append((f"best constant, {results.constant.rates[0]:.2g}", results.constant))
    known = [(name, judged) for name, judged in curves if judged is not None]
    known.sort(key=lambda one: (not one[1].known, one[1].mean.mean))
    return [
        [
            name,
            loss_text(judged.mean, results.measure),
            *(", ".join(cycle_ranges(judged.cycles(each))) or "–" for each in _VERDICTS),
            percent(judged.mean.within),
            _against(judged, known[0][1]),
        ]
        for name, judged in known
    ]


def _against(judged: JudgedCurve, least: JudgedCurve) -> str:
    """The chance to lose less than the curve that is expected to lose least."""
    return "–" if judged is least else percent(judged.better_than(least))


def _range(low: float, high: float) -> str:
    first, last = f"{low + 0.0:.3g}", f"{high + 0.0:.3g}"
    return first if first == last else f"{first} to {last}"


def _rivals(table: RivalTable) -> list[list[str]]:
    least = min((rival.aicc for rival in table.rivals if rival.aicc is not None), default=0.0)
    return [
        [
            rival.name,
            str(rival.parameters),
            f"{rival.weighted_rmse:.3g}",
            "–" if rival.loo_error is None else f"{rival.loo_error:.3g}",
            "–" if rival.aicc is None else f"{rival.aicc - least:.1f}",
        ]
        for rival in table.rivals
    ]


def _cost(each: PolicyCost, cycles: Sequence[int], measure: Measure) -> list[str]:
    share = mean_test_accuracy(each, cycles)
    return [
        each.policy,
        f"{each.trainings:,}",
        hours_text(each.worker_hours),
        "–" if share is None else measure.text(share),
        "as run" if each.measured else "estimated",
    ]


def _over(cycles: Sequence[int], results: Results) -> str:
    """The cycles that the mean scores are over, so that those of all policies can be compared."""
    if not cycles:
        return "not known at any cycle that the policies share"
    if len(cycles) == len(results.decided):
        return "mean over the cycles"
    return f"mean over {cycles_in_words(cycles)}, where every policy has one"
