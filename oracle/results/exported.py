"""A search's results from the files that ``oracle export`` wrote, where its ledger is not at hand."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from oracle.cycles import Cycle, decide
from oracle.measure import chance_of
from oracle.policies import modelled_cycle, restated
from oracle.results.frames import FLOAT, INT, SCORE_COLUMNS, TRUTH, Columns, columns_of
from oracle.results.results import DRAWS, Results
from oracle.spec import Spec
from oracle.spec_parts import RECORDED
from silo.errors import InvalidInput
from trials.tasks import STATISTICS, StoredFile, Trial, TrialDiagnostics, numbers_of

_FILE = StoredFile(path="exported", sha256="0" * 64)
_NOTHING = dict.fromkeys(STATISTICS, math.nan)
_UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(("test_score", "train_loss"), math.nan), **dict.fromkeys(("started", "ended"), 0.0),
    "worker": "exported",
}  # fmt: skip
_PARSERS: dict[str, Callable[[str], Any]] = {INT: int, FLOAT: float, TRUTH: "True".__eq__}


def read_export(
    folder: str | Path, *, replicates: Collection[int] | None = None, draws: int = DRAWS
) -> Results:
    """Reads what ``oracle export`` wrote, as CSV or ``--format brief``.

    Tables, figures, verdict and fits are those of the ledger. Networks, training curves, histograms and runs
    aren't in the files that are read, and with a policy that leaves trainings out, rates beyond the spec's
    grid that none was trained with are left out.

    Args:
        folder: The folder with ``search.json``, ``intervals.csv`` and ``trials.csv`` (or ``trials.csv.gz``).
        replicates: Those that count, as if there had been no others: their networks were pruned at the rates
            that all of them chose. By default all.
        draws: See :class:`Results`.

    Raises:
        InvalidInput: The folder lacks one of them, they lack one of these replicates, or they aren't those of
            a search.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        spec = Spec.model_validate(facts["spec"], context=RECORDED)
        chance = chance_of(facts["chance"], spec.measure())
        columns, packed = columns_of(spec.measure()), folder / "trials.csv.gz"
        rows = _records(packed if packed.exists() else folder / "trials.csv", columns["trials"])
        trials = _trials(rows, spec)
        if replicates is not None:
            spec = spec.model_copy(update={"replicates": len(replicates)})
            trials = [each for each in trials if each.replicate in replicates]
            if len({each.replicate for each in trials}) < len(replicates):
                raise ValueError(f"not all of replicates {sorted(replicates)} are in it")
        intervals = _records(folder / "intervals.csv", columns["intervals"])
        decided = tuple(_cycle(spec, row, trials) for row in intervals)
    except OSError as error:
        raise InvalidInput(
            f"export: {error.filename or folder} can't be read ({error.strerror or error})"
        ) from error
    except (KeyError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InvalidInput(f"export: {folder} holds no search that 'oracle export' wrote: {why}") from error
    if spec.policy_of_rates().selective:
        decided = restated(decided, spec.measure().within, chance.highest if chance else None)
    outcomes = tuple(trials)
    return Results(search_spec=spec, decided=decided, outcomes=outcomes, chance=chance, draws=draws)


def _records(path: Path, columns: Columns) -> list[dict[str, Any]]:
    """A table's rows by its columns' types, every number to its last digit; what is missing is left out."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    read = {name: _PARSERS.get(column.kind, str) for name, column in columns.items()}
    rows = csv.DictReader(io.StringIO(text))
    return [{name: read[name](value) for name, value in row.items() if value} for row in rows]


def _trials(rows: Sequence[Mapping[str, Any]], spec: Spec) -> list[Trial]:
    """The trainings, their files left out."""
    names = {name: spec.measure().named(column) for name, column in SCORE_COLUMNS.items()}
    if spec.over is not None:
        names["max_lr"] = spec.measure().searched
    kept = [name for name, (_, meaning) in numbers_of(Trial).items() if not meaning.time]
    found = []
    for row in rows:
        given = {name: row[names.get(name, name)] for name in kept if names.get(name, name) in row}
        statistics = {name: row[name] for name in STATISTICS if name in row}
        notes = TrialDiagnostics(**{**_NOTHING, **statistics}, file=_FILE) if statistics else None
        found.append(Trial(**{**_UNKNOWN, **given}, checkpoint=_FILE, diagnostics=notes))
    return found


def _cycle(spec: Spec, row: Mapping[str, Any], trials: Sequence[Trial]) -> Cycle:
    """A decided cycle: all that is stated of it follows from its trainings, but for what was chosen."""
    cycle, measure = int(row["cycle"]), spec.measure()
    outcomes: dict[float, dict[int, Trial]] = defaultdict(dict)
    for trial in trials:
        if trial.cycle == cycle:
            outcomes[trial.max_lr][trial.replicate] = trial
    policy = spec.policy_of_rates()
    if policy.selective:
        grid = tuple(sorted({*outcomes, *policy.rates}))
        found = modelled_cycle(cycle, grid, outcomes, (), None, measure)
    else:
        found = decide(cycle, outcomes, tolerance=measure.within, measure=measure)
    choice = replace(found.choice, max_lr=row["chosen"], rule=spec.decide)
    return replace(found, choice=choice, density=row["density"], density_all=row["density_all"])
