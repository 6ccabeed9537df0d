import pytest

from dashboards.tables.paper import paper_series, paper_table
from dashboards.tables.table import TerminalTable, csv_text, latex, markdown
from silo.errors import InvalidInput
from silo.paper import load_table
from tests.dashboards.printing import golden, printed


@pytest.mark.parametrize("number", [2, 10, 11])
def test_the_tables_in_every_form(number):
    table = paper_table(number)
    assert markdown(table) == golden(f"table{number}.md")
    assert latex(table) == golden(f"table{number}.tex")
    assert printed(TerminalTable(table=table), 110) == golden(f"table{number}.txt")


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7])
def test_silo_is_bold_in_every_column(number):
    source = {
        (row.method, row.density_percent): f"{row.accuracy_percent:.1f} ± {row.std_percent:.1f}"
        for row in load_table(number).rows
    }
    table = paper_table(number)
    densities = [float(header) for header in table.headers[1:]]
    assert densities == [32.8, 26.2, 8.59, 5.72]
    for row in table.rows[1:]:
        method = row[0].text.partition(" (")[0]
        assert [cell.bold for cell in row[1:]] == [method == "SILO"] * 4
        assert [cell.text for cell in row[1:]] == [source[method, density] for density in densities]


def test_each_network_of_a_table_with_two_has_a_best():
    table = paper_table(14)
    assert [sum(cell.bold for cell in row) for row in table.rows] == [0, 0, 3, 0, 3]
    assert "Each network is compared with itself alone." in table.notes


def test_every_table_of_accuracies_has_a_row_for_each_number():
    for number in (2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14):
        table, source = paper_table(number), load_table(number)
        assert [(r["density"], r["test_accuracy_mean"]) for r in table.records] == [
            (pytest.approx(row.density_percent / 100), pytest.approx(row.accuracy_percent / 100))
            for row in source.rows
        ]
        assert sum("±" in cell.text for row in table.rows for cell in row) == len(source.rows)


def test_csv_has_no_noise_in_the_last_digits():
    table = paper_table(2)
    first = csv_text(table.columns, table.records).splitlines()[1]
    assert first == "constant LR,ResNet-20,CIFAR-10,constant LR,global magnitude,,,5,0.328,,0.881,0.009,false"


def test_rates_do_not_stand_beside_accuracies():
    with pytest.raises(InvalidInput, match="Table 11 has rates, no accuracies"):
        paper_series(11)
