"""The command that fits SILO's curve: to a table of the paper, to a CSV file, or to a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from oracle.cli.show import LEDGER, console, open_search, read_results
from oracle.cli.specs import JSON, echo_json
from silo import checks
from silo.accuracies import CycleAccuracies, intervals_and_accuracies
from silo.csv_file import load_csv
from silo.errors import InvalidInput
from silo.fit import fit_curve
from silo.fit.drawn_fits import drawn_fits
from silo.fit.rivals import compare_rivals
from silo.intervals import CycleInterval
from silo.landscape import CycleScores, learn
from silo.paper import OracleTable, load_table

if TYPE_CHECKING:
    from dashboards.figures.fit_view import FitView

_PAPERS_RATE = 0.2
_PAPERS_TOLERANCE = 0.005

Measured = tuple[CycleInterval, ...] | tuple[CycleAccuracies, ...]
Function = TypeVar("Function", bound=Callable[..., Any])


def _options(function: Function) -> Function:
    for option in reversed(
        [
            click.argument("target", metavar="[SPEC|NAME]", required=False),
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
                "--pruning-rate",
                type=float,
                help=f"Share pruned after each cycle, for --csv; by default {_PAPERS_RATE}.",
            ),
            click.option(
                "--tolerance",
                type=float,
                help=f"What counts as good, for --csv with accuracies; by default {_PAPERS_TOLERANCE}.",
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

    if [target, table, csv_file].count(None) != 2:
        raise InvalidInput("fit: give one of SPEC|NAME, --table and --csv, such as: oracle fit --table 11")
    if csv_file is None and (options["pruning_rate"], options["tolerance"]) != (None, None):
        raise InvalidInput("fit: --pruning-rate and --tolerance go with --csv; the others bring their own")
    if target is not None:
        view = _of_search(target, ledger, options)
    else:
        view = _of_table(table, options) if table is not None else _of_csv(csv_file, options)
    if figure is not None:
        from dashboards.attempts import attempt, failed_figure
        from dashboards.files import write_figure

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
    return _view(load_csv(path), options, pruned={"pruning_rate": rate}, title=path.name)


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
        options
        | {"tolerance": results.measure.within, "chance": results.chance.highest if results.chance else None},
        pruned=results.pruned,
        title=record.name,
        curve=results.predicted,
        rates_name="SILO, predicted",
        densities=tuple(each.density for each in results.decided),
        scores=tuple(each.scores for each in results.decided),
        measure=results.measure,
    )


def _view(
    measured: Measured,
    options: dict[str, Any],
    *,
    pruned: dict[str, Any],
    title: str,
    scores: tuple[CycleScores, ...] = (),
    **shown: Any,
) -> FitView:
    from dashboards.figures.fit_view import FitView

    tolerance = _PAPERS_TOLERANCE if options["tolerance"] is None else options["tolerance"]
    if options["q_max"] < 0:
        raise InvalidInput(f"fit: --q-max must be at least 0, not {options['q_max']}: give 5")
    intervals, accuracies = intervals_and_accuracies(measured, tolerance)
    shared = {
        **pruned,
        "q_values": range(options["q_max"] + 1),
        "weighting": options["weighting"],
    }
    found = fit_curve(intervals, **shared)
    told = scores or accuracies
    beliefs = learn(told, tolerance=tolerance, chance=options.get("chance")) if told else ()
    if checks.whole("draws", options["draws"]) and beliefs:
        found = replace(found, drawn=drawn_fits(beliefs, draws=options["draws"], **shared))
    rivals = compare_rivals(intervals, **shared)
    return FitView(title=title, intervals=intervals, fit=found, rivals=rivals, beliefs=beliefs, **shown)
