import csv
import json
import math
from dataclasses import replace

import pytest

from dashboards.tables.comparison import (
    COLUMNS,
    comparison_table,
    csv_text,
    latex,
    markdown,
    terminal_table,
    to_json,
)
from oracle.results.frames import comparison_rows
from silo.curve import SiloCurve
from tests.dashboards.conftest import parabola, renamed
from tests.dashboards.printing import golden, printed


def rendered(results, width=100):
    return printed(terminal_table(results), width)


def test_up_to_eight_cycles_have_the_papers_layout(results):
    assert markdown(results) == golden("paper_layout.md")


def test_every_mark_is_shown_and_explained_and_no_prediction_leaves_no_row(marked):
    assert markdown(marked) == golden("marked.md")


def test_more_than_eight_cycles_have_a_row_each(make_results):
    wide, narrow = (markdown(make_results(cycles=cycles)).splitlines() for cycles in (8, 9))
    assert wide[6].startswith("| λ (% of weights left)")
    assert narrow[6].startswith("| cycle m | weights left λ (%) | Oracle optimum (×1e-2)")
    assert narrow[8].startswith("|       0 |                100 |                    3.4 |")
    assert len([line for line in narrow if line.startswith("|")]) == 11


def test_a_terminal_gets_a_row_per_cycle(results):
    assert rendered(results) == golden("terminal.txt")


def test_the_terminal_table_leaves_out_what_there_is_not(marked):
    text = rendered(marked)
    assert "predicted" not in text
    assert "      0       100        1‡   [≤1, 2]†    [1, 2]       1 ✓      80.00\n" in text
    assert "† Rates beyond a gap are within 0.5 % of the best too (cycle 0).\n" in text


def test_the_terminal_table_fits_100_columns_and_loses_nothing(any_results, make_results):
    fine = make_results(
        lambda *which: max(parabola(*which), 0.1),
        grid={"low": 0.0101234, "high": 0.3912345, "points": 9, "extend": False},
    )
    for shown in (any_results, fine):
        lines = rendered(shown).splitlines()
        assert max(map(len, lines)) <= 100
        assert "…" not in "".join(lines)


def test_latex_has_both_of_the_papers_forms(results, marked):
    assert latex(results) == golden("comparison.tex")
    assert latex(marked) == golden("marked.tex")


def test_latex_of_many_cycles_is_one_table_with_a_row_each(make_results):
    text = latex(make_results(cycles=9))
    assert text.count("\\begin{table}") == 1
    assert len([line for line in text.splitlines() if line.count("&") == 9]) == 3 + 9


def test_latex_without_decided_cycles_is_a_comment(undecided):
    assert latex(undecided) == "% parabola: No cycle is decided yet.\n"


def test_the_form_of_a_table_can_be_chosen(results):
    by_row, by_column = (comparison_table(results, by_row=value) for value in (True, False))
    assert len(by_row.rows) == 5 and len(by_column.headers) == 6
    assert by_row.records == by_column.records == tuple(comparison_rows(results))
    short = comparison_table(results, accuracies=False)
    assert not any("accuracy" in row[0].text for row in short.rows)
    assert "Accuracies" not in short.notes[0]


def test_a_name_is_not_taken_for_markup(results):
    hostile = renamed(results, "[red]a|b*<i>[/red]\nc")
    assert "[red]a|b*<i>[/red]" in rendered(hostile)
    assert markdown(hostile).splitlines()[0] == r"# \[red\]a\|b\*\<i\>\[/red\] c: the Oracle and SILO"


def test_the_csv_holds_numbers_in_full(results):
    lines = csv_text(results).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    row = dict(zip(COLUMNS, next(csv.reader([lines[4]])), strict=True))
    curve = SiloCurve(q=1, beta=5, epsilon=0.03, delta=0.04, pruning_rate=0.2)
    assert (row["optimum"], row["low"], row["high"]) == ("0.056", "0.05", "0.062")
    assert (row["low_cut"], row["silo_inside"], row["fitted_inside"]) == ("false", "false", "true")
    assert float(row["silo_predicted"]) == curve.max_lr(3)
    assert float(row["density"]) == pytest.approx(0.8**3)


def test_the_csv_marks_cut_ends_and_lists_what_lies_beyond_a_gap(marked):
    _, line = csv_text(marked).splitlines()
    assert line.startswith("0,1.0,1.0,0.01,0.01,0.02,true,false,0.08,0.8,,0.8,,0.01,")


def test_without_decided_cycles_there_are_headers_alone(undecided):
    assert csv_text(undecided) == ",".join(COLUMNS) + "\n"
    assert comparison_rows(undecided) == []
    assert "No cycle is decided yet." in markdown(undecided)
    assert "No cycle is decided yet." in rendered(undecided)


def test_the_json_holds_everything(results):
    data = json.loads(json.dumps(to_json(results), allow_nan=False))
    assert data["verdict"] == results.verdict()
    assert data["columns"] == COLUMNS
    assert [row["optimum"] for row in data["rows"]] == [0.034, 0.038, 0.046, 0.056, 0.062]
    assert len(data["rows"][0]["candidates"]) == len(results.decided[0].candidates)
    assert SiloCurve.from_dict(data["fit"]["curve"]) == results.fit.curve
    assert SiloCurve.from_dict(data["predicted"]) == results.predicted
    assert type(results.search_spec).model_validate(data["spec"]) == results.search_spec


def test_the_json_of_every_comparison_is_strict(any_results):
    json.dumps(to_json(any_results), allow_nan=False)


def test_one_replicate_has_no_deviation_in_any_form(make_results):
    single = make_results(replicates=1)
    assert "±" not in markdown(single)
    (first, *_) = to_json(single)["rows"]
    assert first["validation_accuracy_std"] is first["test_accuracy_std"] is None
    assert first["candidates"][0]["score_std"] is None


def test_what_is_not_finite_is_null_in_json(make_results):
    results = make_results(replicates=1)
    cycle = results.decided[0]
    trials = tuple(replace(trial, test_score=math.inf) for trial in cycle.selected.trials)
    broken = replace(cycle, candidates=(replace(cycle.selected, trials=trials),))
    (row,) = to_json(replace(results, decided=(broken,)))["rows"]
    assert row["test_accuracy_mean"] is None


@pytest.mark.parametrize(
    "ledger, shown",
    [
        ("postgresql+psycopg://me:hun/ter2@host/db", "postgresql+psycopg://me:***@host/db"),
        (
            "postgresql+psycopg://host/db?user=me&password=hunter2",
            "postgresql+psycopg://host/db?user=me&password=***",
        ),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
    ],
)
def test_no_password_leaves_the_spec(make_results, ledger, shown):
    spec = to_json(make_results(ledger=ledger, storage="s3://id:hunter2@bucket/a", decided=0))["spec"]
    assert spec["ledger"] == shown
    assert spec["storage"] == "s3://id:***@bucket/a"


def test_chosen_cycles_are_columns_by_density(make_results):
    whole = make_results(cycles=9)
    chosen = (0, 3, 7)
    lines = [line for line in markdown(whole, chosen).splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in lines[0].split("|")[2:-1]] == ["100", "51.2", "21.0"]
    assert [cell.strip() for cell in lines[2].split("|")[2:-1]] == ["0", "3", "7"]
    every = comparison_table(whole, by_row=False)
    for row, full in zip(comparison_table(whole, cycles=chosen).rows, every.rows, strict=True):
        assert row == (full[0], *(full[1 + cycle] for cycle in chosen))
    tex = latex(whole, chosen)
    assert "pruning cycle $m$ & 0 & 3 & 7" in tex.replace("  ", " ") or "& 0 & 3 & 7" in tex
    assert "test accuracy" in tex and tex.count("\\begin{tabular}") == 1
    text = printed(terminal_table(whole, chosen), 100)
    assert "51.2" in text and "40.9" not in text


def test_marks_are_those_of_the_chosen_cycles(marked):
    assert "≤" in markdown(marked, (0,)) and "‡" in markdown(marked, (0,))
    assert not [note for note in comparison_table(marked, cycles=()).notes if "cycle 0" in note]
