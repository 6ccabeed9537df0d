"""The report of a search: one HTML page that needs no network, and the tables beside it as files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import plotly.graph_objects as go
from ruamel.yaml import YAML

from dashboards import _page
from dashboards._cells import marks, progress, subject, units
from dashboards.figure_files import image, replace_file
from dashboards.figures import comparison_figure, landscape_figure
from dashboards.style import percent_text
from dashboards.tables import csv_text, html_table, latex, markdown, public_spec, to_json
from oracle.analysis import Analysis
from oracle.comparison import Comparison, cycles_in_words
from oracle.ledger import Run
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.fit import CurveFit
from trials.secrets import without_secrets


def write_report(
    comparison: Comparison, folder: Path, *, runs: Sequence[Run] = (), png: bool = False
) -> Path:
    """Writes ``report.html``, and ``comparison`` as ``.md``, ``.tex``, ``.csv`` and ``.json``.

    A file is replaced as a whole or not at all.

    Args:
        comparison: The comparison; one without decided cycles is reported too.
        folder: Where to; made if it does not exist.
        runs: The runs to list, oldest first.
        png: Whether to write ``comparison.png`` as well, which needs kaleido and a browser.

    Returns:
        The path of ``report.html``.

    Raises:
        InvalidInput: The folder can't be written, or the image can't be made; the other files are there then.
    """
    report = folder / "report.html"
    data = json.dumps(to_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "comparison.md", markdown(comparison).encode())
        replace_file(folder / "comparison.tex", latex(comparison).encode())
        replace_file(folder / "comparison.csv", csv_text(comparison).encode())
        replace_file(folder / "comparison.json", f"{data}\n".encode())
        replace_file(report, report_html(comparison, runs=runs).encode())
        if png:
            replace_file(folder / "comparison.png", image(_figure(comparison), "comparison.png"))
    except OSError as error:
        raise InvalidInput(
            f"report: {folder} can't be written ({error.strerror or error}); name another folder"
        ) from error
    return report


def report_html(comparison: Comparison, *, runs: Sequence[Run] = ()) -> str:
    """The page as a text: the verdict first, then what it rests on."""
    parts = [
        _page.heading(comparison.name, level=1),
        _page.paragraph(progress(comparison), "soft"),
        _page.paragraph(comparison.verdict(), "verdict"),
        *_comparison(comparison),
        *_fit(comparison.fit),
        _page.heading("Spec"),
        _page.code(_yaml(comparison)),
        *_way(comparison),
        *_runs(runs),
    ]
    return _page.page(f"{comparison.name}: {subject(comparison)}", parts)


def usage(curve: SiloCurve) -> str:
    """Python that gives a curve's rates."""
    numbers = ", ".join(f"{name}={value + 0.0:.6g}" for name, value in curve.to_dict().items())
    return (
        "from silo import SiloCurve\n"
        f"curve = SiloCurve({numbers})\n"
        "max_lr = curve.max_lr(cycle)  # cycle: how often the network has been pruned"
    )


def _comparison(comparison: Comparison) -> list[str]:
    plot = _plot(_figure(comparison), "comparison", with_library=True)
    title = subject(comparison)
    parts = [_page.heading(title[0].upper() + title[1:]), plot]
    if not comparison.rows:
        return parts
    headers, rows = html_table(comparison)
    tolerance = percent_text(comparison.spec.tolerance)
    parts += [
        _page.heading("Per cycle"),
        _page.table(headers, rows, "wide"),
        _page.bullets([units(comparison), *marks(comparison, rates=True)]),
    ]
    if not comparison.spec.searched:
        return parts
    return [
        *parts,
        _page.heading("Every candidate"),
        _plot(landscape_figure(comparison), "landscape", with_library=False),
        _page.paragraph(
            "Mean validation accuracy of each candidate. A frame holds the Oracle optimized interval: the "
            f"candidates around the optimum within {tolerance} of it. Grey cells were not tried.",
            "soft",
        ),
    ]


def _figure(comparison: Comparison) -> go.Figure:
    return comparison_figure(Analysis(comparison=comparison))


def _fit(fit: CurveFit | None) -> list[str]:
    if fit is None:
        return []
    return [
        _page.heading("The fitted curve"),
        _page.table(["curve", "q", "β", "ε", "δ", "what it is"], _curves(fit), "words"),
        _page.bullets(fit.notes),
        _page.heading("Use the fitted curve"),
        _page.paragraph("The least-squares curve; the other one of the table is used the same way.", "soft"),
        _page.code(usage(fit.curve)),
    ]


def _curves(fit: CurveFit) -> list[list[str]]:
    """The curves of a fit with what each is, in words."""
    inside = f"it lies in {sum(fit.inside.values())} of {len(fit.inside)} intervals"
    if fit.hitting:
        name, margin = "inside all", f"{fit.margin:.3g} away from every end"
        values = ", ".join(map(str, fit.feasible_q))
        words = f"lies in all intervals, at least {margin}; such curves exist for q = {values}"
    else:
        name = "fewest misses"
        words = f"the curve outside the fewest intervals: it misses {cycles_in_words(fit.missed_cycles)}"
    return [
        [
            "least squares",
            *_numbers(fit.curve),
            f"{fit.criterion}; weighted RMSE {fit.weighted_rmse:.3g}; {inside}",
        ],
        [name, *_numbers(fit.fewest_misses), words],
    ]


def _numbers(curve: SiloCurve) -> list[str]:
    """``+ 0.0`` turns the -0 of a flat curve into 0."""
    return [f"{value + 0.0:.4g}" for value in (curve.q, curve.beta, curve.epsilon, curve.delta)]


def _runs(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return []
    rows = [[_when(run.started), _took(run), run.state, run.driver, run.host, _versions(run)] for run in runs]
    headers = ["started (UTC)", "took", "state", "driver", "host", "versions"]
    errors = [
        _page.folded(f"Error of the run of {_when(run.started)}", without_secrets(run.error))
        for run in runs
        if run.error
    ]
    return [_page.heading("Runs"), _page.table(headers, rows, "words"), *errors]


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


def _way(comparison: Comparison) -> list[str]:
    """How the trainings were computed, and how to have them computed the same way again."""
    way = comparison.way
    if way is None:
        return []
    fields = {"pack": way.pack_size, "compile": way.compiled, "channels_last": way.channels_last}
    if way.captured:
        fields["cuda_graph"] = "streams" if way.streams else "pack"
    fixed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())
    text = (
        f"Trainings were computed with {way}. Another way gives the same numbers but for rounding; "
        f"to repeat this one elsewhere, add to training: {fixed}."
    )
    return [_page.paragraph(text, "soft")]


def _yaml(comparison: Comparison) -> str:
    buffer = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False
    yaml.default_flow_style = None  # what holds no mapping or list stands on one line
    yaml.width = 1_000_000
    yaml.dump(public_spec(comparison), buffer)
    return buffer.getvalue()


def _plot(figure: go.Figure, name: str, *, with_library: bool) -> str:
    """A figure's HTML; the page's first one brings plotly's library along."""
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        div_id=f"{name}-figure",
        config={"displaylogo": False, "modeBarButtons": [["toImage", "resetScale2d"]], "responsive": True},
    )
    return _page.figure(html)
