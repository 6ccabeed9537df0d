"""CSV files as people spoil them: read rightly, or refused in one line, with no traceback.

Some tens with a fixed seed; ``ORACLE_TESTS_THOROUGH=1`` tries ten times as many.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from silo import CycleAccuracies, InvalidInput, fit_curve
from silo.csv_file import load_csv
from tests.effort import numbers, tries

Table = list[list[str]]

ACCURACIES = [
    ["cycle", "max_lr", "replicate", "accuracy", "note"],
    *(
        [str(m), repr(rate), name, f"{0.9 - abs(rate - 0.1 - m / 20) / 3 + k / 1000:.4f}", "x"]
        for m in range(4)
        for rate in (0.1, 0.2, 0.3)
        for k, name in enumerate(("a", "b"))
    ),
]
INTERVALS = [
    ["cycle", "optimum", "low", "high", "low_cut", "high_cut"],
    ["0", "0.1", "0.05", "0.2", "no", "no"],
    ["2", "0.15", "0.1", "0.3", "no", "yes"],
    ["5", "0.3", "0.2", "0.4", "no", "no"],
    ["9", "0.3", "0.2", "0.35", "yes", "no"],
]
JUNK = [
    "",
    "nan",
    "inf",
    "-0.1",
    "1e999",
    "95.3",
    "95,3 %",
    "None",
    "1_0",
    "٣",
    "—",
    "9" * 400,
    '"',
    "0.5;0.6",
    "\x00",
    "1e-320",
    "3.5",
    "true",
]


def rewritten(table: Table, rng: random.Random) -> str:
    """The same table, in another way that people write it."""
    rows = [
        [name.upper() if rng.random() < 0.3 else name.replace("_", rng.choice("_ -")) for name in table[0]]
    ]
    rows += rng.sample(table[1:], len(table) - 1) if rng.random() < 0.5 else table[1:]
    order = rng.sample(range(len(table[0])), len(table[0])) if rng.random() < 0.5 else range(len(table[0]))
    delimiter, comma = rng.choice([(",", False), (";", True), (";", False), ("\t", True)])
    lines = []
    for row in rows:
        cells = [row[k] for k in order]
        if row is not rows[0]:
            cells = [
                "0.30000000000000004"
                if cell == "0.3" and row is not table[-1] and rng.random() < 0.3
                else cell
                for cell in cells
            ]
            cells = [cell.replace(".", ",") if comma else cell for cell in cells]
            cells = [
                f"{cell}.0" if cell.isdigit() and rng.random() < 0.2 and not comma else cell for cell in cells
            ]
        spaced = [f" {cell} " if rng.random() < 0.1 else cell for cell in cells]
        lines.append(delimiter.join(spaced) + delimiter * (rng.random() < 0.1))
        lines += [rng.choice(["", delimiter * 3, "  "])] * (rng.random() < 0.2)
    return rng.choice(["\n", "\r\n", "\r"]).join(lines)


def other_cell(table: Table, rng: random.Random) -> None:
    row = rng.choice(table)
    row[rng.randrange(len(row))] = rng.choice(JUNK)


def without_a_cell(table: Table, rng: random.Random) -> None:
    row = rng.choice(table)
    del row[rng.randrange(len(row))]


def a_cell_more(table: Table, rng: random.Random) -> None:
    rng.choice(table).insert(0, rng.choice(JUNK))


def without_a_row(table: Table, rng: random.Random) -> None:
    del table[rng.randrange(len(table))]


def a_row_twice(table: Table, rng: random.Random) -> None:
    table.insert(rng.randrange(len(table)), list(rng.choice(table)))


def without_a_column(table: Table, rng: random.Random) -> None:
    k = rng.randrange(len(table[0]))
    for row in table:
        del row[k : k + 1]


def a_column_twice(table: Table, rng: random.Random) -> None:
    k = rng.randrange(len(table[0]))
    for row in table:
        row += row[k : k + 1]


def other_header(table: Table, rng: random.Random) -> None:
    table[0][rng.randrange(len(table[0]))] = rng.choice(
        ["val_acc", "accuracy", "lowcut", "lr", "", "optimum", "Höhe"]
    )


def other_replicate(table: Table, rng: random.Random) -> None:
    rng.choice(table)[2:3] = [rng.choice(["c", "A", "0.1", ""])]


SPOILT: list[Callable[[Table, random.Random], None]] = [
    other_cell,
    without_a_cell,
    a_cell_more,
    without_a_row,
    a_row_twice,
    without_a_column,
    a_column_twice,
    other_header,
    other_replicate,
]


def plain(table: Table) -> str:
    return "\n".join(",".join(row) for row in table)


def as_read(path: Path) -> list[tuple[object, ...]]:
    return [
        (one.cycle, one.rates.tolist(), one.accuracies.tolist())
        if isinstance(one, CycleAccuracies)
        else (one,)
        for one in load_csv(path)
    ]


@pytest.mark.parametrize("table", [ACCURACIES, INTERVALS], ids=["accuracies", "intervals"])
def test_another_way_to_write_it_is_read_as_the_same(tmp_path: Path, table: Table) -> None:
    path = tmp_path / "one.csv"
    path.write_text(plain(table))
    expected = as_read(path)
    for seed in numbers(tries(20)):
        rng = random.Random(seed)
        text = rewritten(table, rng)
        path.write_bytes(text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"])))
        assert as_read(path) == expected, text


@pytest.mark.parametrize("table", [ACCURACIES, INTERVALS], ids=["accuracies", "intervals"])
def test_what_is_spoilt_is_read_or_refused_in_one_line(tmp_path: Path, table: Table) -> None:
    path = tmp_path / "one.csv"
    refused = 0
    for seed in numbers(tries(20)):
        rng = random.Random(seed)
        mine = [list(row) for row in table]
        for change in rng.choices(SPOILT, k=rng.choice([1, 1, 2, 4])):
            change(mine, rng)
            mine = [row for row in mine if row] or [[""]]
        raw = plain(mine).encode(rng.choice(["utf-8", "utf-8", "utf-16"]))
        path.write_bytes(raw[: rng.randrange(len(raw) + 1)] if rng.random() < 0.1 else raw)
        try:
            found = load_csv(path)
        except InvalidInput as error:
            refused += 1
            assert "one.csv" in str(error) and str(error).isprintable(), raw
        else:
            assert fit_curve(found, pruning_rate=0.2, q_values=[1], draws=0).regions
    assert 0 < refused < tries(20)
