import json
from itertools import combinations

import pytest

from dashboards.figures.accuracy import accuracy_figure
from dashboards.tables.accuracy import (
    ACCURACY_COLUMNS,
    AccuracySeries,
    Point,
    accuracy_table,
    places,
    short_names,
)
from dashboards.tables.paper import paper_series
from dashboards.tables.searches import SEARCH_COLUMNS, search_table
from dashboards.tables.table import TerminalTable, csv_text, json_able
from tests.dashboards.conftest import parabola
from tests.dashboards.printing import printed

FIXED = {"policy": {"name": "fixed", "arguments": {"max_lr": 0.05}}}


def worse(cycle, replicate, max_lr):
    return parabola(cycle, replicate, max_lr) - 0.05


def cells(table, name):
    (row,) = (row for row in table.rows if row[0].text == name)
    return row[1:]


def line(name, points, **fields):
    made = tuple(
        Point(cycle=cycle, density=density, accuracy=accuracy, std=None)
        for cycle, density, accuracy in points
    )
    return AccuracySeries(**{"name": name, "points": made, "task": "digits", "pruning": "alike", **fields})


def texts_of(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


@pytest.fixture
def two(make_results):
    """A search, and a worse one with a fixed rate of which one cycle fewer is decided."""
    fixed = make_results(worse, name="p.fixed", decided=4, **FIXED)
    return [make_results(name="p.oracle"), fixed]


def test_searches_are_rows_and_densities_columns(two):
    table = accuracy_table(two)
    assert table.headers == ("λ (% of weights left)", "100", "80.0", "64.0", "51.2", "41.0")
    assert [cell.text for cell in cells(table, "pruning cycle m")] == ["0", "1", "2", "3", "4"]
    assert [cell.text for cell in cells(table, "oracle")][:2] == ["90.00 ± 0.10", "89.00 ± 0.10"]
    assert [cell.text for cell in cells(table, "fixed")][3:] == ["82.00 ± 0.10", "–"]


def test_the_best_of_a_density_is_bold_and_one_alone_is_not(two):
    table = accuracy_table(two)
    assert [cell.bold for cell in cells(table, "oracle")] == [True] * 4 + [False]
    assert not any(cell.bold for cell in cells(table, "fixed"))
    assert [record["best"] for record in table.records] == [True] * 4 + [False] * 5
    alone = accuracy_table(two[:1])
    assert not any(cell.bold for row in alone.rows for cell in row) and not alone.bold_means


def test_many_densities_are_rows_and_a_terminal_always_has_them_so(make_results, two):
    many = accuracy_table([make_results(cycles=9)])
    assert many.headers == ("m", "λ (%)", "parabola") and len(many.rows) == 9
    shown = printed(TerminalTable(table=accuracy_table(two, by_row=True)), 100)
    assert "  0     100   90.00 ± 0.10 *   85.00 ± 0.10\n" in shown
    assert "*: the best mean of a density, as printed.\n" in shown


def test_means_that_are_equal_as_printed_are_all_bold():
    lines = [line(name, [(0, 1.0, mean)]) for name, mean in (("a", 0.90001), ("b", 0.90004), ("c", 0.8999))]
    table = accuracy_table([], also=lines)
    assert [cells(table, name)[0].bold for name in "abc"] == [True, True, False]


def test_results_on_other_data_do_not_compete():
    lines = [
        line("a", [(0, 1.0, 0.9)]),
        line("b", [(0, 1.0, 0.8)]),
        line("c", [(0, 1.0, 0.99)], task="mnist"),
    ]
    table = accuracy_table([], also=lines)
    assert [cells(table, name)[0].bold for name in "abc"] == [True, False, False]
    assert "Accuracies on different data are not compared." in table.notes


def test_where_the_data_lie_does_not_make_them_other_data(make_results):
    arguments = [{"root": "a"}, {"root": "b", "download": True}]
    found = [
        make_results(name=name, dataset={"name": "cifar10", "arguments": given})
        for name, given in zip(("x", "y"), arguments, strict=True)
    ]
    assert accuracy_table(found).bold_means


def test_searches_that_were_pruned_alike_are_matched_by_cycle_whatever_is_left():
    table = accuracy_table(
        [], also=[line("a", [(0, 1, 0.9), (1, 0.8, 0.9)]), line("b", [(0, 1, 0.8), (1, 0.7, 0.8)])]
    )
    assert table.headers[1:] == ("100", "70.0–80.0")
    assert not any("matched by density" in note for note in table.notes)


def test_others_are_matched_by_the_nearest_density_or_stand_alone():
    ours = line("a", [(0, 1.0, 0.9), (1, 0.8, 0.9), (2, 0.64, 0.9), (3, 0.512, 0.9)])
    theirs = line("b", [(0, 1.0, 0.8), (1, 0.64, 0.8), (2, 0.4096, 0.8)], pruning="otherwise")
    table = accuracy_table([], also=[ours, theirs])
    assert table.headers[1:] == ("100", "80.0", "64.0", "51.2", "41.0")
    assert texts_of(table) == {
        "pruning cycle m": ["0", "1", "1/2", "3", "2"],
        "a": ["90.00", "90.00", "90.00", "90.00", "–"],
        "b": ["80.00", "–", "80.00", "–", "80.00"],
    }
    assert "matched by density, where theirs differ by no more than 2 %" in " ".join(table.notes)


def test_a_density_goes_to_the_nearest_and_no_two_of_a_search_to_the_same():
    ours = line("a", [(0, 0.505, 0.9), (1, 0.500, 0.9)])
    theirs = line("b", [(0, 0.501, 0.8), (1, 0.498, 0.8)], pruning="otherwise")
    found = [[point and point.density for point in place.points] for place in places([ours, theirs])]
    assert found == [[0.505, 0.498], [0.500, 0.501]]
    far = line("b", [(0, 0.489, 0.8)], pruning="otherwise")
    assert len(places([line("a", [(0, 0.5, 0.9)]), far])) == 2


def test_the_papers_numbers_stand_beside_searches(make_results):
    found = make_results(cycles=14, network="resnet20", dataset="cifar10")
    table = accuracy_table([found], also=paper_series(2))
    rows = {row[1].text: [cell.text for cell in row[2:]] for row in table.rows}
    assert rows["32.8"][1:] == ["88.1 ± 0.9", "89.8 ± 0.4", "89.7 ± 0.6", "90.3 ± 0.4", "90.8 ± 0.5"]
    assert "±" in rows["32.8"][0]
    assert rows["5.72"][0] == "–" and rows["5.50"][1:] == ["–"] * 5


def test_records_are_tidy_and_full(two):
    table = accuracy_table(two)
    first = dict(table.records[0])
    row = two[0].decided[0]
    assert list(first) == list(ACCURACY_COLUMNS)
    assert (first["search"], first["policy"], first["cycle"]) == ("p.oracle", "oracle", 0)
    assert first["max_lr"] == row.interval.optimum
    assert first["test_accuracy_mean"] == row.selected.test_score
    assert len(csv_text(table.columns, table.records).splitlines()) == 1 + 9


def test_without_decided_cycles_the_table_says_so(undecided):
    table = accuracy_table([undecided])
    assert table.notes == ("No cycle is decided yet.",) and table.records == ()
    assert "No cycle is decided yet." in printed(TerminalTable(table=table), 80)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a.x", "a.y"], ["x", "y"]),
        (["a.x", "b.y"], ["a.x", "b.y"]),
        (["a.x"], ["a.x"]),
        (["a", "b"], ["a", "b"]),
        (["a.lr0.1", "a.lr0.2"], ["lr0.1", "lr0.2"]),
        (["a.lr0.1", "a.silo"], ["lr0.1", "silo"]),
        (["net1.0", "net1.5"], ["net1.0", "net1.5"]),
        (["v1.0.x", "v1.0.y"], ["x", "y"]),
        (["a.b.x", "a.c.y"], ["b.x", "c.y"]),
        (["a", "a.x"], ["a", "a.x"]),
        (["ab.x", "ac.x"], ["ab.x", "ac.x"]),
        ([], []),
    ],
)
def test_names_lose_the_stem_that_all_share(names, short):
    assert short_names(names) == short


def test_what_each_search_says_in_a_row(two, make_results, undecided):
    missed = make_results(name="q", cycles=10, retraining="lr_rewinding")
    table = search_table([*two, missed, undecided])
    rows = {row[0].text: dict(zip(table.headers, (c.text for c in row), strict=True)) for row in table.rows}
    assert rows["p.oracle"]["SILO\ninside"] == "1 of 5" and rows["p.oracle"]["fitted\ninside"] == "5 of 5"
    assert rows["p.oracle"]["max_lr\n(×1e-2)"] == "3.4–6.2"
    assert [row["verdict"] for row in rows.values()] == [
        "another SILO curve fits",
        "nothing is searched",
        "SILO's fit is outside somewhere",
        "undecided",
    ]
    assert (rows["p.fixed"]["policy"], rows["p.fixed"]["q"]) == ("fixed", "–")
    assert rows["q"]["retraining"] == "lr_rewinding" and "network" not in rows["q"]
    assert f"q: {missed.verdict()}" in table.notes
    assert table.notes[0].startswith("q, β, ε and δ are those of the fitted curve"), "not of the verdict's"
    assert search_table([two[1]]).notes == (f"p.fixed: {two[1].verdict()}",)
    for record in table.records:
        assert list(record) == list(SEARCH_COLUMNS)
        json.dumps(json_able(record), allow_nan=False)


def test_a_search_that_silo_predicted_says_so(make_results):
    curve = {"q": 0, "beta": 5, "epsilon": 0.03, "delta": 0.04}
    found = make_results(cycles=1, silo={**curve, "epsilon": 0.034})
    assert found.missed(found.predicted) == ()
    assert search_table([found]).rows[0][6].text == "SILO fits as predicted"


def test_the_figure_has_a_line_per_search_with_its_spread(two):
    figure = accuracy_figure(two)
    assert [trace.name for trace in figure.data] == ["oracle", "fixed"]
    oracle = figure.data[0]
    assert oracle.x == pytest.approx([100, 80, 64, 51.2, 41], rel=1e-3)
    assert oracle.y == pytest.approx([90, 89, 88, 87, 86])
    assert oracle.error_y.array == pytest.approx([0.1] * 5)
    assert "cycle 1, λ 80.0 %<br>test accuracy 89.00 ± 0.10 %" in oracle.text[1]


def test_the_axis_runs_from_dense_to_sparse_and_holds_all_points(two):
    axis = accuracy_figure(two).layout.xaxis
    assert axis.type == "log" and axis.range[0] > 2 > 1.6128 > axis.range[1]
    assert axis.ticktext == ("41.0", "51.2", "64.0", "80.0", "100")
    many = accuracy_figure([], also=[line("a", [(m, 0.8**m, 0.9) for m in range(20)])])
    assert many.layout.xaxis.ticktext == ("2", "5", "10", "20", "50", "100")
    alone = accuracy_figure([], also=[line("a", [(0, 1.0, 0.9)])]).layout.xaxis
    assert alone.range[0] > 2 > alone.range[1]


def test_forty_lines_differ_in_black_and_white():
    lines = [line(str(i), [(0, 1.0, 0.9)]) for i in range(40)]
    looks = [(trace.line.dash, trace.marker.symbol) for trace in accuracy_figure([], also=lines).data]
    assert all(a != b for a, b in combinations(looks, 2))


def test_a_name_is_not_taken_for_markup_and_nothing_decided_is_said(undecided):
    figure = accuracy_figure([], also=[line("<b>x</b>", [(0, 1.0, 0.9)])])
    assert figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"
    assert accuracy_figure([undecided]).layout.annotations[0].text == "No cycle is decided yet."
