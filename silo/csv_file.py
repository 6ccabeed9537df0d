"""Reads measurements from a CSV file: intervals, or the accuracies that they come from."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from silo import checks
from silo._arrays import FloatArray
from silo.errors import InvalidInput
from silo.measured import (
    CycleAccuracies,
    CycleInterval,
    CycleScores,
    check_accuracies,
    check_intervals,
    check_scores,
)

_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SKIPPED = re.compile(r"(sep=.)?[\s,;]*", re.IGNORECASE)
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")
# Beyond this no two floats need be a whole number apart.
_LARGEST_WHOLE = 2**53
# Rates this close are one: 0.1 + 0.2 is 0.30000000000000004.
_SAME_RATE = 1e-9

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: where it is, and its cells by the header's names.

    Attributes:
        place: the file and the line, in words.
        line: the number of its last line.
        cells: stripped of spaces.
    """

    place: str
    line: int
    cells: dict[str, str]

    def number(self, name: str) -> float:
        """A finite number; its decimal sign may be a comma."""
        text = self.cells[name]
        number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else np.inf
        if not np.isfinite(number):
            share = ": write 90 % as 0.9" if text.endswith("%") else ""
            raise InvalidInput(f"{self.place}: {name} must be a number, not {text!r}{share}")
        return number

    def whole(self, name: str) -> int:
        """A whole number of at least 0; 3.0 is one."""
        text = self.cells[name]
        number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else -1.0
        if not (0 <= number <= _LARGEST_WHOLE and number == int(number)):
            raise InvalidInput(f"{self.place}: {name} must be a whole number of at least 0, not {text!r}")
        return int(number)

    def truth(self, name: str) -> bool:
        """True or false; an empty cell is false."""
        text = self.cells[name]
        if text.lower() not in (*_TRUE, *_FALSE):
            raise InvalidInput(f"{self.place}: {name} must be true or false, not {text!r}")
        return text.lower() in _TRUE

    def located(self, make: Callable[[], Value]) -> Value:
        """Calls ``make``, and adds the file and line to its complaint."""
        return located(self.place, make)


def read_rows(path: Path, known: Iterable[str]) -> tuple[list[str], list[Row]]:
    """The header's names, in lower case with ``_`` between words, and the rows that are not empty.

    The delimiter is the comma, semicolon or tab that finds the most names of ``known`` in the header. The
    file is UTF-8, or UTF-16 with its mark; a spreadsheet's first line ``sep=;`` and comments after ``#`` are
    none of the header, which may stand after ``#`` itself.

    Raises:
        InvalidInput: the file can't be read, or a row has more cells than the header.
    """
    try:
        raw = path.read_bytes()
        encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        lines = list(io.StringIO(raw.decode(encoding), newline=""))
        lines = [_without_comment(line, known) for line in lines]
        first = next((number for number, line in enumerate(lines) if not _SKIPPED.fullmatch(line)), 0)
        delimiter = _delimiter(lines[first] if lines else "", known)
        found = [
            (first + reader.line_num, [cell.strip() for cell in cells])
            for reader in [csv.reader(lines[first:], delimiter=delimiter, skipinitialspace=True)]
            for cells in reader
        ]
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: is no CSV file in UTF-8 ({error})") from error
    header = [normal(name) for name in found[0][1]] if found else []
    while header and not header[-1]:
        header.pop()
    rows = []
    for line, cells in found[1:]:
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            raise InvalidInput(
                f"{path}, line {line}: has more cells than the header's {len(header)}: where a comma is the "
                "decimal sign, put ; between cells"
            )
        padded = cells + [""] * len(header)
        rows.append(
            Row(place=f"{path}, line {line}", line=line, cells=dict(zip(header, padded, strict=False)))
        )
    return header, rows


def normal(name: str) -> str:
    """``Max LR`` and ``max-lr`` are ``max_lr``."""
    return "_".join(re.split(r"[\s_-]+", name.strip().lower()))


def _without_comment(line: str, known: Iterable[str]) -> str:
    """An empty line for one that ``#`` begins, unless it names columns."""
    if not line.startswith("#"):
        return line
    named = line.removeprefix("#")
    return named if _names(named, _delimiter(named, known), known)[0] > 1 else "\n"


def _delimiter(header: str, known: Iterable[str]) -> str:
    return max(_DELIMITERS, key=lambda delimiter: _names(header, delimiter, known))


def _names(header: str, delimiter: str, known: Iterable[str]) -> tuple[int, int]:
    """How many of a header's cells are known, and how many it has."""
    cells = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    return len(set(known) & {normal(cell) for cell in cells}), len(cells)


def same_rates(rates: Sequence[float]) -> dict[float, float]:
    """For each rate the one that it stands for: of those within a billionth, that with the fewest digits."""
    ordered = np.unique(np.array(rates, dtype=np.float64))
    apart = np.flatnonzero(np.diff(ordered) > _SAME_RATE * np.abs(ordered[1:])) + 1
    groups = [group.tolist() for group in np.split(ordered, apart)]
    return {rate: min(group, key=lambda one: len(repr(one))) for group in groups for rate in group}


def located(place: str, make: Callable[[], Value]) -> Value:
    """Calls ``make``, and adds the place to its complaint, unless that names a line of it."""
    try:
        return make()
    except InvalidInput as error:
        if str(error).startswith(f"{place}, line"):
            raise
        raise InvalidInput(f"{place}: {error}") from None


INTERVAL_COLUMNS = ("cycle", "optimum", "low", "high")
CUT_COLUMNS = ("low_cut", "high_cut")
_PLACE = ("cycle", "max_lr", "replicate")
ACCURACY_COLUMNS = (*_PLACE, "accuracy")

# What a column of validation accuracies may be called; the second is what ``oracle export`` calls it.
_ACCURACY_NAMES = ("accuracy", "validation_accuracy", "val_accuracy", "valid_accuracy", "val_acc", "acc")
# How alike a column must be to one of ours to be taken for a slip of the pen.
_LIKENESS = 0.8
_UNIT: dict[tuple[str, ...], str] = {INTERVAL_COLUMNS: "cycle", ACCURACY_COLUMNS: "training"}

Cycle = TypeVar("Cycle", CycleAccuracies, CycleScores)


def load_csv(path: str | Path) -> tuple[CycleInterval, ...] | tuple[CycleAccuracies, ...]:
    """Reads a CSV file with a header; one of two kinds.

    With intervals it has a row per cycle: ``cycle``, ``optimum``, ``low``, ``high``, and where the grid may
    have cut an end off, ``low_cut`` and ``high_cut`` (true or false). With accuracies it has a row per
    training: ``cycle``, ``max_lr``, ``replicate`` (any name, which stands for the same chain of networks in
    every cycle) and ``accuracy`` (a share in [0, 1]), which ``oracle export`` calls ``validation_accuracy``.
    Rates are learning rates; those within a billionth of each other are one. Other columns are ignored,
    unless they look like one of these misspelt.

    Cells are separated by commas, semicolons or tabs, the decimal sign is a point or a comma, the header is
    in any case, and empty rows are none.

    Args:
        path: the file, UTF-8, or UTF-16 with its mark.

    Returns:
        One per cycle, ascending; what ``fit_curve`` takes.

    Raises:
        InvalidInput: the file can't be read, a column is missing, or a value makes no sense: with its line.
    """
    place = Path(path)
    header, rows = read_rows(place, (*INTERVAL_COLUMNS, *CUT_COLUMNS, *ACCURACY_COLUMNS, *_ACCURACY_NAMES))
    accuracy = _score_column(place, header, "accuracy", _ACCURACY_NAMES)
    kind = _kind(header, accuracy)
    wanted = f"{', '.join(INTERVAL_COLUMNS)} per cycle, or {', '.join(ACCURACY_COLUMNS)} per training"
    _check_header(place, [("accuracy" if name == accuracy else name) for name in header], kind, wanted)
    if not rows:
        raise InvalidInput(f"{place}: has a header, but no rows: give one per {_UNIT[kind]}")
    if kind is INTERVAL_COLUMNS:
        return _intervals(place, rows)
    assert accuracy is not None, "the header has been checked"

    def cycle(m: int, rates: FloatArray, accuracies: FloatArray) -> CycleAccuracies:
        return CycleAccuracies(cycle=m, rates=rates, accuracies=accuracies)

    return located(f"{place}", lambda: check_accuracies(_trainings(place, rows, accuracy, cycle)))


def load_scores(
    path: str | Path, metric: str, comparable: Callable[[float], float] = float
) -> tuple[CycleScores, ...]:
    """Reads the scores of another metric than accuracy from a CSV file with a row per training.

    Args:
        path: the file, as ``load_csv`` reads it, with the score in a column of the metric's name, or of
            ``validation_`` and its name, as ``oracle export`` calls it.
        metric: the metric's name as a part of a column's, such as ``rmse``.
        comparable: makes a number of a score of which the higher is the better.

    Returns:
        One per cycle, ascending; what ``learn`` takes.

    Raises:
        InvalidInput: as ``load_csv``.
    """
    place, names = Path(path), (metric, f"validation_{metric}")
    header, rows = read_rows(place, (*_PLACE, *names))
    column = _score_column(place, header, metric, names)
    kind = (*_PLACE, metric)
    given = [(metric if name == column else name) for name in header]
    _check_header(place, given, kind, f"{', '.join(kind)} per training")
    if not rows:
        raise InvalidInput(f"{place}: has a header, but no rows: give one per training")
    assert column is not None, "the header has been checked"

    def cycle(m: int, rates: FloatArray, scores: FloatArray) -> CycleScores:
        found = [[comparable(score) for score in row] for row in scores.tolist()]
        index, replicate = np.indices(scores.shape)
        return CycleScores(
            cycle=m, grid=rates, index=index.ravel(), replicate=replicate.ravel(), score=np.ravel(found)
        )

    return located(f"{place}", lambda: check_scores(_trainings(place, rows, column, cycle)))


def _score_column(place: Path, header: list[str], what: str, names: tuple[str, ...]) -> str | None:
    found = [name for name in names if name in header]
    if len(found) > 1:
        raise InvalidInput(
            f"{place}: the {what} could be column {found[0]!r} or {found[1]!r}: leave only that of the "
            "validation examples"
        )
    return found[0] if found else None


def _kind(header: list[str], accuracy: str | None) -> tuple[str, ...]:
    of_trainings = sum(name in header for name in ("max_lr", "replicate")) + (accuracy is not None)
    of_cycles = sum(name in header for name in INTERVAL_COLUMNS[1:])
    return ACCURACY_COLUMNS if of_trainings > of_cycles else INTERVAL_COLUMNS


def _check_header(place: Path, header: list[str], kind: tuple[str, ...], wanted: str) -> None:
    missing = [name for name in kind if name not in header]
    if missing:
        raise InvalidInput(
            f"{place}: has no column {', '.join(missing)}, but {', '.join(header) or 'none'}: give {wanted}"
        )
    for name, count in Counter(name for name in header if name).items():
        known = (*kind, *CUT_COLUMNS)
        if count > 1:
            raise InvalidInput(f"{place}: has two columns {name!r}: give each once")
        if name not in known and (near := checks.most_alike(name, known, likeness=_LIKENESS)):
            raise InvalidInput(f"{place}: has a column {name!r}: did you mean {near!r}?")


def _intervals(place: Path, rows: list[Row]) -> tuple[CycleInterval, ...]:
    lines: dict[int, int] = {}
    values: list[dict[str, Any]] = []
    for row in rows:
        cycle = row.whole("cycle")
        if cycle in lines:
            raise InvalidInput(
                f"{place}, lines {lines[cycle]} and {row.line}: cycle {cycle} is given twice: give it once"
            )
        lines[cycle] = row.line
        rates = {name: row.number(name) for name in INTERVAL_COLUMNS[1:]}
        cuts = {name: row.truth(name) for name in CUT_COLUMNS if name in row.cells}
        values.append({"cycle": cycle, **rates, **cuts})
    same = same_rates([each[name] for each in values for name in INTERVAL_COLUMNS[1:]])
    found = []
    for row, each in zip(rows, values, strict=True):
        rates = {name: same[each[name]] for name in INTERVAL_COLUMNS[1:]}
        found.append(row.located(partial(CycleInterval, **{**each, **rates})))
    return located(f"{place}", lambda: check_intervals(found))


def _trainings(
    place: Path, rows: list[Row], column: str, make: Callable[[int, FloatArray, FloatArray], Cycle]
) -> list[Cycle]:
    """The cycles that ``make`` gives of m, the rates (n,) and the scores (n, r) of its trainings."""
    same = same_rates([row.number("max_lr") for row in rows])
    cycles: dict[int, dict[tuple[float, str], Row]] = {}
    for row in rows:
        cycle, rate, replicate = row.whole("cycle"), same[row.number("max_lr")], row.cells["replicate"]
        before = cycles.setdefault(cycle, {}).setdefault((rate, replicate), row)
        if before is not row:
            raise InvalidInput(
                f"{place}, lines {before.line} and {row.line}: cycle {cycle}, max_lr {rate:g}, replicate "
                f"{replicate} is given twice: give it once"
            )
    order = _chains(place, {m: {replicate for _, replicate in found} for m, found in cycles.items()})
    return [make(m, *_scores(m, found, order, column)) for m, found in cycles.items()]


def _chains(place: Path, replicates: dict[int, set[str]]) -> list[str]:
    """The replicates in such an order that each is at the same position in every cycle.

    A cycle may have fewer than another, but none of its own: by position, replicates of other names would be
    taken for one chain of networks.
    """
    by_size = sorted(replicates, key=lambda m: (len(replicates[m]), m))
    order: list[str] = []
    for m in by_size:
        if lost := set(order) - replicates[m]:
            other = next(k for k in by_size if lost <= replicates[k])
            raise InvalidInput(
                f"{place}: cycle {other} has replicate {_named(lost)}, cycle {m} has not, but "
                f"{_named(replicates[m])}: a replicate is one chain of networks, with "
                "one name in every cycle"
            )
        order += sorted(replicates[m] - set(order), key=_natural)
    return order


def _named(replicates: set[str]) -> str:
    return ", ".join(name or repr(name) for name in sorted(replicates, key=_natural))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """2 comes before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]


def _scores(
    cycle: int, found: dict[tuple[float, str], Row], order: list[str], column: str
) -> tuple[FloatArray, FloatArray]:
    rates = sorted({rate for rate, _ in found})
    given = {replicate for _, replicate in found}
    replicates = [replicate for replicate in order if replicate in given]
    for rate in rates:
        for replicate in replicates:
            if (rate, replicate) not in found:
                raise InvalidInput(
                    f"cycle {cycle} has no score of max_lr {rate:g} in replicate {replicate}: give every "
                    "max_lr of a cycle in every replicate"
                )
    scores = [[found[rate, replicate].number(column) for replicate in replicates] for rate in rates]
    return np.array(rates), np.array(scores)
