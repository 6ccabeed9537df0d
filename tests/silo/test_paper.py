import hashlib
from importlib import resources
from typing import get_args, get_overloads, get_type_hints

import pytest

from silo import AccuracyRow, InvalidInput, load_table

GOLDEN = {
    10: [
        (0, 100, 4.0, 3.6, 4.2, 4.0),
        (3, 51.3, 4.6, 4.2, 5.4, 4.32),
        (5, 32.9, 9.0, 8.0, 9.6, 9.2),
        (7, 21.1, 9.8, 9.2, 10.4, 9.9),
        (13, 5.72, 10.2, 9.8, 10.6, 9.99),
    ],
    11: [
        (0, 100, 3.4, 2.8, 3.6, 3.0),
        (3, 51.3, 3.8, 3.4, 4.2, 3.2),
        (4, 41.1, 4.6, 3.8, 5.2, 4.7),
        (5, 32.9, 5.6, 5.4, 6.6, 6.4),
        (7, 21.1, 6.2, 5.4, 6.8, 6.9),
    ],
}
#: Of the files as they were compared with the paper, cell by cell.
DIGESTS = {
    "tables": "73ad49bc7cd3",
    "table2": "c8ee85e57ce0",
    "table3": "74f48797ebf0",
    "table4": "756662fa19c1",
    "table5": "102d7dd30427",
    "table6": "1032d27c0d4a",
    "table7": "6b47180d34ce",
    "table8": "81efe8b52445",
    "table9": "7d935d42c86b",
    "table12": "5cbe50aed576",
    "table13": "d410f0ef1ef2",
    "table14": "1683c1f5cfe4",
}
NUMBERS = (2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14)


@pytest.mark.parametrize("name", DIGESTS)
def test_the_files_are_those_that_were_compared_with_the_paper(name: str) -> None:
    content = resources.files("silo.paper").joinpath("tables", f"{name}.csv").read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(DIGESTS[name])


def test_a_table_is_read_as_it_is_printed() -> None:
    table = load_table(8)
    assert len(table.rows) == 28 and table.dense_accuracy_percent is None
    assert table.rows[11] == AccuracyRow(
        network="ResNet-20",
        method="SILO",
        q=2,
        beta=5.0,
        density_percent=5.72,
        cycle=13,
        accuracy_percent=82.4,
        std_percent=1.1,
    )
    assert (load_table(2).dense_accuracy_percent, load_table(2).network) == (91.7, "ResNet-20")
    table = load_table(13)
    assert (table.network, table.dataset, table.pruner) == ("ResNet-20", "CIFAR-10", "global magnitude")
    assert (table.optimizer, table.parameters, table.iterations) == ("RMSProp", 227_000, 63_000)
    assert (table.batch_size, load_table(14).network, table.rows[-1].q) == (128, None, None)


def test_cycles_are_those_of_the_nearest_density_with_the_share_that_is_never_pruned() -> None:
    for number in NUMBERS:
        for row in load_table(number).rows:
            distances = [abs(0.24 + 99.76 * 0.8**m - row.density_percent) for m in range(26)]
            assert row.cycle == (None if number == 14 else distances.index(min(distances))), (number, row)
    for number in (10, 11):
        table = load_table(number)
        for interval, density in zip(table.intervals, table.densities, strict=True):
            assert min(range(30), key=lambda m: abs(100 * 0.8**m - density)) == interval.cycle


@pytest.mark.parametrize("number", [10, 11])
def test_columns_are_the_papers(number: int) -> None:
    table = load_table(number)
    columns = [
        (i.cycle, density, i.optimum, i.low, i.high, silo)
        for i, density, silo in zip(table.intervals, table.densities, table.printed_silo, strict=True)
    ]
    expected = [(m, density, *(rate * 1e-2 for rate in rates)) for m, density, *rates in GOLDEN[number]]
    for column, golden in zip(columns, expected, strict=True):
        assert column == pytest.approx(golden, rel=1e-12)
    assert table.number == number
    assert table.network == {10: "VGG-19", 11: "ResNet-20"}[number]
    assert (table.dataset, table.pruner, table.optimizer) == ("CIFAR-10", "global magnitude", "SGD")


def test_the_papers_curve_lies_in_all_of_table_10_and_misses_two_of_table_11() -> None:
    for number, missed in [(10, []), (11, [3, 7])]:
        table = load_table(number)
        outside = [i.cycle for i in table.intervals if not i.contains(table.curve.max_lr(i.cycle))]
        assert outside == missed
        assert table.missed_cycles == tuple(missed)
        for interval, printed in zip(table.intervals, table.printed_silo, strict=True):
            assert table.curve.max_lr(interval.cycle) == pytest.approx(printed, abs=1e-3)


@pytest.mark.parametrize("number", [1, 15, True, "10", None])
def test_other_tables_are_refused_with_one_line_that_says_which_exist(number: object) -> None:
    with pytest.raises(InvalidInput, match=r"^there is no table .*: give 2 to 14 .*appendix.*\)$"):
        load_table(number)  # type: ignore[call-overload]


def test_the_declared_class_of_each_number_is_the_one_returned() -> None:
    declared = [get_type_hints(signature) for signature in get_overloads(load_table)]
    named = [(n, hints["return"].__name__) for hints in declared for n in get_args(hints["number"])]
    assert sorted(named) == [(n, type(load_table(n)).__name__) for n in range(2, 15)]
