"""What a search says beyond the comparison: how sure it is, what it cost, what happened inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from oracle.comparison import Comparison, load_search, recorded_comparison
from oracle.costs import PolicyCost, policy_costs
from oracle.decision import Decision
from oracle.distributions import CycleDistributions, cycle_distributions, diagnosed_rates
from oracle.ledger import Ledger, Run, SearchRecord
from silo.accuracies import TOLERANCE, CycleAccuracies, intervals_and_accuracies
from silo.fit import CurveFit, fit_curve
from silo.fit.rivals import RivalTable, compare_rivals
from silo.intervals import CycleInterval

__all__ = ["Analysis", "CycleDistributions", "PolicyCost", "analyse", "analysis_of", "fit_and_rivals"]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that figures, tables, exports and the report are made from.

    Attributes:
        comparison: Optimum, interval and curves per cycle.
        fit: The fitted curve with its bootstrap, where there are several replicates; None without a search
            or before the first decided cycle.
        rivals: Other curves fitted to the same; None where there is no fit.
        costs: What the Oracle, SILO and a hill climb cost and reach; empty before the first decided cycle.
        distributions: One per decided cycle whose statistics were asked for, ascending; else empty.
        diagnosed: Rate per cycle of ``distributions`` that their statistics predict; empty without them.
        runs: The search's runs, oldest first.
    """

    comparison: Comparison
    fit: CurveFit | None = None
    rivals: RivalTable | None = None
    costs: tuple[PolicyCost, ...] = ()
    distributions: tuple[CycleDistributions, ...] = ()
    diagnosed: tuple[float, ...] = ()
    runs: tuple[Run, ...] = ()


def analyse(ledger: Ledger, record: SearchRecord, *, resamples: int = 1000, seed: int = 0) -> Analysis:
    """Analyses a search, from what its ledger and its storage hold.

    Args:
        ledger: The ledger.
        record: The search.
        resamples: Of the fit's bootstrap; 0 for none.
        seed: Of the bootstrap.

    Raises:
        Refused: The recorded spec is not one that this version reads.
    """
    search = load_search(ledger, record)
    return analysis_of(
        recorded_comparison(record, search),
        search.decisions,
        runs=ledger.runs(record.name),
        resamples=resamples,
        seed=seed,
    )


def analysis_of(
    comparison: Comparison,
    decisions: Sequence[Decision],
    *,
    runs: Iterable[Run] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> Analysis:
    """Analyses a search whose decisions are loaded already.

    Args:
        comparison: Its comparison.
        decisions: Its decided cycles, those of the comparison.
        runs: Its runs, oldest first.
        resamples: Of the fit's bootstrap; 0 for none.
        seed: Of the bootstrap.
    """
    spec, fit, rivals = comparison.spec, None, None
    if comparison.fit is not None:
        fit, rivals = fit_and_rivals(
            tuple(decision.accuracies for decision in decisions),
            pruning_rate=spec.pruning.rate,
            tolerance=spec.tolerance,
            resamples=resamples,
            seed=seed,
        )
    found = cycle_distributions(decisions, [row.density for row in comparison.rows], spec.storage_root())
    return Analysis(
        comparison=comparison,
        fit=fit,
        rivals=rivals,
        costs=policy_costs(
            spec, decisions, known=comparison.predicted, fitted=None if fit is None else fit.curve
        ),
        distributions=found,
        diagnosed=diagnosed_rates(found),
        runs=tuple(runs),
    )


def fit_and_rivals(
    measured: tuple[CycleInterval, ...] | tuple[CycleAccuracies, ...],
    *,
    pruning_rate: float,
    tolerance: float = TOLERANCE,
    q_values: Iterable[int] = range(6),
    weighting: Literal["interval", "uniform"] = "interval",
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[CurveFit, RivalTable]:
    """SILO's curve and its rivals, fitted to the same.

    Args:
        measured: As for ``fit_curve``, as all that follow.
        pruning_rate: p.
        tolerance: Of the intervals, where accuracies are given.
        q_values: The q to try.
        weighting: Of the least squares.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        InvalidInput: A value is missing or outside its range.
    """
    tried = tuple(q_values)
    intervals, _ = intervals_and_accuracies(measured, tolerance)
    fit = fit_curve(
        measured,
        pruning_rate=pruning_rate,
        tolerance=tolerance,
        q_values=tried,
        weighting=weighting,
        resamples=resamples,
        seed=seed,
    )
    return fit, compare_rivals(intervals, pruning_rate=pruning_rate, q_values=tried, weighting=weighting)
