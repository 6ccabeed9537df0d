"""Commands that look at what a ledger holds: status and list, and how every command finds a search."""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from oracle.cli.specs import JSON, echo_json, target_specs
from oracle.errors import Refused
from oracle.ledger import Ledger, Retries, SearchRecord
from oracle.ledger.database import DATABASE_ERRORS, reason
from oracle.results import Results
from oracle.spec import DEFAULT_LEDGER, Spec
from silo.errors import InvalidInput, SiloOracleError
from silo.measured import cycles_in_words
from trials.secrets import without_secrets

if TYPE_CHECKING:
    from dashboards.style import Columns
    from oracle.jobs import Job


_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but for tabs and line feeds, ESC among them
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"  # the direction of writing, line ends
    "\U000e0000-\U000e007f\ud800-\udfff]"  # invisible tags, halves of characters
)


def plain(text: str) -> str:
    r"""The text with what would steer a terminal written out: ``\x1b`` for ESC."""
    return _STEERING.sub(lambda found: ascii(found.group())[1:-1], text)


class _PlainStream:
    """A stream that writes plain text only; :attr:`raw` is for a console, which sees to it itself."""

    encoding = "utf-8"  # takes any text: what the stream itself can't write is written out, too

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        known = self.raw.encoding or "utf-8"
        self.raw.write(plain(text).encode(known, "backslashreplace").decode(known))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


class PlainConsole(Console):
    """A console whose styles are its own, and whose text is plain."""

    def __init__(self, file: TextIO | None = None, **options: Any) -> None:
        target = file or sys.stdout
        super().__init__(file=getattr(target, "raw", target), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The renderable's segments, but for what would steer the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def print_document(text: str) -> None:
    """Prints a page or a table of another program's form: to the last byte, unless it goes to a terminal."""
    out = sys.stdout if sys.stdout.isatty() else getattr(sys.stdout, "raw", sys.stdout)
    out.write(text)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Lets only plain text through to standard output and errors, as long as this lasts."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _PlainStream(sys.stdout), _PlainStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


_WIDTH = 110

TARGET = click.argument("target", metavar="SPEC|NAME")
LEDGER = click.option(
    "--ledger",
    envvar="ORACLE_LEDGER",
    help=f"Database URL, if a name is given; by default $ORACLE_LEDGER, then {DEFAULT_LEDGER}.",
)


TRUST = click.option(
    "--trust",
    is_flag=True,
    help="With a name: run the code that the ledger says the search's network and data set are.",
)


ADDRESS = click.option(
    "--address",
    envvar="RAY_API_SERVER_ADDRESS",
    help="A Ray cluster's dashboard, http://HOST:8265; by default $RAY_API_SERVER_ADDRESS.",
)


@click.command()
@TARGET
@LEDGER
@ADDRESS
@JSON
def status(target: str, ledger: str | None, address: str | None, as_json: bool) -> None:
    """Say how far a search is, and whether it runs.

    With an address, what the cluster knows of its job, too; that is all if the ledger can't be reached.

    \b
    Example:
      oracle status mine.yaml
    """
    job = _job_of(target, address) if address else None
    try:
        searches = _searches_of(target, ledger, job)
    except Refused as error:
        if job is None:
            raise
        searches = []
        click.echo(f"oracle: {error}", err=True)
    found = [_status(opened, record, watched=True) for opened, record in searches]
    if job is not None:
        found = [facts | {"job": _job_line(job)} for facts in found or [{"name": job.name}]]
    if as_json:
        echo_json(found if len(found) > 1 else found[0])
        return
    for index, facts in enumerate(found):
        if index:
            click.echo()
        for label in ("name", "state", "job", "cycles", "trials", "storage", "verdict", "error"):
            if facts.get(label) is not None:
                click.echo(f"{label:<9} {facts[label]}")


@click.command("list")
@LEDGER
@ADDRESS
@JSON
@click.pass_context
def list_searches(context: click.Context, ledger: str | None, address: str | None, as_json: bool) -> None:
    """List the searches of a ledger, or of a cluster.

    With an address, those that were submitted to it.

    \b
    Example:
      oracle list
    """
    given = context.get_parameter_source("address") is ParameterSource.COMMANDLINE
    if address and (given or ledger is None):
        from oracle.jobs import Jobs

        jobs = Jobs(address).all()
        columns: tuple[str, ...] = ("name", "state", "started", "ledger")
        found = [
            {"name": job.name, "state": job.state.lower(), "started": job.started, "ledger": job.ledger}
            for job in jobs
        ]
    else:
        columns = ("name", "state", "cycles", "trials", "created")
        opened = Ledger(ledger or DEFAULT_LEDGER)
        found = [_listed(opened, name) for name in opened.names()]
    if as_json:
        echo_json(found)
        return
    table = Table(*columns, box=None, pad_edge=False)
    for facts in found:
        table.add_row(*(_shown(facts[column], column) for column in columns))
    console().print(table)


def open_search(target: str, ledger: str | None) -> tuple[Ledger, SearchRecord]:
    """The ledger and the search that a spec file without variants or a name means.

    Raises:
        Refused: There is no such ledger, or no such search in it.
        InvalidInput: The spec has variants.
    """
    found = open_searches(target, ledger)
    if len(found) > 1:
        names = ", ".join(record.name for _, record in found)
        raise InvalidInput(
            f"{target}: has several variants; name one of their searches: {names}, such as: "
            f"{command_of_one(target, ledger)}"
        )
    return found[0]


def own_spec(target: str, record: SearchRecord) -> Spec | None:
    """The user's own spec of a search; None where its name was given."""
    return next((spec for spec in target_specs(target) if spec.name == record.name), None)


def command_of_one(target: str, ledger: str | None) -> str:
    """The command under way for one of a file's variants, one that searches if there is any."""
    specs = target_specs(target)
    chosen = next((spec for spec in specs if spec.policy_of_rates().searches), specs[0])
    url = ledger or chosen.ledger
    place = [] if url == DEFAULT_LEDGER else ["--ledger", shlex.quote(url)]
    return " ".join(["oracle", str(click.get_current_context().info_name), chosen.name, *place])


def open_searches(
    target: str, ledger: str | None, *, retries: Retries | None = None
) -> list[tuple[Ledger, SearchRecord]]:
    """The ledger and the search that a spec file or a name means; each of a spec's variants that has begun.

    Args:
        target: The spec file or the name.
        ledger: The ledger's URL, if not that of the file, or the default one.
        retries: For how long a database that is away is waited for, if not as long as always.

    Raises:
        Refused: There is no such ledger, or no such search in it.
    """
    specs = target_specs(target)
    if not specs:
        return [Ledger.open_search(target, ledger or DEFAULT_LEDGER, retries=retries)]
    found, missing = [], []
    for spec in specs:
        try:
            found.append(Ledger.open_search(spec.name, ledger or spec.ledger, retries=retries))
        except Refused as error:
            missing.append((spec.name, error))
    if not found:
        raise missing[0][1]
    for name, _ in missing:  # the variants of a file begin one after the other, if they want other workers
        click.echo(f"oracle: search {name!r} has not begun", err=True)
    return found


def read_results(ledger: Ledger, record: SearchRecord, **options: Any) -> Results:
    """A search's results, as :meth:`Results.read` gives them; what its driver left undone is done."""
    from oracle.service import settled

    return settled(ledger, Results.read(ledger, record, **options))


def _status(ledger: Ledger, record: SearchRecord, *, watched: bool) -> dict[str, Any]:
    """State of a search; ``watched`` as :func:`oracle.ledger.lease.holder` takes it."""
    results = read_results(ledger, record)
    last = results.recorded_runs[-1] if results.recorded_runs else None
    if results.done:
        state = "done"
    elif holder := ledger.holder(
        record.name, watched=watched, waiting=lambda line: click.echo(line, err=True)
    ):
        state = f"running ({holder})"
    else:
        state = "interrupted" if last is None or last.state == "running" else last.state
    error = last.error if last and state == "failed" else None
    return {
        "name": record.name,
        "state": state,
        "cycles": f"{len(results.decided)}/{results.search_spec.cycles}",
        "trials": len(results.outcomes),
        "storage": _place(results.search_spec),
        "created": record.created,
        "verdict": results.point_verdict() or None,
        "error": error,
    }


def _listed(ledger: Ledger, name: str) -> dict[str, Any]:
    """Status of one search of many, of which one that can't be read must not hide the others."""
    try:
        record = ledger.search(name)
        assert record is not None
        return _status(ledger, record, watched=False)
    except (SiloOracleError, *DATABASE_ERRORS) as error:
        line = str(error) if isinstance(error, SiloOracleError) else f"search {name!r}: {reason(error)}"
        click.echo(f"oracle: {without_secrets(line)}", err=True)
        return {"name": name, "state": "can't be read", "cycles": None, "trials": None, "created": None}


def _place(spec: Spec) -> str:
    """Where a search's networks lie; as it was given, where this shell lacks a variable that stands in it."""
    try:
        return spec.storage_root()
    except InvalidInput:
        return spec.storage


def _job_of(target: str, address: str) -> Job | None:
    from oracle.jobs import Jobs
    from oracle.jobs.calls import job_name

    try:
        return Jobs(address).find(job_name(target))
    except Refused as error:  # the ledger may outlive the cluster
        click.echo(f"oracle: {error}", err=True)
        return None


def _searches_of(target: str, ledger: str | None, job: Job | None) -> list[tuple[Ledger, SearchRecord]]:
    """The searches of a target whose job is known: all that the job's name stands for."""
    if job is None:
        return open_searches(target, ledger)
    at_once = Retries(seconds=0.0)  # the cluster may be all that this machine reaches
    if target_specs(target):
        return open_searches(target, ledger, retries=at_once)
    names = [target] if target in job.searches else job.searches
    places = ((name, ledger or job.place) for name in names)
    return [found for name, url in places for found in open_searches(name, url, retries=at_once)]


def _job_line(job: Job) -> str:
    """State of a search's job on a cluster, in a line."""
    when = _shown(job.ended if job.ended_state else job.started, "started")
    code = f", exit code {job.exit_code}" if job.exit_code else ""
    return f"{job.state.lower()} {'on' if job.ended_state else 'since'} {when}{code}"


def _shown(value: Any, column: str) -> str:
    if column in ("created", "started"):
        if value is None and column == "created":
            return "–"
        return datetime.fromtimestamp(value).strftime("%Y-%m-%d %H:%M") if value else "not yet"
    return "–" if value is None else plain(str(value))


def console() -> Console:
    """The console for tables: as wide as the terminal, or a fixed width where there is none."""
    screen = PlainConsole()
    return screen if screen.is_terminal else PlainConsole(width=_WIDTH)


@click.command()
@TARGET
@LEDGER
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report; by default NAME-report.",
)
@click.option(
    "--image",
    "images",
    type=click.Choice(["png", "svg", "pdf"]),
    multiple=True,
    help="Also write the figures as images, such as --image png --image pdf (needs silo-oracle[images]).",
)
@click.option(
    "--width",
    type=click.Choice(["one", "two"]),
    help="Images as wide as one (85 mm) or two columns (175 mm) of a paper, letters of 7 points or more.",
)
@click.option(
    "--cycles",
    callback=lambda _context, _parameter, value: _numbers(value),
    help="Cycles of the tables in the terminal, Markdown and LaTeX, such as 0,3,5,7,13, with λ in columns.",
)
@JSON
def report(
    target: str,
    ledger: str | None,
    out: Path | None,
    images: tuple[str, ...],
    width: Columns | None,
    cycles: tuple[int, ...] | None,
    as_json: bool,
) -> None:
    """Show what a search has found, and write the report.

    As HTML, Markdown, LaTeX, CSV and JSON; while the search runs, of the cycles that are decided.

    \b
    Example:
      oracle report mine.yaml
    """
    if width and not images:
        raise InvalidInput("--width: is that of images; give --image pdf, too")
    searches = open_searches(target, ledger)
    places = [
        (out / record.name if len(searches) > 1 else out) if out else Path(f"{record.name}-report")
        for _, record in searches
    ]
    show_comparisons(searches, as_json=as_json, folders=places, images=images, width=width, cycles=cycles)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """Numbers between commas."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"--cycles: {text!r} is no list of cycles; give numbers, such as 0,3,5,7"
        ) from None


def show_comparisons(
    searches: Sequence[tuple[Ledger, SearchRecord]],
    *,
    as_json: bool,
    folders: Sequence[Path] | None = None,
    images: Sequence[str] = (),
    width: Columns | None = None,
    cycles: Sequence[int] | None = None,
) -> None:
    """Prints the comparisons and writes their reports; beside the networks unless folders are given.

    Several are also shown side by side.
    """
    from dashboards.style import attempt
    from dashboards.tables.accuracy import side_by_side

    found, data = [], []
    for index, (ledger, record) in enumerate(searches):
        results = read_results(ledger, record)
        place = folders[index] if folders else _report_folder(results.search_spec)
        found.append(results)
        data.append(_show(results, place, as_json=as_json, images=images, width=width, cycles=cycles))
    if as_json:
        echo_json(data if len(data) > 1 else data[0])
    elif len(found) > 1 and any(results.decided for results in found):
        console().print(attempt("the searches side by side", lambda: side_by_side(found), str))


def _show(
    results: Results,
    folder: Path,
    *,
    as_json: bool,
    images: Sequence[str],
    width: Columns | None,
    cycles: Sequence[int] | None,
) -> dict[str, Any]:
    """Writes a report, and prints the comparison unless it is wanted as JSON, which it gives."""
    from dashboards.report import write_report
    from dashboards.style import attempt, failed_table
    from dashboards.tables.comparison import terminal_table, to_json
    from dashboards.tables.table import TerminalTable

    if missing := sorted(set(cycles or ()) - {each.cycle for each in results.decided}):
        raise InvalidInput(
            f"--cycles: search {results.name!r} has not decided {cycles_in_words(missing)}; "
            f"decided are {len(results.decided)}, from 0 on"
        )
    page = write_report(results, folder, kinds=images, columns=width, cycles=cycles)
    if as_json:
        data = attempt("the comparison", lambda: to_json(results), lambda why: {"error": why})
        return {**data, "report": str(page)}
    screen = console()
    if results.decided:
        screen.print(
            attempt(
                "the table",
                lambda: terminal_table(results, cycles),
                lambda why: TerminalTable(table=failed_table(results.name, why)),
            )
        )
    for what, make, style in (
        ("the fit", lambda: str(results.point_fit or ""), ""),
        ("the verdict", results.verdict, "bold"),
        ("what to take", lambda: _recommended(results), ""),
        ("the advice", results.advice_text, ""),
        ("the GPUs", results.gpus_text, ""),
    ):
        if text := attempt(what, make, str):
            screen.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
    screen.print(f"Report: {page}", highlight=False, markup=False, soft_wrap=True)
    return {}


def _recommended(results: Results) -> str:
    found = results.recommendation
    return "" if found is None else f"{found.text}\n{textwrap.indent(found.code, '    ')}"


def _report_folder(spec: Spec) -> Path:
    """Beside the search's networks; in the working directory if those are not on this machine's disk."""
    root = spec.storage_root()
    return Path(f"{spec.name}-report") if "://" in root else Path(root) / "report"
