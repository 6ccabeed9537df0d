"""Reads measurements from a CSV file: intervals, or the accuracies that they come from."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from silo import checks
from silo.accuracies import CycleAccuracies, check_accuracies
from silo.errors import InvalidInput
from silo.intervals import CycleInterval, check_intervals

INTERVAL_COLUMNS = ("cycle", "optimum", "low", "high")
CUT_COLUMNS = ("low_cut", "high_cut")
ACCURACY_COLUMNS = ("cycle", "max_lr", "replicate", "accuracy")

_EXPORTED_ACCURACY = "validation_accuracy"
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")
# How alike a column must be to one of ours to be taken for a slip of the pen.
_LIKENESS = 0.8

Row = dict[str, str]
Value = TypeVar("Value")


def load_csv(path: str | Path) -> tuple[CycleInterval, ...] | tuple[CycleAccuracies, ...]:
    """Reads a CSV file with a header, comma-separated, UTF-8; one of two kinds.

    With intervals it has a row per cycle: ``cycle``, ``optimum``, ``low``, ``high``, and where the grid may
    have cut an end off, ``low_cut`` and ``high_cut`` (true or false). With accuracies it has a row per
    training: ``cycle``, ``max_lr``, ``replicate`` (any name) and ``accuracy`` (a share in [0, 1]), which
    ``oracle export`` calls ``validation_accuracy``. Rates are learning rates. Other columns are ignored,
    unless they look like one of these misspelt.

    Args:
        path: the file.

    Returns:
        One per cycle, ascending; what ``fit_curve`` takes.

    Raises:
        InvalidInput: the file can't be read, a column is missing, or a value makes no sense: with its line.
    """
    place = Path(path)
    try:
        with place.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            if "accuracy" not in header:
                header = ["accuracy" if name == _EXPORTED_ACCURACY else name for name in header]
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InvalidInput(f"{place}: can't be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{place}: is no CSV file in UTF-8 ({error})") from error
    kind = ACCURACY_COLUMNS if "accuracy" in header else INTERVAL_COLUMNS
    _check_header(place, header, kind)
    for line, row in rows:
        if None in row:
            raise InvalidInput(f"{place}, line {line}: has more cells than the header's {len(header)}")
    if not rows:
        raise InvalidInput(f"{place}: has a header, but no rows: give one per {_UNIT[kind]}")
    return _accuracies(place, rows) if kind is ACCURACY_COLUMNS else _intervals(place, rows)


_UNIT = {INTERVAL_COLUMNS: "cycle", ACCURACY_COLUMNS: "training"}


def _check_header(place: Path, header: list[str], kind: tuple[str, ...]) -> None:
    wanted = f"{', '.join(INTERVAL_COLUMNS)} per cycle, or {', '.join(ACCURACY_COLUMNS)} per training"
    missing = [name for name in kind if name not in header]
    if missing:
        raise InvalidInput(
            f"{place}: has no column {', '.join(missing)}, but {', '.join(header) or 'none'}: give {wanted}"
        )
    for name in header:
        if header.count(name) > 1:
            raise InvalidInput(f"{place}: has two columns {name!r}: give each once")
        known = (*kind, *CUT_COLUMNS)
        if name not in known and (near := checks.most_alike(name, known, likeness=_LIKENESS)):
            raise InvalidInput(f"{place}: has a column {name!r}: did you mean {near!r}?")


def _intervals(place: Path, rows: list[tuple[int, Row]]) -> tuple[CycleInterval, ...]:
    found = []
    for line, row in rows:
        values: dict[str, Any] = {"cycle": _value(place, line, row, "cycle", int)}
        values |= {name: _value(place, line, row, name, float) for name in INTERVAL_COLUMNS[1:]}
        values |= {name: _value(place, line, row, name, _truth) for name in CUT_COLUMNS if name in row}
        found.append(_located(place, line, partial(CycleInterval, **values)))
    return _located(place, None, lambda: check_intervals(found))


def _accuracies(place: Path, rows: list[tuple[int, Row]]) -> tuple[CycleAccuracies, ...]:
    cycles: dict[int, dict[tuple[float, str], float]] = {}
    for line, row in rows:
        cycle, rate = (_value(place, line, row, "cycle", int), _value(place, line, row, "max_lr", float))
        key = rate, (row["replicate"] or "").strip()
        if key in cycles.setdefault(cycle, {}):
            raise InvalidInput(
                f"{place}, line {line}: cycle {cycle}, max_lr {rate:g}, replicate {key[1]} is given twice"
            )
        cycles[cycle][key] = _value(place, line, row, "accuracy", float)
    return _located(place, None, lambda: check_accuracies([_cycle(m, found) for m, found in cycles.items()]))


def _cycle(cycle: int, found: dict[tuple[float, str], float]) -> CycleAccuracies:
    rates = sorted({rate for rate, _ in found})
    replicates = sorted({replicate for _, replicate in found})
    for rate in rates:
        for replicate in replicates:
            if (rate, replicate) not in found:
                raise InvalidInput(
                    f"cycle {cycle} has no accuracy of max_lr {rate:g} in replicate {replicate}: give every "
                    "max_lr of a cycle in every replicate"
                )
    return CycleAccuracies(
        cycle=cycle,
        rates=np.array(rates),
        accuracies=np.array([[found[rate, replicate] for replicate in replicates] for rate in rates]),
    )


def _value(place: Path, line: int, row: Row, name: str, read: Callable[[str], Value]) -> Value:
    text = (row[name] or "").strip()
    try:
        return read(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}.get(read, "true or false")  # type: ignore[call-overload]
        raise InvalidInput(f"{place}, line {line}: {name} must be {kind}, not {text!r}") from None


def _truth(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


def _located(place: Path, line: int | None, make: Callable[[], Value]) -> Value:
    """Calls ``make``, and adds the file and line to its complaint."""
    try:
        return make()
    except InvalidInput as error:
        where = f"{place}" if line is None else f"{place}, line {line}"
        raise InvalidInput(f"{where}: {error}") from None
