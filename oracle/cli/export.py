"""The command that writes a search's frames as files, for notebooks, papers and other programs."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oracle.cli.show import LEDGER, TARGET, open_searches, read_results
from oracle.cli.specs import JSON, echo_json
from oracle.measure import MAX_LR
from oracle.results import Results
from oracle.results.frames import STATISTICS, meanings
from silo.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet", "json")
BRIEF = "brief"
"""The format that has what tables and figures follow from, and nothing else."""

_BRIEF_TRIALS = (
    *("cycle", "replicate", "max_lr", "density", "validation_{key}", "test_{key}", "best_step", "diverged"),
    *("selected", *STATISTICS, "wall_seconds", "pack"),
)


@click.command()
@TARGET
@LEDGER
@click.option(
    "--format",
    "kind",
    type=click.Choice((*FORMATS, BRIEF)),
    default="csv",
    show_default=True,
    help="csv and parquet: a file per frame; json: one file; brief: a few columns of the trials, packed, "
    "from which oracle.read_export makes the rest.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files; by default NAME-export.",
)
@JSON
def export(target: str, ledger: str | None, kind: str, out: Path | None, as_json: bool) -> None:
    """Write every training, and what follows from it, as tables.

    Trials, curves, candidates, intervals, fits, rivals, rules, costs, diagnostics and runs, with a page that
    says what each column means.

    \b
    Example:
      oracle export mine.yaml --format parquet
    """
    searches = open_searches(target, ledger)
    written = []
    for opened, record in searches:
        folder = (out / record.name if len(searches) > 1 else out) if out else Path(f"{record.name}-export")
        results = read_results(opened, record)
        files = write_export(results, folder, kind)
        rows = {name: len(frame) for name, frame in results.frames().items()}
        written.append(
            {"name": record.name, "format": kind, "files": [str(path) for path in files], "rows": rows}
        )
        if not as_json:
            shown = ", ".join(f"{name} {count:,}" for name, count in rows.items())
            click.echo(f"Wrote {', '.join(path.name for path in files)} into {folder}/")
            click.echo(f"Rows: {shown}")
    if as_json:
        echo_json(written if len(written) > 1 else written[0])


_PLACES = ("storage", "ledger")
_CHANCE = ("classes", "validation", "floor")
"""Of what determined a search's outcomes, that which chance level follows from."""


def write_export(results: Results, folder: Path, kind: str) -> list[Path]:
    """Writes a search's frames, what their columns mean, and its spec without passwords.

    A file is replaced as a whole or not at all.

    Args:
        results: The search.
        folder: Where to; made if it does not exist.
        kind: One of :data:`FORMATS`, or :data:`BRIEF`.

    Returns:
        The files.

    Raises:
        InvalidInput: The folder can't be written.
    """
    from dashboards.style import replace_file

    if kind in _WRITERS:
        contents = _many_files(results, _WRITERS[kind], kind)
    else:
        contents = _brief(results) if kind == BRIEF else _one_document(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            replace_file(folder / name, content)
    except OSError as error:
        raise InvalidInput(
            f"export: {folder} can't be written ({error.strerror or error}); name another folder by --out"
        ) from error
    return [folder / name for name in contents]


def _one_document(results: Results) -> dict[str, bytes]:
    frames = {name: _records(frame) for name, frame in results.frames().items()}
    columns = meanings(results.measure)
    return {f"{results.name}.json": _json({**_facts(results), "columns": columns, "frames": frames})}


def _many_files(results: Results, write: Callable[[pd.DataFrame], bytes], kind: str) -> dict[str, bytes]:
    return {
        **{f"{name}.{kind}": write(frame) for name, frame in results.frames().items()},
        "columns.json": _json(meanings(results.measure)),
        "search.json": _json(_facts(results)),
        "README.md": _readme(results, kind).encode(),
    }


def _brief(results: Results) -> dict[str, bytes]:
    """Small enough to be kept beside a paper; where it ran is left out."""
    facts = _facts(results)
    facts["spec"] = {
        name: value for name, value in facts["spec"].items() if name not in ("storage", "ledger")
    }
    names = [results.measure.named(name) for name in _BRIEF_TRIALS]
    trials = results.trials[[results.measure.searched if name == MAX_LR else name for name in names]]
    trials = trials.drop(columns=[name for name in STATISTICS if trials[name].isna().all()])
    return {
        "trials.csv.gz": gzip.compress(_csv(trials), mtime=0),
        "intervals.csv": _csv(results.intervals),
        "search.json": _json(facts),
    }


def _facts(results: Results) -> dict[str, Any]:
    return {
        "name": results.name,
        "verdict": results.verdict(),
        "done": results.done,
        "cycles": results.search_spec.cycles,
        "decided": len(results.decided),
        "chance": {name: results.identity[name] for name in _CHANCE if name in results.identity},
        "spec": results.spec,
    }


def _readme(results: Results, kind: str) -> str:
    metric = results.measure.metric.name
    scores = "accuracies and densities are"
    if not results.measure.percent:
        scores = f"{metric} is in its own unit, densities are"
    parts = [
        f"# {results.name}",
        results.verdict(),
        f"Learning rates are as they are, {scores} shares in [0, 1], times are UTC. "
        "`columns.json` has the tables below for programs, `search.json` the spec.",
    ]
    for name, columns in meanings(results.measure).items():
        rows = "\n".join(f"| {column} | {meaning} |" for column, meaning in columns.items())
        parts.append(f"## {name}.{kind}\n\n| column | what it is |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def _csv(frame: pd.DataFrame) -> bytes:
    """Numbers in as many digits as give them back; what is missing is empty."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {"csv": _csv, "parquet": _parquet}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows, ready for JSON: what is missing or not finite is null, times are ISO 8601."""
    import pandas as pd

    def plain(value: Any) -> Any:
        if isinstance(value, datetime) and not pd.isna(value):
            return value.isoformat()
        return None if pd.isna(value) or (isinstance(value, float) and math.isinf(value)) else value

    rows = zip(*(frame[column].tolist() for column in frame), strict=True)
    return [dict(zip(frame.columns, map(plain, row), strict=True)) for row in rows]


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
