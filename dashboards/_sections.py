"""The sections of the report about what was found, each a list of HTML parts: empty if there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards import _page
from dashboards._cells import marks, subject, units
from dashboards.style import hours_text, percent_text
from dashboards.tables import html_table
from oracle.analysis import Analysis, PolicyCost
from oracle.comparison import cycles_in_words
from oracle.costs import mean_test_accuracy, shared_cycles
from silo.curve import SiloCurve
from silo.fit import CurveFit
from silo.fit.rivals import RivalTable

Plots = Mapping[str, str]
"""Name of a figure to its HTML."""

PARAMETERS = ("q", "beta", "epsilon", "delta")
SYMBOLS = ("q", "β", "ε", "δ")

_TOUCHING = 1e-6  # of the rates: a distance from an end that is none


def state(analysis: Analysis) -> str:
    """A sentence about a search that is not done: that it runs, or how its last run ended."""
    if analysis.comparison.done or not analysis.runs:
        return ""
    last = analysis.runs[-1]
    if last.state == "running":
        return "Its last run has not ended as this was written."
    if last.error:
        return "Its last run has failed: see its error below."
    return f"Its last run {'was' if last.state == 'interrupted' else 'has'} {last.state}."


def verdict(analysis: Analysis) -> list[str]:
    """Whether SILO's curve is inside, what the fit says, and what it can't say."""
    parts = [_page.paragraph(analysis.comparison.verdict(), "verdict")]
    found = fit_of(analysis)
    simpler = [analysis.rivals.verdict] if analysis.rivals else []
    if found is not None and (found.notes or simpler):
        parts.append(_page.paragraph("What the data can and cannot say:", "soft"))
        parts.append(_page.bullets([*simpler, *found.notes]))
    return parts


def comparison(analysis: Analysis, plots: Plots) -> list[str]:
    """Optimum, interval and curves: the figure and the table."""
    found = analysis.comparison
    title = subject(found)
    parts = [_page.heading(title[0].upper() + title[1:]), plots["comparison"]]
    if not found.rows:
        return parts
    headers, rows = html_table(found)
    return [
        *parts,
        _page.heading("Per cycle"),
        _page.table(headers, rows, "wide"),
        _page.bullets([units(found), *marks(found, rates=True)]),
    ]


def landscape(analysis: Analysis, plots: Plots) -> list[str]:
    """Every candidate's accuracy."""
    if "landscape" not in plots:
        return []
    tolerance = percent_text(analysis.comparison.spec.tolerance)
    return [
        _page.heading("Every candidate"),
        plots["landscape"],
        _page.paragraph(
            "Mean validation accuracy of each candidate. A frame holds the Oracle optimized interval: the "
            f"candidates around the optimum within {tolerance} of it. Grey cells were not tried.",
            "soft",
        ),
    ]


def fit(analysis: Analysis, plots: Plots) -> list[str]:
    """The curves through the intervals, all that could be, and simpler ones."""
    found = fit_of(analysis)
    if found is None:
        return []
    headers = ["curve", *SYMBOLS, "what it is"]
    parts = [_page.heading("The fitted curve"), _page.table(headers, _curves(analysis, found), "words")]
    if found.bootstrap is not None:
        parts.append(_page.paragraph(_confidence(found), "soft"))
    parts += [_page.heading("All curves that the intervals allow"), plots["region"]]
    if "slices" in plots:
        parts += [
            _page.paragraph(
                "The ranges are a box around the region. For a fixed β, the ε and δ of all curves in every "
                "interval are a polygon, a point where intervals are that narrow:",
                "soft",
            ),
            plots["slices"],
        ]
    return [*parts, *_rivals(analysis.rivals)]


def cost(analysis: Analysis, plots: Plots) -> list[str]:
    """What the ways to set the rates cost, and what they reach."""
    if not analysis.costs:
        return []
    headers = ["policy", "trainings", "worker-hours", "test accuracy (%)", ""]
    cycles = shared_cycles(analysis.costs)
    rows = [
        [
            each.policy,
            f"{each.trainings:,}",
            hours_text(each.worker_hours),
            _mean_accuracy(each, cycles),
            "as run" if each.measured else "estimated",
        ]
        for each in analysis.costs
    ]
    return [
        _page.heading("What it costs"),
        *([plots["cost"]] if "cost" in plots else []),
        _page.table(headers, rows, "named"),
        _page.bullets(
            [
                f"Decided cycles only. Test accuracy: {_over(cycles, analysis)}.",
                *(f"{each.policy}: {each.explanation}" for each in analysis.costs),
            ]
        ),
    ]


def distributions(analysis: Analysis, plots: Plots) -> list[str]:
    """Gradients and hidden representations over the cycles."""
    if "distributions" not in plots:
        return []
    return [
        _page.heading("Inside the networks"),
        plots["distributions"],
        _page.paragraph(
            "Gradients of the weights that are left and inputs of the hidden layers, at the best validation "
            "of the selected networks, as in Fig. 1 of the SILO paper: ridges of the first replicate, "
            "standard deviations as means over the replicates. The rate from diagnostics keeps updates at "
            "the peak as wide as the dense network's: max_lr(0) · σ(0) / σ(m), σ the gradients' standard "
            "deviation (Section 3.1). It is a reading of the paper's argument, not a part of SILO's curve.",
            "soft",
        ),
    ]


def fit_of(analysis: Analysis) -> CurveFit | None:
    """The fit, with its bootstrap if that was made."""
    return analysis.fit or analysis.comparison.fit


def _curves(analysis: Analysis, found: CurveFit) -> list[list[str]]:
    """The curves with what each is, in words."""
    rows = []
    if predicted := analysis.comparison.predicted:
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


def _confidence(found: CurveFit) -> str:
    assert found.bootstrap is not None
    ends = {symbol: found.bootstrap.interval(name) for symbol, name in zip(SYMBOLS, PARAMETERS, strict=True)}
    ranges = ", ".join(f"{symbol} {_range(*pair)}" for symbol, pair in ends.items())
    feasible = percent_text(float(found.bootstrap.feasible.mean()))
    return (
        f"95 % of {found.bootstrap.resamples:,} fits to resampled trainings have {ranges} (each by itself); "
        f"in {feasible} of them some SILO curve lies in every interval."
    )


def _range(low: float, high: float) -> str:
    first, last = f"{low + 0.0:.3g}", f"{high + 0.0:.3g}"
    return first if first == last else f"{first} to {last}"


def _rivals(table: RivalTable | None) -> list[str]:
    if table is None:
        return []
    least = min((rival.aicc for rival in table.rivals if rival.aicc is not None), default=0.0)
    rows = [
        [
            rival.name,
            str(rival.parameters),
            f"{rival.weighted_rmse:.3g}",
            "–" if rival.loo_error is None else f"{rival.loo_error:.3g}",
            "–" if rival.aicc is None else f"{rival.aicc - least:.1f}",
        ]
        for rival in table.rivals
    ]
    headers = ["curve", "fitted numbers", "weighted RMSE", "error at left-out cycles", "AICc − least"]
    return [
        _page.heading("Would a simpler curve do?"),
        _page.table(headers, rows, "named"),
        _page.paragraph(table.verdict, "soft"),
    ]


def _over(cycles: Sequence[int], analysis: Analysis) -> str:
    """The cycles that the mean accuracies are over, so that those of all policies can be compared."""
    if not cycles:
        return "not known at any cycle that the policies share"
    if len(cycles) == len(analysis.comparison.rows):
        return "mean over the cycles"
    return f"mean over {cycles_in_words(cycles)}, where every policy has one"


def _mean_accuracy(each: PolicyCost, cycles: Sequence[int]) -> str:
    share = mean_test_accuracy(each, cycles)
    return "–" if share is None else f"{100 * share:.2f}"
