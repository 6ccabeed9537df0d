"""The report of a search: one HTML page that needs no network, and tables and figures beside it as files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from ruamel.yaml import YAML

from dashboards.figures.cost import cost_figure
from dashboards.figures.distributions import distributions_figure
from dashboards.figures.rates import comparison_figure
from dashboards.figures.region import region_figure, slice_figure
from dashboards.figures.trainings import curves_figure, has_curves, landscape_figure
from dashboards.style import (
    Columns,
    attempt,
    failed_figure,
    failed_paragraph,
    hours_text,
    images,
    percent_text,
    plain_rate_text,
    replace_file,
    section,
)
from dashboards.tables import table as forms
from dashboards.tables.comparison import (
    comparison_table,
    csv_text,
    latex,
    markdown,
    progress,
    subject,
    to_json,
)
from dashboards.tables.table import Table, comment
from oracle.ledger import Run
from oracle.measure import Measure
from oracle.results import Results
from oracle.results.costs import PolicyCost, mean_test_accuracy, shared_cycles
from oracle.results.frames import Parameter
from oracle.results.verdict import curve_code, loss_text
from oracle.spec_parts import ComponentSpec, NetworkSpec
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.fit import CurveFit
from silo.fit.regions import DrawnFits, percent
from silo.fit.rivals import RivalTable
from silo.landscape import JudgedCurve, Verdict
from silo.measured import cycle_ranges, cycles_in_words
from trials.secrets import without_secrets
from trials.tasks import Execution

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


def page(template: str, **content: object) -> str:
    """A page of one of the templates."""
    return _templates().get_template(template).render(content)


def figure_html(drawn: go.Figure, name: str, *, with_library: bool) -> Markup:
    """A figure; the page's first one brings plotly's library along. The page's style inverts it in the dark.

    One that can't be written says so in its place.
    """
    return attempt(
        f"the figure {name!r}", lambda: _figure(drawn, name, with_library=with_library), failed_paragraph
    )


def _figure(drawn: go.Figure, name: str, *, with_library: bool) -> Markup:
    html = drawn.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        div_id=f"{name}-figure",
        config={"displaylogo": False, "modeBarButtons": [["toImage", "resetScale2d"]], "responsive": True},
    )
    return Markup('<div class="figure">{}</div>').format(Markup(html))


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("dashboards.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals["section"] = section
    return found


_OWN = "silo-oracle"


def usage(curve: SiloCurve) -> str:
    """Python that gives a curve's rates."""
    return (
        "from silo import SiloCurve\n"
        f"curve = {curve_code(curve)}\n"
        "max_lr = curve.max_lr(cycle)  # cycle: how often the network has been pruned"
    )


def provenance(results: Results) -> dict[str, Any]:
    """The search's settings, runs and commands, by the names that the template has for them."""
    runs = results.recorded_runs
    file = f"{re.sub(r'[^A-Za-z0-9._-]', '_', results.name)}.yaml"
    pins = _pins(runs)
    commands = [*([pins] if pins else []), f"oracle run {file}  # the spec below, saved under this name"]
    return {
        "facts": [[name, text] for name, text in _facts(results) if text],
        "commands": "\n".join(commands),
        "computed": _computed(results.execution) if results.execution else "",
        "spec": spec_yaml(results),
        "runs": [_run(run) for run in runs],
        "errors": [
            (f"Error of the run of {_when(run.started)}", without_secrets(run.error))
            for run in runs
            if run.error
        ],
    }


def _facts(results: Results) -> list[tuple[str, str]]:
    spec, runs = results.search_spec, results.recorded_runs
    replicates = f"{spec.replicates} replicate{'s' * (spec.replicates != 1)}"
    cycles = f"{spec.cycles} cycle{'s' * (spec.cycles != 1)}"
    length = f"{spec.training.epochs} epochs" if spec.training.epochs else f"{spec.training.iterations} steps"
    return [
        ("network", _component(spec.network)),
        ("its initial weights", _initial(spec.network)),
        ("data set", _component(spec.dataset)),
        ("rates", f"{_rates(results)}, {replicates}"),
        (
            "pruning",
            f"{cycles}: {_component(spec.pruning.pruner)}, {_shares(spec.pruning.rate)} of "
            f"the remaining weights each time, then {spec.retraining.replace('_', ' ')}",
        ),
        (
            "training",
            f"{length}, batches of {spec.training.batch_size}, {_component(spec.training.optimizer)}, "
            f"schedule {_component(spec.training.schedule)}",
        ),
        ("machines", ", ".join(dict.fromkeys(run.host for run in runs))),
        ("GPUs", ", ".join(sorted({trial.gpu for trial in results.outcomes} - {""}))),
        ("dates", _dates(runs)),
        ("versions", _versions(runs[-1]) if runs else ""),
    ]


def _shares(rate: float | tuple[float, ...]) -> str:
    return percent_text(rate) if isinstance(rate, float) else ", ".join(map(percent_text, rate))


def _rates(results: Results) -> str:
    if not results.searched:
        return f"policy {_component(results.search_spec.policy)}"
    span = results.span
    ends = f"{plain_rate_text(span.low)} to {plain_rate_text(span.high)}"
    tried = [candidate.max_lr for row in results.decided for candidate in row.candidates]
    low, high = min(tried, default=span.low), max(tried, default=span.high)
    wider = low < span.low or high > span.high
    reached = f", extended to {plain_rate_text(low)} to {plain_rate_text(high)}" if wider else ""
    candidates = f"{results.policy.candidates} candidates for {results.measure.searched}"
    return f"{candidates}, {ends}{reached}, {span.scale}"


def _component(given: ComponentSpec) -> str:
    shown: dict[str, Any] = without_secrets(given.arguments)
    arguments = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in shown.items())
    return f"{given.name}({arguments})" if arguments else given.name


def _initial(network: NetworkSpec) -> str:
    """The file that they come from; empty where they come from none."""
    if (weights := network.checkpoint) is None:
        return ""
    left = f", without {', '.join(weights.leave_out)}" if weights.leave_out else ""
    return f"{without_secrets(weights.file)}{left}"


def _dates(found: tuple[Run, ...]) -> str:
    if not found:
        return ""
    last = max(run.ended or run.started for run in found)
    first, end = _when(min(run.started for run in found))[:10], _when(last)[:10]
    return first if first == end else f"{first} to {end}"


def _pins(found: tuple[Run, ...]) -> str:
    """The command that installs the last run's versions: this package is in no index, but has its source."""
    versions = dict(found[-1].versions) if found else {}
    versions.pop("python", None)
    if (own := versions.pop(_OWN, None)) is None:
        return ""
    others = [f"'{name}=={text.partition('+')[0]}'" for name, text in versions.items()]
    return f"{' '.join(['pip install .', *others])}  # in the source of {_OWN} {own}"


def _versions(run: Run) -> str:
    return ", ".join(f"{package} {version}" for package, version in run.versions.items())


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _took(run: Run) -> str:
    if run.ended is None:
        return "–"
    minutes, seconds = divmod(max(round(run.ended - run.started), 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _run(run: Run) -> list[str]:
    return [_when(run.started), _took(run), run.state, run.driver, run.host, _versions(run)]


def _computed(execution: Execution) -> str:
    """The way in which the trainings were computed, and how to have them computed the same way again."""
    fields: dict[str, Any] = {
        "pack": execution.pack_size,
        "compile": execution.compiled,
        "channels_last": execution.channels_last,
    }
    if execution.captured:
        fields["cuda_graph"] = "streams" if execution.streams else "pack"
    fixed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())
    return (
        f"Trainings were computed with {execution}. Another way gives the same numbers but for rounding; "
        f"to repeat this one elsewhere, set in the spec's training: {fixed}."
    )


def spec_yaml(results: Results) -> str:
    """The spec as a file that can be run again."""
    buffer = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = None  # what holds no mapping or list stands on one line
    yaml.width = 1_000_000
    yaml.dump(results.spec, buffer)
    return buffer.getvalue()


def write_report(
    results: Results,
    folder: Path,
    *,
    kinds: Collection[str] = (),
    columns: Columns | None = None,
    cycles: Collection[int] | None = None,
) -> Path:
    """Writes ``report.html``, and ``comparison`` as Markdown, LaTeX, CSV and JSON.

    A file is replaced as a whole or not at all. What can't be shown is named in its place, and in the log.

    Args:
        results: The search; a search without decided cycles is, too.
        folder: Where to; made if it does not exist.
        kinds: Which images of each figure are written as well: ``png``, ``svg``, ``pdf``. They need kaleido
            and a browser.
        columns: As wide as one or two columns of a paper the images are; by default as on the page.
        cycles: Which cycles the tables in Markdown and LaTeX show; by default all.

    Returns:
        The path of ``report.html``.

    Raises:
        InvalidInput: The folder can't be written, or an image can't be made; the other files are there then.
    """
    report = folder / "report.html"
    figures = figures_of(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (make, instead) in _FILES.items():
            text = attempt(f"the table in {name}", partial(make, results, cycles), instead)
            replace_file(folder / name, text.encode())
        html = attempt("the report", lambda: report_html(results, figures=figures), failed_paragraph)
        replace_file(report, html.encode())
        if kinds:
            named = {f"{name}.{kind}": figure for kind in kinds for name, figure in figures.items()}
            for name, content in images(named, columns).items():
                replace_file(folder / name, content)
    except OSError as error:
        raise InvalidInput(
            f"report: {folder} can't be written ({error.strerror or error}); name another folder"
        ) from error
    return report


def _csv(results: Results, _cycles: Collection[int] | None) -> str:
    return csv_text(results)


def _json(results: Results, _cycles: Collection[int] | None) -> str:
    return json.dumps(to_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


_Text = Callable[[str], str]

_FILES: dict[str, tuple[Callable[[Results, Collection[int] | None], str], _Text]] = {
    "comparison.md": (markdown, lambda why: f"{why}\n"),
    "comparison.tex": (latex, comment),
    "comparison.csv": (_csv, lambda why: forms.csv_text({"error": "why"}, [{"error": why}])),
    "comparison.json": (_json, lambda why: json.dumps({"error": why}) + "\n"),
}
"""The tables as files, and what they hold where one fails."""


def figures_of(results: Results) -> dict[str, go.Figure]:
    """The figures that there is something to show in, in the order of the page; one that fails says why."""
    found = {
        name: attempt(f"the figure {name!r}", partial(make, results), failed_figure)
        for name, make in _FIGURES.items()
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _landscape(results: Results) -> go.Figure | None:
    return landscape_figure(results) if results.decided and results.searched else None


def _curves_figures(results: Results) -> go.Figure | None:
    return curves_figure(results) if results.decided and has_curves(results.decided[-1]) else None


def _region(results: Results) -> go.Figure | None:
    if (fit := results.fit) is None:
        return None
    return region_figure(fit, predicted=results.predicted, title=results.name)


def _slices(results: Results) -> go.Figure | None:
    if (fit := results.fit) is None or fit.hitting is None:
        return None
    return slice_figure(fit, results.intervals_fitted, predicted=results.predicted, title=results.name)


def _cost_figure(results: Results) -> go.Figure | None:
    return cost_figure(results) if len(results.policy_costs) > 1 else None


def _distributions(results: Results) -> go.Figure | None:
    return distributions_figure(results) if results.distributions else None


_FIGURES: dict[str, Callable[[Results], go.Figure | None]] = {
    "comparison": comparison_figure,
    "landscape": _landscape,
    "curves": _curves_figures,
    "region": _region,
    "slices": _slices,
    "cost": _cost_figure,
    "distributions": _distributions,
}


def report_html(results: Results, *, figures: dict[str, go.Figure] | None = None) -> str:
    """The page as a text: the verdict first, then what it rests on, then how to use and to repeat it.

    Args:
        results: The search.
        figures: Of :func:`figures_of`, if they are there already.
    """
    drawn = figures_of(results) if figures is None else figures
    plots: dict[str, Markup] = {}
    for name, figure in drawn.items():
        first = not any('class="figure"' in plot for plot in plots.values())
        plots[name] = figure_html(figure, name, with_library=first)
    found = Findings(results)
    return page(
        "report.html",
        title=found.title,
        results=results,
        found=found,
        figures=plots,
        provenance=provenance,
        usage=usage,
    )
