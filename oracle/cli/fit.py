"""The command that fits SILO's curve: to a table of the paper, to a CSV file, or to a search."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from oracle.cli.show import LEDGER, console, open_search, read_results
from oracle.cli.specs import JSON, echo_json
from oracle.measure import BY_ACCURACY, Measure, parse_tolerance
from silo import checks
from silo.csv_file import load_csv, load_scores
from silo.errors import InvalidInput
from silo.fit import fit_curve
from silo.fit.regions import drawn_fits
from silo.fit.rivals import compare_rivals
from silo.landscape import CycleScores, learn
from silo.measured import CycleAccuracies, CycleInterval, grid_interval, intervals_and_accuracies, optimized
from silo.paper import OracleTable, load_table
from trials.tasks import ACCURACY, Metric

if TYPE_CHECKING:
    from dashboards.figures.fit_view import FitView

_PAPERS_RATE = 0.2

Function = TypeVar("Function", bound=Callable[..., Any])


def _options(function: Function) -> Function:
    for option in reversed(
        [
            click.argument("target", metavar="[SPEC|NAME|CSV]", required=False),
            LEDGER,
            click.option("--table", type=int, help="Fit the paper's Table 10 or 11."),
            click.option(
                "--csv",
                "csv_file",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Fit a CSV file: cycle, optimum, low, high (low_cut, high_cut) per cycle, or cycle, "
                "max_lr, replicate, accuracy per training.",
            ),
            click.option(
                "--metric",
                help="What the trainings of --csv are judged by, if not accuracy: its column's name.",
            ),
            click.option(
                "--goal",
                type=click.Choice(["max", "min"]),
                help="Whether more of --metric is better, or less; by default max.",
            ),
            click.option(
                "--pruning-rate",
                type=float,
                help=f"Share pruned after each cycle, for --csv; by default {_PAPERS_RATE}.",
            ),
            click.option(
                "--tolerance",
                help=f"What counts as good, for --csv with trainings; by default {BY_ACCURACY.tolerance} of "
                "accuracy. Of --metric in its unit, or as a share of the best such as '1 %'.",
            ),
            click.option(
                "--q-max", type=int, default=5, show_default=True, help="Highest q that is tried, from 0."
            ),
            click.option(
                "--weighting",
                type=click.Choice(["interval", "uniform"]),
                default="interval",
                show_default=True,
                help="Of the least squares: by the intervals' widths, or all alike.",
            ),
            click.option(
                "--draws",
                type=int,
                default=300,
                show_default=True,
                help="Of what the trainings tell, where their accuracies are given; 0 for none.",
            ),
            click.option(
                "--figure",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Also write the figure: .html, or .png, .svg, .pdf with silo-oracle[images].",
            ),
            JSON,
        ]
    ):
        function = option(function)
    return function


@click.command()
@_options
def fit(
    target: str | None,
    ledger: str | None,
    table: int | None,
    csv_file: Path | None,
    figure: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit SILO's curve to a search, a paper's table, or a CSV file.

    Shows the least-squares curve, the region of curves in all intervals, what the data cannot tell, and
    whether simpler curves do as well.

    \b
    Example:
      oracle fit mine.yaml
      oracle fit --table 11
    """
    from dashboards.figures.fit_view import fit_figure, fit_table

    if target is not None and csv_file is None and Path(target).suffix.lower() in (".csv", ".tsv"):
        csv_file, target = Path(target), None
    if [target, table, csv_file].count(None) != 2:
        raise InvalidInput("fit: give one of SPEC|NAME, --table and --csv, such as: oracle fit --table 11")
    of_csv = ("pruning_rate", "tolerance", "metric", "goal")
    if csv_file is None and any(options[name] is not None for name in of_csv):
        raise InvalidInput(
            "fit: --pruning-rate, --tolerance, --metric and --goal go with --csv; the others bring their own"
        )
    if target is not None:
        view = _of_search(target, ledger, options)
    else:
        view = _of_table(table, options) if table is not None else _of_csv(csv_file, options)
    if figure is not None:
        from dashboards.style import attempt, failed_figure, write_figure

        write_figure(attempt("the figure", lambda: fit_figure(view), failed_figure), figure)
    if as_json:
        echo_json({**to_json(view), "figure": None if figure is None else str(figure)})
        return
    screen = console()
    screen.print(fit_table(view))
    for text in (str(view.fit), view.rivals):
        screen.print(f"{text}\n", highlight=False, markup=False, soft_wrap=True)
    screen.print(view.verdict(), style="bold", highlight=False, markup=False, soft_wrap=True)
    if figure is not None:
        screen.print(f"Figure: {figure}", highlight=False, markup=False, soft_wrap=True)


def to_json(view: FitView) -> dict[str, Any]:
    """Everything that is shown, ready for JSON."""
    names = ("cycle", "optimum", "low", "high", "low_cut", "high_cut")
    return {
        "title": view.title,
        "intervals": [{name: getattr(i, name) for name in names} for i in view.intervals],
        "stated": {"curve": view.curve.to_dict() if view.curve else None, "rates": list(view.stated())},
        "fit": view.fit.to_dict(),
        **(view.rivals.to_dict() if view.rivals else {}),
        "summary": view.verdict(),
    }


def _of_table(number: int, options: dict[str, Any]) -> FitView:
    table = load_table(number)
    if not isinstance(table, OracleTable):
        raise InvalidInput(f"fit: table {number} has accuracies, no intervals: give --table 10 or --table 11")
    return _view(
        table.intervals,
        options,
        pruned={"pruning_rate": _PAPERS_RATE},
        title=f"Table {number}: {table.caption}",
        curve=table.curve,
        rates=table.printed_silo,
        rates_name="SILO as published",
        densities=tuple(density / 100 for density in table.densities),
    )


def _of_csv(path: Path | None, options: dict[str, Any]) -> FitView:
    assert path is not None, "one of three was given"
    rate = _PAPERS_RATE if options["pruning_rate"] is None else options["pruning_rate"]
    shown: dict[str, Any] = {"pruned": {"pruning_rate": rate}, "title": path.name}
    if options["metric"] is not None and options["metric"] != ACCURACY.name:
        measure = _measure(options)
        scores = load_scores(path, measure.key, measure.comparable)
        intervals = tuple(_interval(each, measure.within) for each in scores)
        return _view(intervals, options, scores=scores, measure=measure, **shown)
    if options["goal"] is not None:
        raise InvalidInput("fit: --goal goes with a --metric: more accuracy is better")
    given = BY_ACCURACY.tolerance if options["tolerance"] is None else options["tolerance"]
    try:
        measure = replace(BY_ACCURACY, tolerance=float(given))
    except ValueError:
        raise InvalidInput(f"fit: --tolerance must be a share such as 0.005, not {given!r}") from None
    intervals, accuracies = intervals_and_accuracies(load_csv(path), measure.tolerance)
    return _view(intervals, options, scores=accuracies, measure=measure, **shown)


def _measure(options: dict[str, Any]) -> Measure:
    """How the scores of a metric of the user's own are compared."""
    given: float | str | None = options["tolerance"]
    if given is None:
        raise InvalidInput(
            "fit: --metric needs --tolerance, in its unit, or as a share of the best such as '1 %'"
        )
    with suppress(ValueError):  # else it is a share
        given = float(given)
    tolerance, relative = parse_tolerance(given)
    metric = Metric(name=options["metric"], goal=options["goal"] or "max")
    return Measure(metric=metric, tolerance=tolerance, relative=relative)


def _interval(scores: CycleScores, tolerance: float) -> CycleInterval:
    best, first, last = (int(each[0]) for each in optimized(scores.means[None], tolerance))
    return grid_interval(scores.cycle, scores.grid.tolist(), best, first, last)


def _of_search(target: str, ledger: str | None, options: dict[str, Any]) -> FitView:
    opened, record = open_search(target, ledger)
    results = read_results(opened, record)
    spec = results.search_spec
    if not results.searched:
        raise InvalidInput(
            f"fit: search {record.name!r} follows policy {spec.policy.name!r}: it has no intervals to fit"
        )
    if not results.decided:
        raise InvalidInput(f"fit: search {record.name!r} has decided no cycle yet: let it run on")
    return _view(
        results.intervals_found,
        options,
        chance=results.chance.highest if results.chance else None,
        pruned=results.pruned,
        title=record.name,
        curve=results.predicted,
        rates_name="SILO, predicted",
        densities=tuple(each.density for each in results.decided),
        scores=tuple(each.scores for each in results.decided),
        measure=results.measure,
    )


def _view(
    intervals: tuple[CycleInterval, ...],
    options: dict[str, Any],
    *,
    pruned: dict[str, Any],
    scores: tuple[CycleScores, ...] | tuple[CycleAccuracies, ...] = (),
    measure: Measure = BY_ACCURACY,
    chance: float | None = None,
    **shown: Any,
) -> FitView:
    from dashboards.figures.fit_view import FitView

    if options["q_max"] < 0:
        raise InvalidInput(f"fit: --q-max must be at least 0, not {options['q_max']}: give 5")
    shared = {
        **pruned,
        "q_values": range(options["q_max"] + 1),
        "weighting": options["weighting"],
    }
    found = fit_curve(intervals, **shared)
    beliefs = learn(scores, tolerance=measure.within, chance=chance) if scores else ()
    if checks.whole("draws", options["draws"]) and beliefs:
        found = replace(found, drawn=drawn_fits(beliefs, draws=options["draws"], **shared))
    rivals = compare_rivals(intervals, **shared)
    shown |= {"intervals": intervals, "fit": found, "rivals": rivals, "beliefs": beliefs, "measure": measure}
    return FitView(**shown)
