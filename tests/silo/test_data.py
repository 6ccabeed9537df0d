import pytest

from silo import InvalidInput, load_table

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


@pytest.mark.parametrize("number", [10, 11])
def test_cycles_are_those_of_the_nearest_density(number: int) -> None:
    table = load_table(number)
    for interval, density in zip(table.intervals, table.densities, strict=True):
        assert min(range(30), key=lambda m: abs(100 * 0.8**m - density)) == interval.cycle


@pytest.mark.parametrize("number", [10, 11])
def test_the_curve_is_what_the_paper_prints(number: int) -> None:
    table = load_table(number)
    for interval, printed in zip(table.intervals, table.printed_silo, strict=True):
        assert table.curve.max_lr(interval.cycle) == pytest.approx(printed, abs=1e-3)


def test_the_papers_curve_lies_in_all_of_table_10_and_misses_two_of_table_11() -> None:
    for number, missed in [(10, []), (11, [3, 7])]:
        table = load_table(number)
        outside = [i.cycle for i in table.intervals if not i.contains(table.curve.max_lr(i.cycle))]
        assert outside == missed
        printed = zip(table.intervals, table.printed_silo, strict=True)
        assert [i.cycle for i, rate in printed if not i.contains(rate)] == missed


@pytest.mark.parametrize("number", [9, "10", None, [10]])
def test_other_tables_are_refused(number: object) -> None:
    with pytest.raises(InvalidInput, match=r"no table .*: give 10"):
        load_table(number)  # type: ignore[arg-type]
